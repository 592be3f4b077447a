"""Heartbeats: what is named is renewed, and what a worker must hear is said.

On a store that others use too, many workers' heartbeats travel together: each would be a transaction of its own, and 200
idle workers would keep the database busy. The more workers there are, the longer the first one waits for company; by
their own clocks they count from when they sent it, so nobody loses time by that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rota.core.errors import NotFound
from rota.core.jobs import AbortOrder, Held, Orders
from rota.core.times import SECOND
from rota.service import arrays
from rota.service.observer import Stopwatch
from rota.store.protocol import Begins, RunningRow, Tx, WorkerRow

TIMEOUT_SLACK = SECOND // 2  # a worker ends what is overdue by itself; the service reminds it after this
_MOST_S = 0.25  # a heartbeat waits for others
_EACH_S = 1 / 800  # of it for each worker that there is
_SHARE = 60  # of a lease is the most that it waits

Call = tuple[str, list[Held]]


class Heartbeats:
    """Renews leases. `lease_s` is how long those of workers last that did not ask for another length.

    `together`: others use the store too.
    """

    def __init__(self, stopwatch: Stopwatch, *, together: bool, lease_s: float) -> None:
        self._stopwatch = stopwatch
        self._together = together
        self._lease_s = lease_s
        self._waiting: dict[str, tuple[list[Held], asyncio.Future[Orders]]] = {}
        self._next_at = 0.0  # by the loop's clock
        self._departures: set[asyncio.Task[None]] = set()

    async def beat(self, worker: str, held: list[Held], *, workers: int) -> Orders:
        """Renew what a worker names, and answer what it must hear. `workers` is about how many there are. Raises NotFound."""
        if not self._together:
            (answer,) = await self._write([(worker, held)])
            if isinstance(answer, NotFound):
                raise answer
            return answer
        while (before := self._waiting.get(worker)) is not None and not before[1].done():
            await asyncio.wait([before[1]])  # its own: they go one after the other
        answered: asyncio.Future[Orders] = asyncio.get_running_loop().create_future()
        first = not self._waiting
        self._waiting[worker] = held, answered  # in place of one whose caller has gone
        if first:
            departure = asyncio.create_task(self._depart(min(_MOST_S, workers * _EACH_S, self._lease_s / _SHARE)))
            self._departures.add(departure)
            departure.add_done_callback(self._departures.discard)
        return await answered

    async def _depart(self, pause_s: float) -> None:
        """Take all that have come, a pause after those that went before."""
        loop = asyncio.get_running_loop()
        if (wait_s := self._next_at - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        self._next_at = loop.time() + pause_s
        calls, self._waiting = self._waiting, {}
        try:
            answers = await self._write([(worker, held) for worker, (held, _) in calls.items()])
        except Exception as error:
            for _, answered in calls.values():
                if not answered.done():  # whoever waited for it may have gone
                    answered.set_exception(error)
            return
        for (_, answered), answer in zip(calls.values(), answers, strict=True):
            if answered.done():
                continue
            if isinstance(answer, NotFound):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)

    async def _write(self, calls: Sequence[Call]) -> list[Orders | NotFound]:
        """Do heartbeats of different workers in one transaction."""

        async def write(tx: Tx) -> list[Orders | NotFound]:
            rows = await tx.lock_workers([worker for worker, _ in calls])
            there = {worker: row for worker, row in rows.items() if row.gone_at is None}
            running = await tx.held_by(list(there))
            ends: list[tuple[RunningRow, int | None]] = []
            for worker, held in calls:
                if worker in there:
                    ends += _ends(there[worker], running[worker], {(h.job, h.attempt) for h in held})
            await tx.unname_leases([(r.job, r.attempt, until) for r, until in ends if not r.shard])
            await tx.unname_shards([(r.job, r.attempt, until) for r, until in ends if r.shard])
            await tx.renew_workers([(worker, tx.now + self._lease_of(row)) for worker, row in there.items()])
            return [_answer(worker, held, rows.get(worker), running.get(worker, []), tx.now) for worker, held in calls]

        return await self._stopwatch.write("heartbeat", Begins(write, workers=(worker for worker, _ in calls)))

    def _lease_of(self, row: WorkerRow) -> int:
        """Return how long a worker's leases last."""
        return round((self._lease_s if row.hello.lease is None else row.hello.lease) * SECOND)


def _ends(
    row: WorkerRow, running: Sequence[RunningRow], named: set[tuple[str, int]]
) -> list[tuple[RunningRow, int | None]]:
    """Return the leases that get an end of their own, for they were not named, or lose it."""
    ends: list[tuple[RunningRow, int | None]] = []
    for lease in running:
        if (lease.job, lease.attempt) in named:
            if lease.lease_until is not None:
                ends.append((lease, None))
        elif lease.lease_until is None:
            ends.append((lease, row.lease_until))
    return ends


def _answer(
    worker: str, held: Sequence[Held], row: WorkerRow | None, running: Sequence[RunningRow], now: int
) -> Orders | NotFound:
    try:
        drain = present(row, worker).draining
    except NotFound as unknown:
        return unknown
    lost = {(h.job, h.attempt) for h in held} - {(lease.job, lease.attempt) for lease in running}
    return Orders(
        abort=to_abort(running, now),
        halt=to_halt(running),
        lost=[Held(job=job, attempt=attempt) for job, attempt in sorted(lost)],
        drain=drain,
    )


def present(row: WorkerRow | None, worker: str) -> WorkerRow:
    """Return the row of a worker that is there. Raises NotFound."""
    if row is None or row.gone_at is not None:
        why = f" any more ({row.gone_why})" if row else ""
        raise NotFound(f"there is no worker {worker!r}{why}; register again")
    return row


def to_halt(running: Sequence[RunningRow]) -> list[Held]:
    """Return the shards that are to end with the input that runs."""
    return [
        Held(job=r.job, attempt=r.attempt)
        for r in running
        if r.halted is not None and not arrays.halts_now(r.halt) and r.abort_requested_at is None
    ]


def to_abort(running: Sequence[RunningRow], now: int) -> list[AbortOrder]:
    """Return what is to be aborted, and what is overdue."""
    orders = []
    for r in running:
        if r.abort_requested_at is not None or (r.halted is not None and arrays.halts_now(r.halt)):
            orders.append(AbortOrder(job=r.job, attempt=r.attempt, grace_s=r.grace_s))
        elif r.deadline_at is not None and r.deadline_at + TIMEOUT_SLACK <= now:
            orders.append(AbortOrder(job=r.job, attempt=r.attempt, grace_s=r.grace_s, why="timed_out"))
    return orders
