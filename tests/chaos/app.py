"""The handlers of the jobs, and their ledger: what really ran, written by the attempts themselves and read by nobody else.

An attempt writes a file of its own, a line at a time: `start`, `tick` about every 50 ms, `end`, each with the seconds of a
clock that all processes share and nobody sets. How an attempt was ended from outside is seen by its last tick.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import time
from pathlib import Path

import rota

app = rota.App()
LEDGER = Path(os.environ.get("ROTA_CHAOS_LEDGER", "."))
TICK_S = 0.05


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Entry:
    """The file of one attempt, or of one input in it."""

    def __init__(self, ctx: rota.Context) -> None:
        self.nonce = f"{os.getpid()}-{random.SystemRandom().getrandbits(48):x}"
        index = "" if ctx.index is None else str(ctx.index)
        self.path = LEDGER / f"{ctx.job_id}.{ctx.attempt}.{index}.{self.nonce}"
        self.write("start")

    def write(self, word: str) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(file, f"{word} {now():.4f} {os.getpid()}\n".encode())
        finally:
            os.close(file)

    def result(self, ctx: rota.Context) -> list[object]:
        self.write("end")
        return [ctx.attempt, self.nonce]


@app.handler
def work(seconds: float, *, ctx: rota.Context) -> list[object]:
    entry = Entry(ctx)
    until = now() + seconds
    while now() < until:
        entry.write("tick")
        time.sleep(TICK_S)
    return entry.result(ctx)


@app.handler
async def awork(seconds: float, *, ctx: rota.Context) -> list[object]:
    entry = Entry(ctx)
    until = now() + seconds
    while now() < until:
        entry.write("tick")
        await asyncio.sleep(TICK_S)
    return entry.result(ctx)


@app.handler(retries=2)
def flaky(fails: int, *, ctx: rota.Context) -> list[object]:
    """Fail as often as was asked, by what is written and not by the attempt's number: attempts may be lost besides."""
    entry = Entry(ctx)
    mark = LEDGER / f"flaky-{ctx.job_id}"
    failed = mark.stat().st_size if mark.exists() else 0
    if failed < fails:
        with mark.open("a") as file:
            file.write("x")
        entry.write("end")
        raise RuntimeError(f"failure {failed + 1} of {fails}")
    return entry.result(ctx)


_HIDING = """
trap '' TERM
beat() { while :; do read -r up _ </proc/uptime; echo "tick $up $BASHPID" >>"$0"; sleep 0.1; done; }
(setsid bash -c "$(declare -f beat); trap '' TERM; beat" "$0" &)
beat
"""


@app.handler
def tree(seconds: float, *, ctx: rota.Context) -> list[object]:
    """Start processes that hide, ignore SIGTERM, and go on writing for as long as they live."""
    entry = Entry(ctx)
    subprocess.Popen(["bash", "-c", _HIDING, str(entry.path)], start_new_session=True)
    time.sleep(seconds)
    return entry.result(ctx)
