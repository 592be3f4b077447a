"""What every peer's module shares: where the broker is, and the times that handlers write down. Standard library only."""

from __future__ import annotations

import os
import time
from functools import cache

BROKER = "ROTA_BENCH_BROKER"  # the URL of a peer's broker, for its workers and producers
TICKS = "ROTA_BENCH_TICKS"  # the file that handlers write their times to
PAYLOAD = "x" * 80


def broker() -> str:
    """Return the URL of the peer's broker."""
    return os.environ[BROKER]


def tick() -> None:
    """Write down the time: a handler's only work. A short append is one system call, and whole."""
    os.write(_ticks(), time.time_ns().to_bytes(8, "little"))


@cache
def _ticks() -> int:
    return os.open(os.environ[TICKS], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
