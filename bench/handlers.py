"""Handlers that do nothing, or sleep, so that only the engine is measured."""

from __future__ import annotations

import asyncio
import subprocess
import time

import rota

app = rota.App()


@app.handler
async def noop(n: int) -> int:
    return n


@app.handler
def noop_process(n: int) -> int:
    return n


@app.handler
def burn(ms: int) -> None:
    """Keep the processor busy for so long."""
    end = time.process_time_ns() + ms * 1_000_000
    while time.process_time_ns() < end:
        pass


@app.handler
async def clock() -> int:
    """Return the time of the first line, in nanoseconds: the caller knows when it sent the job."""
    return time.time_ns()


@app.handler
def clock_process() -> int:
    return time.time_ns()


@app.handler
async def sleep(*, ctx: rota.Context) -> None:
    ctx.progress(0.0, "ready")
    await asyncio.sleep(3600)


@app.handler
def sleep_process(*, ctx: rota.Context) -> None:
    ctx.progress(0.0, "ready")
    time.sleep(3600)


@app.handler
def sleep_tree(*, ctx: rota.Context) -> None:
    """Sleep with a tree below: bash, three children of it, one of them in a session of its own."""
    with subprocess.Popen(["bash", "-c", "sleep 3600 & sleep 3600 & setsid sleep 3600 & wait"]):
        time.sleep(0.05)
        ctx.progress(0.0, "ready")
        time.sleep(3600)


@app.handler
def second_start(*, ctx: rota.Context) -> int:
    """Sleep at the first attempt, say when the second one starts."""
    if ctx.attempt == 1:
        ctx.progress(0.0, "ready")
        time.sleep(3600)
    return time.time_ns()
