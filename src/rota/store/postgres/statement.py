"""What every part of a transaction on PostgreSQL shares: the connection, the named statements, what is held, counters, events.

Rows are waited for in one order: a schedule, a worker, then jobs by id; after them come the rows that belong to those
(shards by attempt, then the rest), and counters last. So no two transactions wait for each other. A transaction that finds
out late that it needs another job does not wait for it: it begins again (`StartOver`) and takes all that it knows of at
once, in order. Claims, and upkeep's steps, leave out what others hold and so never wait for a job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from asyncpg import Connection
from asyncpg.exceptions import LockNotAvailableError

from rota.store.rows import NewEvent

Row = Sequence[Any]


class StartOver(Exception):
    """The transaction needs rows that somebody else holds, while it holds some itself: again, with these held first."""

    def __init__(self, workers: Iterable[str], jobs: Iterable[str]) -> None:
        super().__init__("began again, to lock rows in order")
        self.workers = sorted(workers)
        self.jobs = sorted(jobs)


class BaseTx:
    """A transaction at a moment: `now` is the store's clock, in microseconds. Only one that `writes` locks anything."""

    def __init__(self, connection: Connection[Any], now: int, statements: dict[str, str], *, writes: bool) -> None:
        self.now = now
        self.xid: str | None = None  # of a transaction that has numbered events
        self.last_event_written: tuple[int, str] | None = None  # (number, job)
        self._con = connection
        self._sql = statements
        self._writes = writes
        self._deltas: Counter[tuple[str, str, str]] = Counter()
        self._events: list[NewEvent] = []
        self._held_workers: set[str] = set()
        self._held: set[str] = set()

    async def _one(self, name: str, *values: Any) -> Row | None:
        row: Row | None = await self._con.fetchrow(self._sql[name], *values)
        return row

    async def _all(self, name: str, *values: Any) -> list[Row]:
        rows: list[Row] = await self._con.fetch(self._sql[name], *values)
        return rows

    async def _run(self, name: str, *values: Any) -> None:
        await self._con.execute(self._sql[name], *values)

    # -- rows that are held

    async def hold(self, workers: Sequence[str], jobs: Sequence[str]) -> None:
        """Wait for these rows, in order: what a transaction that starts over does first."""
        for worker in workers:
            await self._hold_worker(worker)
        await self._hold_jobs(jobs)

    async def _hold_worker(self, worker: str) -> Row | None:
        if not self._writes:
            return await self._one("get_worker", worker)
        if not self._held or worker in self._held_workers:
            row = await self._one("lock_worker", worker)
        else:
            try:
                row = await self._one("lock_worker_now", worker)
            except LockNotAvailableError:
                raise StartOver(self._held_workers | {worker}, self._held) from None
        self._held_workers.add(worker)
        return row

    async def _hold_jobs(self, jobs: Iterable[str]) -> list[Row]:
        """Lock those of these jobs that exist, and return what decides, in the order of their ids."""
        wanted = sorted(set(jobs))
        if not wanted:
            return []
        if not self._writes:
            return await self._all("look_at_job", wanted)
        if self._held:
            try:
                rows = await self._all("lock_job_now", wanted)
            except LockNotAvailableError:
                raise StartOver(self._held_workers, self._held.union(wanted)) from None
        else:
            rows = await self._all("lock_job", wanted)
        self._held.update(row[0] for row in rows)
        return rows

    # -- counters and events, which are written last

    def _moved(self, queue: str, lane: str, old: str | None, new: str | None) -> None:
        if old is not None:
            self._deltas[queue, lane, old] -= 1
        if new is not None:
            self._deltas[queue, lane, new] += 1

    async def flush(self) -> None:
        """Write what has become of the counters, and the events; the runner calls it at the end of a function."""
        events, self._events = self._events, []
        if not events:
            await self._write_counts()
            return
        row = await self._one("number_events", len(events))
        assert row is not None, "it counts"
        self.xid, numbers = row[0], sorted(row[1])
        self.last_event_written = numbers[-1], events[-1].job
        # What is written from here on has a new id, higher than that of any transaction with a lower number: each got its
        # id before its numbers, and those before ours.
        await self._con.execute("SAVEPOINT rota_numbered")
        horizon = _whole_id(await self._write_counts(or_none=True), near=int(row[0]))
        await self._run(
            "append_events", numbers, self.now, [e.job for e in events], [e.owner for e in events], [e.kind for e in events],
            [e.state for e in events], [e.attempt for e in events], [e.by for e in events],
            [None if e.why is None else e.why.replace("\0", "\N{REPLACEMENT CHARACTER}") for e in events], horizon,
        )  # fmt: skip

    async def _write_counts(self, *, or_none: bool = False) -> int:
        """Write counters (`or_none`: if there are none, one of nothing), and return the id under which that was written."""
        deltas = sorted((*key, n) for key, n in self._deltas.items() if n)
        self._deltas.clear()
        if or_none and not deltas:
            deltas = [("", "", "none", 0)]
        if not deltas:
            return 0
        written = await self._all(
            "add_count", *zip(*deltas, strict=True)
        )  # sorted: they too are waited for in one order
        id_: int = written[0][0]
        return id_


def _whole_id(low: int, *, near: int) -> int:
    """Return the 64 bits of a transaction id of which we know the lower 32, and one that was given a little before."""
    whole = near & ~0xFFFFFFFF | low
    return whole if whole >= near else whole + (1 << 32)


def columns(rows: Sequence[Row], width: int) -> list[Sequence[Any]]:
    """Turn rows into columns, `width` of them also when there are no rows."""
    return list(zip(*rows, strict=True)) if rows else [()] * width
