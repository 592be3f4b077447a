"""The machine and the versions that figures were taken with. Names no host and no path."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

_PARTS = ("rota", "msgspec", "uvicorn", "uvloop", "httptools", "starlette")


def describe() -> list[str]:
    """Return lines about the processor, the system, the disk and the versions."""
    release = ".".join(platform.release().split(".")[:2])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"{len(os.sched_getaffinity(0))} cores ({_processor()}), {memory:.0f} GiB, Linux {release}",
        f"one write and fsync: {_fsync_us():.0f} µs (median)",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        + ", ".join(f"{part} {version(part)}" for part in _PARTS),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _fsync_us() -> float:
    """Time the disk that the stores are on, which is that of temporary files."""
    taken = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(300):
            began = time.perf_counter_ns()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            taken.append(time.perf_counter_ns() - began)
    return statistics.median(taken) / 1e3
