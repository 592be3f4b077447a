"""Several servers on one database, all at work at once, and what must be true when they are done."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from itertools import pairwise
from typing import Any

from rota.core.errors import Conflict
from rota.core.jobs import Event, Free, HandlerSpec, Held, InputReport, Job, Lease, Report, Submission, WorkerHello
from rota.core.retry import Backoff
from rota.core.states import FINAL, TRANSITIONS, Outcome, State
from rota.service.jobs import Edit
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Query

HANDLERS = [HandlerSpec(name=name, retries=3) for name in ("a", "b", "c")]
QUEUE = "race"
OUTCOMES = [Outcome.SUCCEEDED] * 8 + [Outcome.ERRORED, Outcome.INTERRUPTED, Outcome.LOST]


class NoHooks:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        raise AssertionError("no job here has a hook")


class Race:
    """`servers` services, each with a store, workers, people and upkeep of its own, over the database at `url`."""

    def __init__(self, url: str, *, servers: int = 2, workers: int = 3, jobs: int = 300, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.jobs_each = jobs // servers
        self.workers = workers
        self.stores = [PostgresStore(url, connections=6) for _ in range(servers)]
        self.services: list[Service] = []
        self.claimed: Counter[tuple[str, int]] = Counter()
        self.submitted: list[str] = []
        self.seen: list[list[Event]] = [[] for _ in range(servers)]
        self.feeding = True

    async def run(self, *, check: bool = True) -> None:
        for store in self.stores:
            await store.open()
        self.services = [Service(store, sender=NoHooks(), lease_s=60.0) for store in self.stores]
        try:
            readers = [asyncio.create_task(self._read(n)) for n in range(len(self.stores))]
            async with asyncio.TaskGroup() as group:
                for service in self.services:
                    for work in (self._people(service), self._upkeep(service), *self._all_workers(service)):
                        group.create_task(work)
            self.feeding = False
            await asyncio.gather(*readers)
            if check:
                await self._check()
        finally:
            for store in self.stores:
                await store.close()

    # -- what goes on

    async def _people(self, service: Service) -> None:
        for n in range(self.jobs_each):
            rng = self.rng
            after = rng.sample(self.submitted[-20:], min(len(self.submitted), rng.choice((0, 0, 1, 3))))
            inputs: dict[str, Any] = {"inputs": b"[1,2,3,4,5,6,7,8,9]"} if n % 15 == 0 else {}
            delay = rng.choice((None, None, None, 0.05))
            job = await service.jobs.submit(
                Submission(
                    handler=rng.choice("abc"), queue=QUEUE, priority=rng.choice((0, 0, 1)), after=after, delay=delay,
                    backoff=Backoff(base=0.01),
                    **{name: _raw(value) for name, value in inputs.items()},
                ),
                key=f"key {rng.randrange(10**9)}",
            )  # fmt: skip
            self.submitted.append(job.id)
            if rng.random() < 0.15:
                await _unless_late(service.jobs.abort(rng.choice(self.submitted)))
            if rng.random() < 0.1:
                await _unless_late(service.jobs.edit(rng.choice(self.submitted), Edit(priority=rng.choice((0, 2)))))

    async def _upkeep(self, service: Service) -> None:
        while not await self._is_over(service):
            upkeep = service.upkeep
            for step in (upkeep.count_told, upkeep.promote, upkeep.rescue, upkeep.end_overdue):
                await step()
            await asyncio.sleep(0.01)

    def _all_workers(self, service: Service) -> list[Coroutine[Any, Any, None]]:
        return [self._worker(service) for _ in range(self.workers)]

    async def _worker(self, service: Service) -> None:
        hello = WorkerHello(name="w", handlers=HANDLERS, slots=20, arrays=True, queues=[QUEUE])
        worker = (await service.work.register(hello)).worker
        held: list[Lease] = []
        while not await self._is_over(service):
            other = self.rng.choice(self.services)  # any server serves any worker
            leases = await other.work.claim(worker, Free(process=10, asynchronous=0, total=10))
            self.claimed.update((lease.job, lease.attempt) for lease in leases)
            held += leases
            orders = await other.work.heartbeat(worker, [Held(job=lease.job, attempt=lease.attempt) for lease in held])
            aborted = {(order.job, order.attempt) for order in orders.abort}
            done = [lease for lease in held if (lease.job, lease.attempt) in aborted or self.rng.random() < 0.8]
            await self._end(self.rng.choice(self.services), worker, done, aborted)
            held = [lease for lease in held if lease not in done]

    async def _end(self, service: Service, worker: str, leases: list[Lease], aborted: set[tuple[str, int]]) -> None:
        told = [
            InputReport(job=lease.job, attempt=lease.attempt, index=lease.first + n, outcome=Outcome.SUCCEEDED, duration_s=0.01)
            for lease in leases
            if lease.first is not None and (lease.job, lease.attempt) not in aborted
            for n in range(len(lease.inputs or ()))
        ]  # fmt: skip
        await service.work.tell(worker, [], [], [], told)
        reports = []
        for lease in leases:
            stopped = (lease.job, lease.attempt) in aborted
            outcome = Outcome.ABORTED if stopped else self.rng.choice(OUTCOMES)
            if lease.first is not None and not stopped:
                outcome = Outcome.SUCCEEDED
            reports.append(Report(job=lease.job, attempt=lease.attempt, outcome=outcome))
        if reports:
            await service.work.settle(worker, reports)

    async def _read(self, n: int) -> None:
        """Follow the events as a stream does."""
        last = False
        while True:
            seq = self.seen[n][-1].seq if self.seen[n] else 0
            page = await self.stores[n].read(lambda tx, seq=seq: tx.events_after(seq, 50))
            self.seen[n] += page
            if last and not page:
                return
            last = not self.feeding

    async def _is_over(self, service: Service) -> bool:
        if len(self.submitted) < self.jobs_each * len(self.stores):
            return False
        counts = await service.store.read(lambda tx: tx.counts())
        return all(row.state in FINAL for row in counts if row.queue == QUEUE)

    # -- what must be true

    async def _check(self) -> None:
        jobs = await self._every_job()
        assert set(jobs) == set(self.submitted)
        assert all(job.state in FINAL for job in jobs.values())
        assert all(n == 1 for n in self.claimed.values()), "a job was leased twice in one attempt"
        counts = Counter({(c.queue, c.lane, c.state): c.n for c in await self.stores[0].read(lambda tx: tx.counts())})
        assert counts == Counter((job.queue, job.lane, job.state) for job in jobs.values())
        for job in jobs.values():
            for after in job.after:
                assert job.attempt == 0 or jobs[after].state is State.SUCCEEDED, "a dependent ran too early"
            if job.array is not None and job.state is State.SUCCEEDED:
                assert (job.array.done, job.array.live) == (job.array.inputs, 0)
            events = await self.stores[0].read(lambda tx, id_=job.id: tx.events_of(id_, 0, 1000))
            states = [event.state for event in events]
            assert states[-1] is job.state
            assert all(a is b or b in TRANSITIONS[a] for a, b in pairwise(states)), states
        for seen in self.seen:
            seqs = [event.seq for event in seen]
            assert seqs == sorted(set(seqs)), "a stream goes forward"
            missed = [event.seq for event in await self._every_event() if event.seq not in set(seqs)]
            assert missed == [], f"a stream that went to {seqs[-1]} missed something"

    async def _every_job(self) -> dict[str, Job]:
        found, cursor = {}, None
        while True:
            page, cursor = await self.stores[0].read(lambda tx, cursor=cursor: tx.find_jobs(Query(cursor=cursor)))
            found |= {job.id: job for job in page}
            if cursor is None:
                return found

    async def _every_event(self) -> list[Event]:
        return await self.stores[0].read(lambda tx: tx.events_after(0, 1_000_000))


def _raw(value: bytes) -> Any:
    from msgspec import Raw

    return Raw(value)


async def _unless_late(change: Coroutine[Any, Any, Any]) -> None:
    with suppress(Conflict):
        await change
