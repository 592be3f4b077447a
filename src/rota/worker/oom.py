"""Whether the kernel has killed something of ours for want of memory."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


class OomWatch:
    """Counts the kernel's out-of-memory kills where this process is allowed to read them; else there are none."""

    def __init__(self, files: Iterable[Path] | None = None) -> None:
        self._files = list(_counters() if files is None else files)
        self._seen = self._count()

    def struck(self) -> bool:
        """Say whether there was a kill since the last call that said yes, or since the beginning."""
        count = self._count()
        struck = count > self._seen
        self._seen = max(count, self._seen)
        return struck

    def _count(self) -> int:
        return sum(_kills(path) for path in self._files)


def _counters() -> list[Path]:
    """Return the files that count: those of our control group (version 2, then 1), else the whole machine's."""
    found: list[Path] = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0":
                found += [Path(f"/sys/fs/cgroup{path}/memory.events"), Path("/sys/fs/cgroup/memory.events")]
            elif "memory" in controllers.split(","):
                found += [
                    Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control"),
                    Path("/sys/fs/cgroup/memory/memory.oom_control"),
                ]
    readable = next(([path] for path in found if _has_count(path)), [])
    return readable or [Path("/proc/vmstat")]


def _has_count(path: Path) -> bool:
    try:
        return "oom_kill " in path.read_text()
    except OSError:
        return False


def _kills(path: Path) -> int:
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
