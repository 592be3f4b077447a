"""Reads what handlers wrote down."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from bench.peers.work import BEGIN, END, HOLD, TICK


class Ticks:
    """When handlers started."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)

    def read(self) -> list[tuple[int, int]]:
        """Return when each started and when it was sent, in nanoseconds, in the order in which they were written."""
        content = self._file.read_bytes() if self._file.exists() else b""
        return list(TICK.iter_unpack(content[: len(content) // TICK.size * TICK.size]))

    def count(self) -> int:
        """Return how many there are."""
        return self._file.stat().st_size // TICK.size if self._file.exists() else 0

    def wait(self, count: int, seconds: float) -> None:
        """Return when there are so many. Raises TimeoutError when none comes for so long."""
        seen, deadline = -1, 0.0
        while (now := self.count()) < count:
            if now > seen:
                seen, deadline = now, time.monotonic() + seconds
            if time.monotonic() > deadline:
                raise TimeoutError(f"{seen} of {count} jobs have started, and no other for {seconds:.0f} s")
            time.sleep(0.0005 if count - now <= 8 else 0.05)


class Holds:
    """Handlers that go on until they are stopped, one at a time."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)

    def begun(self, n: int, seconds: float) -> tuple[int, int]:
        """Return the process of the n-th that has begun, and when. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while len(begun := self._read(BEGIN)) < n:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing has begun for {seconds:.0f} s")
            time.sleep(0.001)
        return begun[n - 1]

    def ended(self, n: int, process: int, seconds: float) -> int:
        """Return when the n-th ended, by its own account or with its process. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while len(ended := self._read(END)) < n:
            if not _is_alive(process):
                return time.time_ns()
            if time.monotonic() > deadline:
                raise TimeoutError(f"it goes on after {seconds:.0f} s")
            time.sleep(0.0002)
        return ended[n - 1][1]

    def _read(self, what: int) -> list[tuple[int, int]]:
        content = self._file.read_bytes() if self._file.exists() else b""
        whole = content[: len(content) // HOLD.size * HOLD.size]
        return [(process, at) for kind, process, at in HOLD.iter_unpack(whole) if kind == what]


def _is_alive(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
