"""Sums over time: what was submitted, started and ended in each minute and hour, how long it waited and ran, what was waiting.

Every server counts what it does itself, in memory, and writes its own rows every few seconds: absolute sums of the minute
and of the hour, so that writing them again changes nothing, and no two servers want the same row. A server that is killed
takes the last `FLUSH_S` seconds of its counts along. Who reads adds up the servers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from rota.core import histograms
from rota.core.errors import Invalid
from rota.core.states import State
from rota.core.times import SECOND
from rota.service.signals import Effects
from rota.store.protocol import CountRow, SeriesRow, Store, Tx

FLUSH_S = 5.0
MINUTE, HOUR = 60, 3600
KEPT = {MINUTE: 2 * 86400, HOUR: 32 * 86400}  # seconds
MAX_POINTS = 3000
MOST_QUEUES = 50  # that a server counts one by one in a minute; the sums of all have the others too
_MOST_ROWS = 50_000
_NOT_OVER = (State.BLOCKED, State.SCHEDULED, State.QUEUED, State.RUNNING)
_OTHERS = "\0"  # no queue is called so


class Sums(Struct, omit_defaults=True):
    """What was counted. `waits` and `runs` are histograms of seconds, as `core.histograms.sparse` has them.

    `jobs` is how many were in each state that is not final when the minute ended; None: nobody has looked.
    """

    submitted: int = 0
    started: int = 0
    succeeded: int = 0
    failed: int = 0
    aborted: int = 0
    canceled: int = 0
    waits: list[tuple[int, int]] = []
    runs: list[tuple[int, int]] = []
    jobs: dict[str, int] | None = None


class Series(Struct, frozen=True, kw_only=True):
    """Points in time, in seconds since 1970, and for each of them what was counted from then on for `step` seconds.

    Waits (from when a job could run to its start) and runs are the median and the 99th percentile in seconds, None when
    there was none. Of jobs that waited or ran there is the last look in a step, None when nobody has looked.
    """

    step: int
    queue: str
    cut: bool
    at: list[int]
    submitted: list[int]
    started: list[int]
    succeeded: list[int]
    failed: list[int]
    aborted: list[int]
    canceled: list[int]
    wait_p50: list[float | None]
    wait_p99: list[float | None]
    run_p50: list[float | None]
    run_p99: list[float | None]
    blocked: list[int | None]
    scheduled: list[int | None]
    queued: list[int | None]
    running: list[int | None]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Sums).decode
_ENDS = ("succeeded", "failed", "aborted", "canceled")
_COUNTED = ("submitted", "started", *_ENDS)


class _Tally:
    """The counts of one queue, while they grow."""

    __slots__ = ("counts", "jobs", "runs", "waits")

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_COUNTED, 0)
        self.waits = [0] * histograms.BUCKETS
        self.runs = [0] * histograms.BUCKETS
        self.jobs: dict[str, int] | None = None

    def add(self, sums: Sums) -> None:
        """Add what was counted elsewhere, or earlier."""
        for name in _COUNTED:
            self.counts[name] += getattr(sums, name)
        histograms.add(self.waits, sums.waits)
        histograms.add(self.runs, sums.runs)
        if sums.jobs is not None:
            self.jobs = sums.jobs

    @property
    def sums(self) -> Sums:
        """Return it as it is kept."""
        return Sums(
            **self.counts, waits=histograms.sparse(self.waits), runs=histograms.sparse(self.runs), jobs=self.jobs
        )


Tallies = dict[str, _Tally]


class Counting:
    """Counts what this server does. `monotonic` gives seconds."""

    def __init__(self, store: Store, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._monotonic = monotonic
        self._server = secrets.token_hex(4)  # of this run: after a restart others are written
        self._minute = 0  # microseconds; since when `_tallies` counts
        self._tallies: Tallies = {}
        self._hour: Tallies = {}  # the minutes of this hour that are over
        self._over: dict[tuple[int, int], Tallies] = {}  # (step, at) that is over, and not written as a whole yet
        self._idle = True  # at the last look there was no job that is not over
        self._changed = False
        self._flush_at = 0.0
        self._prune_at = 0.0

    def note(self, effects: Effects) -> None:
        """Count what a committed transaction did."""
        if not (effects.submitted or effects.started or effects.over):
            return
        self._changed = True
        for queue, n in effects.submitted.items():
            self._tally(queue).counts["submitted"] += n
        bucket_of = histograms.bucket_of
        for queue, wait_s in effects.started:
            tally = self._tally(queue)
            tally.counts["started"] += 1
            tally.waits[bucket_of(wait_s)] += 1
        for end in effects.over:
            tally = self._tally(end.queue)
            tally.counts[end.state] += 1
            if end.run_s is not None:
                tally.runs[bucket_of(end.run_s)] += 1

    def seen(self, now: int) -> None:
        """Hear what time the store has: a minute may be over."""
        minute = now - now % (MINUTE * SECOND)
        if minute == self._minute:
            return
        old, self._minute = self._minute, minute
        tallies, self._tallies = self._tallies, {}
        if not old or not (tallies or not self._idle):
            return
        self._over[MINUTE, old] = tallies
        for queue, tally in tallies.items():
            self._hour.setdefault(queue, _Tally()).add(tally.sums)
        hour = old - old % (HOUR * SECOND)
        if hour != minute - minute % (HOUR * SECOND):
            self._over[HOUR, hour], self._hour = self._hour, {}
        self._changed = True

    @property
    def changed(self) -> bool:
        """Say whether there is something to write."""
        return self._changed

    @property
    def due(self) -> bool:
        """Say whether there is something to write, or to remove, and time to do it."""
        now = self._monotonic()
        return (self._changed and now >= self._flush_at) or now >= self._prune_at

    async def flush(self) -> None:
        """Write what was counted, and remove what is old."""
        self._flush_at = self._monotonic() + FLUSH_S
        prune = self._monotonic() >= self._prune_at
        changed, self._changed = self._changed, False
        over = dict(self._over)

        async def write(tx: Tx) -> None:
            if changed:
                if any(step == MINUTE for step, _ in over):
                    self._look(await tx.counts(), over)
                rows = self._rows(MINUTE, self._minute, [self._tallies])
                rows += self._rows(HOUR, self._minute - self._minute % (HOUR * SECOND), [self._hour, self._tallies])
                for (step, at), tallies in over.items():
                    rows += self._rows(step, at, [tallies])
                await tx.put_series(rows)
            if prune:
                for step, kept in KEPT.items():
                    await tx.prune_series(step, tx.now - kept * SECOND, _MOST_ROWS // 10)

        if not changed and not prune:
            return
        try:
            await self._store.write(write)
        except BaseException:
            self._changed = self._changed or changed
            raise
        for name in over:
            del self._over[name]
        if prune:
            self._prune_at = self._monotonic() + MINUTE

    def _tally(self, queue: str) -> _Tally:
        tally = self._tallies.get(queue)
        if tally is None:
            if len(self._tallies) >= MOST_QUEUES:
                queue = _OTHERS
            tally = self._tallies.setdefault(queue, _Tally())
        return tally

    def _look(self, counts: Sequence[CountRow], over: dict[tuple[int, int], Tallies]) -> None:
        """Note how many jobs there are in each state, with what is over."""
        jobs: dict[str, dict[str, int]] = {}
        for row in counts:
            if row.state in _NOT_OVER:
                of_queue = jobs.setdefault(row.queue, dict.fromkeys(_NOT_OVER, 0))
                of_queue[row.state] += row.n
        self._idle = not jobs
        for tallies in over.values():
            for queue in sorted(jobs, key=lambda queue: -sum(jobs[queue].values())):
                if queue in tallies or len(tallies) < MOST_QUEUES:
                    tallies.setdefault(queue, _Tally()).jobs = jobs[queue]
            rest = [of_queue for queue, of_queue in jobs.items() if queue not in tallies]
            others = tallies.setdefault(_OTHERS, _Tally())
            others.jobs = {state: sum(of_queue[state] for of_queue in rest) for state in _NOT_OVER}

    def _rows(self, step: int, at: int, parts: Iterable[Tallies]) -> list[SeriesRow]:
        queues: Tallies = {}
        whole = _Tally()
        for part in parts:
            for queue, tally in part.items():
                sums = tally.sums
                whole.add(sums)
                queues.setdefault(queue, _Tally()).add(sums)
        if not queues:
            return []
        looks = [tally.jobs for tally in queues.values() if tally.jobs is not None]
        whole.jobs = {state: sum(look[state] for look in looks) for state in _NOT_OVER} if looks else None
        named = {"": whole} | {queue: tally for queue, tally in queues.items() if queue != _OTHERS}
        return [
            SeriesRow(step, queue, at, self._server, _encode(tally.sums).decode()) for queue, tally in named.items()
        ]


async def read_series(
    tx: Tx, *, begin: int | None = None, end: int | None = None, step: int | None = None, queue: str = ""
) -> Series:
    """Return the sums of a range of time (the last hour), in steps of a multiple of 60 seconds. Raises Invalid."""
    end = tx.now if end is None else end
    begin = end - HOUR * SECOND if begin is None else begin
    if begin >= end:
        raise Invalid("from", "is before `to`")
    wanted = _step(begin, end, tx.now) if step is None else step
    if wanted <= 0 or wanted % MINUTE:
        raise Invalid("step", "is a multiple of a minute: 1m, 5m, 1h")
    size = wanted * SECOND
    begin -= begin % size
    if (end - begin) // size > MAX_POINTS:
        raise Invalid("step", f"gives more than {MAX_POINTS} points; take a longer step, or a shorter range")
    kept = HOUR if wanted % HOUR == 0 else MINUTE
    rows = await tx.series(kept, queue, begin, end, _MOST_ROWS)
    tallies = [_Tally() for _ in range(begin, end, size)]
    looks: dict[int, int] = {}  # the last moment of each step at which somebody has looked
    for row in rows:
        sums = _decode(row.sums)
        at = (row.at - begin) // size
        if sums.jobs is not None and row.at < looks.get(at, 0):
            sums.jobs = None
        elif sums.jobs is not None:
            looks[at] = row.at
        tallies[at].add(sums)
    return _columns(wanted, queue, begin // SECOND, tallies, cut=len(rows) == _MOST_ROWS)


def _step(begin: int, end: int, now: int) -> int:
    """Choose a step: minutes while they are kept, and a few hundred points."""
    if begin < now - KEPT[MINUTE] * SECOND:
        return HOUR
    minutes = (end - begin) // (MINUTE * SECOND)
    return next(n * MINUTE for n in (1, 2, 5, 10, 15, 30, 60) if minutes <= 400 * n or n == 60)


def _columns(step: int, queue: str, begin: int, tallies: Sequence[_Tally], *, cut: bool) -> Series:
    def at(histogram: Sequence[int], q: float) -> float | None:
        found = histograms.quantile(histogram, q)
        return None if found is None else round(found, 6)

    counted: dict[str, Any] = {name: [tally.counts[name] for tally in tallies] for name in _COUNTED}
    for state in _NOT_OVER:
        counted[state.value] = [None if t.jobs is None else t.jobs.get(state, 0) for t in tallies]
    for name, percent in (("p50", 0.5), ("p99", 0.99)):
        counted[f"wait_{name}"] = [at(tally.waits, percent) for tally in tallies]
        counted[f"run_{name}"] = [at(tally.runs, percent) for tally in tallies]
    moments = [begin + n * step for n in range(len(tallies))]
    return Series(step=step, queue=queue, cut=cut, at=moments, **counted)
