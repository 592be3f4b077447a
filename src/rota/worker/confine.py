"""Limits of scripts and commands: control groups where this worker has some of its own, else those of each process.

A control group bounds a whole process tree, so it is the better of the two. One is made only where that is this worker's
to do: in a group that was delegated to it (systemd: `Delegate=yes` with `DelegateSubgroup=`), that its user may write to,
or that is the top of all that it sees. Elsewhere somebody else manages that part of the tree. Standard library only.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

_ROOT = "/sys/fs/cgroup"
_PREFIX = "rota-"
_EMPTY_S = 2.0  # so long may the kernel take to empty a group whose processes were killed


class Base(NamedTuple):
    """A group that may have groups of ours below it."""

    path: str
    version: int


_LIMITS = {  # by controller and version: the files that bound a group, and how no bound is written
    ("memory", 1): (("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), "-1"),
    ("memory", 2): (("memory.max",), "max"),
    ("pids", 1): (("pids.max",), "max"),
    ("pids", 2): (("pids.max",), "max"),
}
_KILLS = {1: "memory.oom_control", 2: "memory.events"}  # where a group counts its kills for want of memory


def ulimits(*, memory: int | None, cpu: float | None, processes: int | None, files: int | None) -> str:
    """Return commands for /bin/sh that keep it, and all that it starts, in limits; empty where there are none.

    Memory (of address space), processor time and open files are each process's; processes are counted over all of the
    user's, and root is not held to it.
    """
    said = []
    if memory is not None:
        said.append(f"ulimit -v {max(1, memory >> 10)}")
    if cpu is not None:
        said += [f"ulimit -S -t {max(1, math.ceil(cpu))}", f"ulimit -H -t {max(1, math.ceil(cpu)) + 1}"]
    if files is not None:
        said.append(f"ulimit -n {files}")
    if processes is not None:
        said.append(f"{{ ulimit -u {processes} || ulimit -p {processes}; }}")  # bash's name for it, and dash's
    return "".join(f"{command} 2>/dev/null; " for command in said)


def find_bases(root: str = _ROOT, own: str | None = None) -> dict[str, Base]:
    """Return where groups can be made, by controller (`memory`, `pids`); `own` is what /proc/self/cgroup says."""
    if own is None:
        with suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as said:
            own = said.read()
    found: dict[str, Base] = {}
    for line in (own or "").splitlines():
        number, controllers, path = line.split(":", 2)
        for controller in ("memory", "pids"):
            if controller in controllers.split(","):
                group = f"{root}/{controller}{path}".rstrip("/")
                if _is_ours(group, path):
                    found[controller] = Base(group, 1)
            elif number == "0" and controller not in found and (unified := _find_unified(root, path, controller)):
                found[controller] = Base(unified, 2)
    return found


def _find_unified(root: str, path: str, controller: str) -> str | None:
    """Return the group, ours or the one above it, that hands a controller down to the groups below it."""
    for candidate in (path, os.path.dirname(path)):
        group = f"{root}{candidate}".rstrip("/")
        if _is_ours(group, candidate) and controller in _read(f"{group}/cgroup.controllers").split():
            if controller not in _read(f"{group}/cgroup.subtree_control").split():
                _write(f"{group}/cgroup.subtree_control", f"+{controller}")  # refused where processes are in the group
            if controller in _read(f"{group}/cgroup.subtree_control").split():
                return group
    return None


def _is_ours(group: str, path: str) -> bool:
    if not os.access(f"{group}/cgroup.procs", os.W_OK):
        return False
    return os.geteuid() != 0 or path == "/" or _is_delegated(group)


def _is_delegated(group: str) -> bool:
    for attribute in ("trusted.delegate", "user.delegate"):
        with suppress(OSError):
            if os.getxattr(group, attribute) == b"1":
                return True
    return False


class Groups:
    """The groups that one keeper makes, one for each child that runs something with limits."""

    def __init__(self, bases: Mapping[str, Base]) -> None:
        self._bases = bases
        self._prefix = f"{_family()}{os.getpid()}-{_started(os.getpid())}-"
        self._made: dict[int, set[str]] = {}
        self._late: set[str] = set()

    def put(self, child: int, pid: int, *, memory: int | None, processes: int | None) -> dict[str, Any]:
        """Have a child, and all that it starts from now on, in a group with these limits (None: without one).

        Returns which of them hold: `memory` and `processes`; and `kills`, the file that counts the kernel's kills.
        """
        holds = {
            "memory": self._set("memory", child, pid, memory),
            "processes": self._set("pids", child, pid, None if processes is None else processes + 1),  # the child too
        }
        base = self._bases.get("memory")
        counts = base is not None and memory is not None and holds["memory"]
        return {**holds, "kills": f"{self._path(base, child)}/{_KILLS[base.version]}" if base and counts else None}

    def remove(self, child: int) -> None:
        """Remove the groups of a child that has ended, with all below it; what is not yet empty is removed later."""
        self._late |= self._made.pop(child, set())
        self._late = {path for path in self._late if not _removed(path)}

    def close(self) -> None:
        """Remove all groups: nobody is left in them. Waits for the kernel, if need be."""
        for child in list(self._made):
            self.remove(child)
        for path in self._late:
            _clear(path)

    def _set(self, controller: str, child: int, pid: int, most: int | None) -> bool:
        base = self._bases.get(controller)
        if base is None:
            return False
        path = self._path(base, child)
        made = self._made.setdefault(child, set())
        if path not in made:
            if most is None:
                return True
            with suppress(OSError):
                os.mkdir(path)
            made.add(path)
        files, unlimited = _LIMITS[controller, base.version]
        text = unlimited if most is None else str(most)
        # Memory with swap is never bounded below memory alone: when the bound falls the one goes first, else the other.
        written = [_write(f"{path}/{name}", text) for name in (*files, *files[:-1])]
        if base.version == 2 and controller == "memory":
            _write(f"{path}/memory.swap.max", "max" if most is None else "0")
        return (written[0] or written[-1]) and _write(f"{path}/cgroup.procs", str(pid))

    def _path(self, base: Base, child: int) -> str:
        return f"{base.path}/{self._prefix}{child}"


def sweep(bases: Mapping[str, Base], is_owner: Callable[[int, int], bool] | None = None) -> None:
    """Remove the groups of keepers that were killed, and kill what is left in them.

    `is_owner` says whether the process with a pid and a start time still lives.
    """
    lives = is_owner or (lambda pid, started: _started(pid) == started)
    for base in set(bases.values()):
        with suppress(OSError):
            for name in os.listdir(base.path):
                if name.startswith(_family()):
                    pid, started, _ = map(int, name.removeprefix(_family()).split("-"))
                    if not lives(pid, started):
                        _clear(f"{base.path}/{name}")


def _family() -> str:
    """Return how the names of all groups begin whose owners' pids mean here what they say."""
    return f"{_PREFIX}{os.stat('/proc/self/ns/pid').st_ino}-"


def _started(pid: int) -> int:
    """Return when a process began, in ticks since the machine did; 0 when it is gone."""
    text = _read(f"/proc/{pid}/stat")
    return int(text[text.rfind(")") + 2 :].split()[19]) if text else 0


def _removed(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _clear(path: str) -> None:
    """Kill what is in a group and remove it."""
    deadline = time.monotonic() + _EMPTY_S
    while not _removed(path) and time.monotonic() < deadline:
        if not _write(f"{path}/cgroup.kill", "1"):
            for pid in map(int, _read(f"{path}/cgroup.procs").split()):
                if pid:  # 0: not to be seen from here
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def _read(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""


def _write(path: str, text: str) -> bool:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(file, text.encode())
    except OSError:
        return False
    finally:
        os.close(file)
    return True
