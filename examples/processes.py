"""Look at processes through /proc (Linux)."""

from __future__ import annotations

import ctypes
import signal
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

_PR_SET_PDEATHSIG = 1


class Process(Struct, frozen=True):
    """A process as it was seen. `started` (in clock ticks since boot) tells it from a later one with the same pid."""

    pid: int
    parent: int
    session: int
    started: int
    command: str


def tree_of(pid: int) -> list[Process]:
    """Return a process and all its descendants, each after its parent; nothing when it is gone."""
    seen = {process.pid: process for process in map(_look, _pids()) if process is not None}
    children: dict[int, list[Process]] = {}
    for process in seen.values():
        children.setdefault(process.parent, []).append(process)
    tree: list[Process] = []
    waiting = [seen[pid]] if pid in seen else []
    while waiting:
        tree.append(waiting.pop())
        waiting += sorted(children.get(tree[-1].pid, ()), key=lambda process: -process.pid)
    return tree


def alive(process: Process) -> bool:
    """Say whether this very process still runs. A zombie does not."""
    now = _look(process.pid)
    return now is not None and now.started == process.started


def die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends, whatever ends it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def catches(pid: int, number: signal.Signals) -> bool:
    """Say whether a process has a handler of its own for a signal."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _look(pid: int) -> Process | None:
    with suppress(OSError):  # it has ended meanwhile
        # The name in brackets may hold anything, brackets and blanks too.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        if fields[0] not in "ZX":
            words[0] = words[0].rpartition(b"/")[2]
            return Process(
                pid=pid,
                parent=int(fields[1]),
                session=int(fields[3]),
                started=int(fields[19]),
                command=b" ".join(words).decode(errors="replace"),
            )
    return None
