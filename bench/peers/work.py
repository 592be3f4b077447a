"""What every peer's module shares: where the broker is, and what its handlers write down. Standard library only."""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

BROKER = "ROTA_BENCH_BROKER"  # the URL of a peer's broker, for its workers and producers
TICKS = "ROTA_BENCH_TICKS"  # the file that handlers write their times to
HOLDS = "ROTA_BENCH_HOLDS"  # the file of handlers that go on until they are stopped
PAYLOAD = "x" * 80
HOLD_S = 600.0
BEGIN, END = 0, 1
TICK = struct.Struct("<qq")  # when it started, when it was sent (0: it does not say)
HOLD = struct.Struct("<qqq")  # BEGIN or END, process, when


def broker() -> str:
    """Return the URL of the peer's broker."""
    return os.environ[BROKER]


def stamped() -> str:
    """Return a payload that says when it is sent, as long as any other."""
    return f"{time.time_ns():020d}".ljust(len(PAYLOAD), "x")


def tick(payload: str) -> None:
    """Write down the time: a handler's only work. A short append is one system call, and whole."""
    sent = int(payload[:20]) if payload[0].isdigit() else 0
    os.write(_file(TICKS), TICK.pack(time.time_ns(), sent))


def hold() -> None:
    """Go on until somebody stops it."""
    _note(BEGIN)
    try:
        time.sleep(HOLD_S)
    finally:
        _note(END)


async def hold_async() -> None:
    """Go on until somebody stops it, on a loop."""
    _note(BEGIN)
    try:
        await asyncio.sleep(HOLD_S)
    finally:
        _note(END)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do something on a loop that stays, with what is connected to it."""
    return _loop().run_until_complete(work)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _note(what: int) -> None:
    os.write(_file(HOLDS), HOLD.pack(what, os.getpid(), time.time_ns()))


@cache
def _file(name: str) -> int:
    return os.open(os.environ[name], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
