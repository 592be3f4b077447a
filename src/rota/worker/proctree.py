"""What /proc says about processes: who descends from whom, who is alive, who carries a mark. Standard library only.

A walk is no snapshot: processes fork and die beside it. Two facts make it sound nevertheless. A process that is in the
tree of a subreaper stays in it, whatever it does: when its parent dies it becomes the subreaper's own child. And the
list of a single-threaded process's children is never empty while it has descendants: whoever dies stays in it, as a
zombie, until it is reaped. So a walk that meets nobody but zombies, all of whom were zombies before it began, has missed
nobody. A pid that was just read is signalled at once; the kernel hands out all other pids before it hands out that one
again.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress

_MOST_WALKS = 10
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def become_subreaper() -> None:
    """Make this process the parent of all its descendants whose own parents die."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_readable(readable: bool) -> None:
    """Let other processes of this one's user read its environment and memory, and trace it, or forbid it; root always may."""
    _prctl(_PR_SET_DUMPABLE, int(readable), 0, 0, 0)


def die_with(parent: int) -> None:
    """Have this process killed when its parent dies (its thread that is the parent, to be exact); at once if it is gone."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def children(pid: int) -> list[int]:
    """Return the children of a process, zombies too: none where the kernel keeps no such lists (see HAS_LISTS)."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as listing:
                found.extend(map(int, listing.read(1 << 20).split()))
    return found


def _children_scanned() -> Callable[[int], list[int]]:
    """Read the parents of all processes of the machine (where the kernel keeps no lists of children)."""
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (fields := _stat(int(name))):
            below.setdefault(int(fields[1]), []).append(int(name))
    return lambda pid: below.get(pid, [])


HAS_LISTS = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def _stat(pid: int) -> list[bytes]:
    """Return what /proc/PID/stat says, from the state on; empty when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as stat:
            text = stat.read(4096)
    except OSError:
        return []
    return text[text.rfind(b")") + 2 :].split(maxsplit=18)


def is_alive(pid: int) -> bool:
    """Say whether a process runs, or could: a zombie does not, unless only its first thread has ended."""
    fields = _stat(pid)
    return bool(fields) and (fields[0] not in (b"Z", b"X") or int(fields[17]) > 1)


def program(pid: int) -> bytes:
    """Return the command line of a process: another one after it has become another program."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as command:
            return command.read(4096)
    except OSError:
        return b""


def parent(pid: int) -> int:
    """Return the parent of a process; 0 when it is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def session(pid: int) -> int:
    """Return the id of a process's session; 0 when it is gone."""
    fields = _stat(pid)
    return int(fields[3]) if fields else 0


def descendants(roots: Iterable[int], spared: Callable[[int], bool] = lambda _pid: False) -> list[int]:
    """Return those below `roots` that are alive, parents before their children; not the `spared`, nor what is below them.

    An empty list is a proof, if nobody but the caller reaps the children of the roots.
    """
    roots = list(roots)
    known_dead: set[int] = set()
    while True:
        found, dead = _walk(roots, spared)
        if found or dead <= known_dead:
            return found
        known_dead = dead


def marks(root: int) -> dict[int, str | None]:
    """Return whose attempt each live process below `root` belongs to: the mark of its environment, else its parent's.

    It may be read while `root` reaps: what one walk passes over, the next one sees.
    """
    seen: tuple[list[int], set[int]] | None = None
    for _ in range(_MOST_WALKS):
        before, seen = seen, _walk([root], lambda _pid: False)
        if seen in (before, ([], set())):
            break
    found: dict[int, str | None] = {}
    for pid in seen[0] if seen else []:
        found[pid] = _mark(pid) or found.get(parent(pid))
    return found


def _walk(roots: Iterable[int], spared: Callable[[int], bool]) -> tuple[list[int], set[int]]:
    """Return who is alive below `roots`, and who was listed and is not.

    Whoever died after the list was read may have left children to its subreaper's list after that was read: a walk that
    meets someone newly dead proves nothing.
    """
    listed = children if HAS_LISTS else _children_scanned()
    found: list[int] = []
    dead: set[int] = set()
    queue = list(roots)
    for pid in queue:  # grows while it is walked
        for child in listed(pid):
            if spared(child):
                continue
            if is_alive(child):
                found.append(child)
                queue.append(child)
            else:
                dead.add(child)
    return found, dead


def _mark(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            variables = environ.read().split(b"\0")
    except OSError:
        return None
    values = dict(v.partition(b"=")[::2] for v in variables if v.startswith((b"ROTA_JOB_ID=", b"ROTA_ATTEMPT=")))
    job, attempt = values.get(b"ROTA_JOB_ID"), values.get(b"ROTA_ATTEMPT")
    return mark(job.decode("utf-8", "replace"), attempt.decode("utf-8", "replace")) if job and attempt else None


def mark(job: str, attempt: int | str) -> str:
    """Return what the processes of an attempt are known by."""
    return f"{job}/{attempt}"


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal processes; those that are gone, or are no longer ours to signal, are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
