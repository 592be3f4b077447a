"""`make bench-quick`: is anything slower than what was kept? Ends with status 1 if so. `--keep` keeps this run instead.

Two kinds of figures, neither of which is a time. A *count* is of bytecodes, of steps of SQLite, of what PostgreSQL is asked,
reads and writes: it is the same on every machine. A *ratio* is the processor time of a piece of work over that of a bare
loop that ran just before it, for what counts do not see; the two take turns, so that a slow machine and a busy one change
both. What seems slower is measured again, and is only slower if it stays so.
"""

from __future__ import annotations

import argparse
import platform
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import uvloop
from tests import postgres

from bench.guard import counting, work
from bench.guard.comparing import Baseline, Kept, apart, changes
from bench.guard.meters import Meter
from bench.guard.work import Task

BASELINE = Path(__file__).parent / "baseline.json"
_ROUNDS = 9
_LEAST = 4
_PATIENCE_S = 50.0  # after which no further round begins, once there are the least
_AGAIN_S = 85.0  # after which nothing is measured again


def main() -> None:
    """Measure, compare, and say what became slower."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description="Is anything slower than what was kept?")
    parser.add_argument("--keep", action="store_true", help="write bench/guard/baseline.json anew, whatever it says")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="how often each is measured [default: %(default)s]")
    arguments = parser.parse_args()
    began = time.monotonic()
    kept = msgspec.json.decode(BASELINE.read_bytes(), type=Baseline) if BASELINE.exists() else None
    counts = uvloop.run(counting.counts())
    ratios = uvloop.run(_ratios(arguments.rounds, None if arguments.keep else kept, began))
    now = Baseline(_versions(), ratios, counts)
    print(f"took {time.monotonic() - began:.0f} s")
    if arguments.keep or kept is None:
        BASELINE.write_bytes(msgspec.json.format(msgspec.json.encode(now), indent=2) + b"\n")
        print(f"kept: {len(now.ratios)} ratios, {len(now.counts)} counts")
        return
    sys.exit(_compare(kept, now))


def _compare(before: Baseline, now: Baseline) -> int:
    """Print all figures; return the exit status."""
    found = changes(before, now)
    print(f"{'what, a job':<58} {'now':>9} {'kept':>9} {'change':>9}")
    for change in found:
        print(change.text())
    for line in (*apart(before.ratios, now.ratios), *apart(before.counts, now.counts)):
        print(line)
    if before.versions != now.versions:
        print(f"CAUTION: kept with {before.versions}; this is {now.versions}: what differs may be theirs")
    slower = [change for change in found if change.slower]
    for change in slower:
        print(f"slower: {change.what}, by {100 * (change.times - 1):.0f} %")
    if not slower:
        print("nothing is slower")
    return 1 if slower else 0


async def _ratios(rounds: int, kept: Baseline | None, began: float) -> dict[str, Kept]:
    """Measure all; then again what seems slower than what was kept, as long as there is time."""
    async with work.opened() as tasks:
        found = await _rounds(tasks, rounds, began + _PATIENCE_S)
        while kept is not None and time.monotonic() < began + _AGAIN_S:
            suspects = {change.what for change in changes(kept, Baseline("", found, {})) if change.slower}
            some = [task for task in tasks if suspects & set(task.names())]
            if not some:
                break
            for name, again in (await _rounds(some, rounds, began + _AGAIN_S)).items():
                found[name] = min(found[name], again, key=lambda one: one.median)
    return found


async def _rounds(tasks: Sequence[Task], rounds: int, until: float) -> dict[str, Kept]:
    taken: dict[str, list[float]] = {}
    for n in range(rounds + 1):  # the first one warms up
        if n > _LEAST and time.monotonic() > until:
            print(f"the machine is busy: {n - 1} rounds have to do", file=sys.stderr)
            break
        for task in tasks:
            for name, ratio in (await _ratio(task)).items():
                taken.setdefault(name, []).append(ratio)
    return {name: Kept.of(values[1:]) for name, values in taken.items()}


async def _ratio(task: Task) -> Mapping[str, float]:
    """Return bare cycles a job, by the part that spent them."""
    await task.prepare()
    await task.bare.prepare()
    cycle = await _spent(task.bare.run, task.bare.meters)
    job = await _spent(task.run, task.meters)
    each = [(job[part] / task.jobs) / (cycle[part] / task.bare.cycles) for part in task.meters]
    return dict(zip(task.names(), each, strict=True))


async def _spent(run: Callable[[], Awaitable[None]], meters: Mapping[str, Meter]) -> dict[str, float]:
    before = {part: meter() for part, meter in meters.items()}
    await run()
    return {part: meter() - before[part] for part, meter in meters.items()}


def _versions() -> str:
    folder = postgres.found()
    database = "no PostgreSQL" if folder is None else f"PostgreSQL {_major(folder.parts)}"
    return f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {database}, {platform.machine()}"


def _major(parts: Sequence[str]) -> str:
    """Return the version in Debian's path of the programs; another package's has none."""
    return next((part for part in reversed(parts) if part.isdecimal()), "of another package")


if __name__ == "__main__":
    main()
