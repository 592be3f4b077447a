"""Arrays: how large the next shard is, when an array stops early, and how long it will still take. No I/O.

Shards are cut by guided self-scheduling (Polychronopoulos and Kuck, 1987): each takes a share of what is left over the
slots that are alive, so the first are large and the last are small, and all workers end together. Two bounds on top: a
shard lasts about a second, by what the inputs that are over have taken, and the inputs of a shard that was lost again
and again are cut ever smaller, until the one that takes its worker along is alone.
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from rota.core.jobs import Array, Attempt

MAX_INPUTS = 1_000_000
MAX_INPUT_BYTES = 256 << 20  # of all inputs of an array
CHUNK_BYTES = 256_000  # of inputs in one row
CHUNK_INPUTS = 4096
_MAX_SHARD = 4096
_SHARE = 4  # a shard is this part of what one slot would get if the rest were dealt out now
_SHARD_S = 1.0
_FIRST = 8  # inputs of a shard while nobody knows how long one takes
_MOST_CUTS = 250  # a second, about
_HALT = re.compile(r"(now|soon),\s*(fail|success|done)=(\d{1,9})(%?)", re.ASCII)


class Shard(Struct):
    """A leased range of an array's inputs: `n` from `first`. Those below `told` are over, or are to run again.

    `failures` and `crashes` are what each of its inputs had before.
    """

    job: str
    attempt: int
    worker: str
    first: int
    n: int
    told: int
    failures: int = 0
    crashes: int = 0
    started_at: int = 0
    lease_until: int | None = None

    def as_attempt(self) -> Attempt:
        """Return it as the attempt that it is: it has no end and no outcome yet."""
        return Attempt(
            attempt=self.attempt, worker=self.worker, started_at=self.started_at, first=self.first, inputs=self.n
        )


class Range(Struct, frozen=True, kw_only=True):
    """Inputs that are to run again: `n` from `first`, not before `run_at`."""

    first: int
    n: int
    run_at: int
    failures: int = 0
    crashes: int = 0


class Halt(Struct, frozen=True):
    """When an array stops early: when `number` of its inputs (or per cent of them) have failed, succeeded, or are over."""

    when: Literal["now", "soon"]
    what: Literal["fail", "success", "done"]
    number: int
    percent: bool


def shard_size(array: Array, left: int, *, slots: int, crashes: int, ran_s: float) -> int:
    """Return how many of the `left` inputs that lie next to each other a slot gets now, of `slots` that are alive.

    `ran_s` is for how long the array has run. Where hundreds of coroutines share a processor, each input takes long and
    yet thousands are over every second: then shards are no smaller than what keeps their number per second bounded.
    """
    rest = max(array.inputs - array.cursor, left)
    slots = max(1, min(slots, array.parallel or slots))
    share = -(-rest // (_SHARE * slots))
    over = array.done
    lasting = _FIRST
    if over:  # durations come from outside, and may be next to nothing
        lasting = max(1, int(min(_MAX_SHARD, _SHARD_S * over / array.ran_s))) if array.ran_s > 0 else _MAX_SHARD
    cheap = int(min(over / ran_s / _MOST_CUTS, -(-rest // slots))) if ran_s > 0 else 1
    return max(1, min(max(min(share, lasting), cheap), left, _MAX_SHARD >> 3 * crashes))


def parse_halt(text: str) -> Halt:
    """Read a rule as GNU parallel's `--halt` has it. Raises ValueError."""
    found = _HALT.fullmatch(text.strip())
    if found is None or not (int(found[3]) > 0 and (not found[4] or int(found[3]) <= 100)):
        raise ValueError("is now or soon, a comma, then fail, success or done = a number or a percentage: now,fail=1")
    return Halt(found[1], found[2], int(found[3]), bool(found[4]))  # type: ignore[arg-type]  # the pattern says so


def is_halted(array: Array) -> bool:
    """Say whether an array's rule has come true."""
    if array.halt is None:
        return False
    halt = parse_halt(array.halt)
    counts = {"fail": array.failed, "success": array.done - array.failed, "done": array.done}
    n = counts[halt.what]
    return n * 100 >= halt.number * array.inputs if halt.percent else n >= halt.number


def left_s(array: Array) -> float | None:
    """Return how many seconds an array will still take, at the rate of its inputs so far; None: nobody knows."""
    if not array.done or not array.live:
        return None
    return (array.inputs - array.done) * array.ran_s / array.done / array.live
