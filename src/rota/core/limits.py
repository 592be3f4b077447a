"""Limits on what runs at once, and on how fast jobs start. Pure: what is in use is counted elsewhere, from live leases.

A rate is a token bucket, kept as one moment: when the bucket will be full again (`full_at`). So it needs no clock of its own,
nothing to be refilled, and two servers agree on it to the microsecond.
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from rota.core.jobs import handler_of
from rota.core.times import SECOND, parse_duration

LimitKind = Literal["queue", "handler", "key"]
Pool = tuple[LimitKind, str]  # what jobs count against
MAX_CONCURRENCY = 1_000_000
MAX_STARTS = 1_000_000
_TEXT = re.compile(r"\s*(\d{1,7})\s*/\s*(.+?)\s*")
_UNITS = {"s", "m", "h", "d"}


class Rate(Struct, frozen=True):
    """`starts` in a period of `period` microseconds, `burst` of them at once after a pause."""

    starts: int
    period: int
    burst: int

    @property
    def interval(self) -> int:
        """Return the microseconds from one start to the next, rounded so that there is never one too many."""
        return -(-self.period // self.starts)

    def room(self, full_at: int | None, now: int) -> int:
        """Return how many jobs may start now."""
        return max(0, self.burst - -(-(self._full_at(full_at, now) - now) // self.interval))

    def spend(self, full_at: int | None, now: int, starts: int) -> int:
        """Return when the bucket will be full again if so many jobs start now."""
        return self._full_at(full_at, now) + starts * self.interval

    def next_at(self, full_at: int | None, now: int) -> int:
        """Return when the next job may start."""
        return self.start_at(full_at, now, 0)

    def start_at(self, full_at: int | None, now: int, before: int) -> int:
        """Return when a job may start before which so many others do, each as soon as it may."""
        return max(now, self._full_at(full_at, now) + (before - self.burst + 1) * self.interval)

    def _full_at(self, full_at: int | None, now: int) -> int:
        """Return when the bucket is full: it is never emptier than empty, also when the clock was set back."""
        return now if full_at is None else min(max(full_at, now), now + self.burst * self.interval)

    def __str__(self) -> str:
        seconds = self.period / SECOND
        return f"{self.starts}/{seconds:g}s"


def parse_rate(text: str) -> tuple[int, float]:
    """Return the number and the period, in seconds, that `100/1m` or `10/s` means. Raises ValueError."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no rate; write NUMBER/PERIOD, like 100/1m or 10/s")
    per = match[2]
    return int(match[1]), parse_duration(f"1{per}" if per in _UNITS else per)


def rate_of(starts: int, per_s: float, burst: int | None) -> Rate:
    """Return a rate; without a `burst` that of a whole period. Raises ValueError for what is out of bounds."""
    if not 1 <= starts <= MAX_STARTS:
        raise ValueError(f"a rate is 1 to {MAX_STARTS:,} starts in a period")
    if not (0.001 <= per_s <= 31 * 86400.0):
        raise ValueError("the period of a rate is 1 ms to 31 days")
    if burst is not None and not 1 <= burst <= MAX_STARTS:
        raise ValueError(f"a burst is 1 to {MAX_STARTS:,}")
    return Rate(starts, round(per_s * SECOND), starts if burst is None else burst)


class Limit(Struct, frozen=True, kw_only=True):
    """What a queue, a handler or the jobs of a key may use; a name of keys that ends in `*` is for all with that beginning.

    `declared`: by the handler's own code; what an admin sets stands above it.
    """

    kind: LimitKind
    name: str
    concurrency: int | None = None
    rate: Rate | None = None
    declared: bool = False

    @property
    def pool(self) -> Pool:
        """Return what jobs count against."""
        return self.kind, self.name


def pools_of(queue: str, lane: str) -> list[Pool]:
    """Return what the jobs of a lane may count against, besides their key."""
    handler = handler_of(lane)
    return [("queue", queue)] if handler is None else [("queue", queue), ("handler", handler)]


class Use(Struct, frozen=True):
    """How much of a limit is used: jobs that run now, and when its bucket will be full again."""

    limit: Limit
    running: int
    full_at: int | None

    @property
    def is_full(self) -> bool:
        """Say whether as many run as may run at once."""
        return self.limit.concurrency is not None and self.running >= self.limit.concurrency

    def room(self, now: int) -> int:
        """Return how many jobs may start now."""
        rooms = []
        if self.limit.concurrency is not None:
            rooms.append(max(0, self.limit.concurrency - self.running))
        if self.limit.rate is not None:
            rooms.append(self.limit.rate.room(self.full_at, now))
        return min(rooms, default=MAX_CONCURRENCY)
