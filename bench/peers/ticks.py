"""Reads the times that handlers wrote down."""

from __future__ import annotations

import os
import time
from array import array
from pathlib import Path

from bench.peers.work import TICKS


def read() -> list[int]:
    """Return all of them, in nanoseconds, in the order in which they were written."""
    file = Path(os.environ[TICKS])
    times = array("q")
    if file.exists():
        content = file.read_bytes()
        times.frombytes(content[: len(content) // 8 * 8])
    return times.tolist()


def wait(count: int, seconds: float) -> None:
    """Return when there are so many. Raises TimeoutError when none comes for so long."""
    file = Path(os.environ[TICKS])
    size, deadline = -1, 0.0
    while True:
        now = file.stat().st_size if file.exists() else 0
        if now >= count * 8:
            return
        if now > size:
            size, deadline = now, time.monotonic() + seconds
        if time.monotonic() > deadline:
            raise TimeoutError(f"{size // 8} of {count} jobs have started, and no other for {seconds:.0f} s")
        time.sleep(0.0005 if count * 8 - now <= 8 else 0.05)
