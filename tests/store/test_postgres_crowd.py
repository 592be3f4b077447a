"""Many workers on one PostgreSQL: their heartbeats share transactions, and those that wait leave the database alone."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rota.core.errors import NotFound
from rota.core.jobs import Free, HandlerSpec, Held, Orders, Submission, WorkerHello
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore
from tests import postgres

from .postgres_race import NoHooks

HELLO = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=5)
FREE = Free(process=5, asynchronous=0, total=5)


class Counting(PostgresStore):
    """Counts transactions."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: Counter[str] = Counter()

    async def write(self, function: Callable[[Any], Awaitable[Any]]) -> Any:
        self.asked["write"] += 1
        return await super().write(function)

    async def read(self, function: Callable[[Any], Awaitable[Any]]) -> Any:
        self.asked["read"] += 1
        return await super().read(function)


def run(main: Callable[[Counting, Service], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = Counting(postgres.cluster().new_store())
        await store.open()
        try:
            await main(store, Service(store, sender=NoHooks(), rng=random.Random(1)))
        finally:
            await store.close()

    asyncio.run(whole())


def test_heartbeats_that_come_together_go_together_and_each_is_answered_for_itself() -> None:
    async def main(store: Counting, service: Service) -> None:
        work = service.work
        workers = [(await work.register(HELLO)).worker for _ in range(40)]
        job = await service.jobs.submit(Submission(handler="h"))
        (lease,) = await work.claim(workers[0], FREE)
        await work.drain(workers[1])
        await work.leave(workers[2])
        before = {row.id: row for row in await store.read(lambda tx: tx.list_workers())}
        store.asked.clear()
        mine, unknown = Held(job=job.id, attempt=1), Held(job="nobody's", attempt=1)
        held = {workers[0]: [mine], workers[3]: [unknown]}
        answers = await asyncio.gather(
            *(work.heartbeat(worker, held.get(worker, [])) for worker in workers), return_exceptions=True
        )
        assert store.asked["write"] <= 3
        assert answers[0] == answers[4] == Orders()
        assert answers[1] == Orders(drain=True)
        assert isinstance(answers[2], NotFound)
        assert answers[3] == Orders(lost=[unknown])
        after = {row.id: row for row in await store.read(lambda tx: tx.list_workers())}
        renewed = {worker for worker in workers if after[worker].lease_until > before[worker].lease_until}
        assert renewed == set(workers) - {workers[2]}
        await asyncio.gather(work.heartbeat(workers[0], []), work.heartbeat(workers[0], [mine]))
        (running,) = await store.read(lambda tx: tx.running_of(workers[0]))
        assert (running.job, running.lease_until) == (lease.job, None), "in the order in which they came"

    run(main)


def test_a_heartbeat_whose_caller_has_gone_holds_up_no_other() -> None:
    async def main(store: Counting, service: Service) -> None:
        work = service.work
        one, other = [(await work.register(HELLO)).worker for _ in range(2)]
        gone = asyncio.create_task(work.heartbeat(one, []))
        await asyncio.sleep(0)
        gone.cancel()
        async with asyncio.timeout(30):
            assert await asyncio.gather(work.heartbeat(one, []), work.heartbeat(other, [])) == [Orders(), Orders()]

    run(main)


def test_a_store_that_is_away_is_told_to_all_who_wait_for_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(store: Counting, service: Service) -> None:
        workers = [(await service.work.register(HELLO)).worker for _ in range(5)]

        async def away(_function: object) -> None:
            raise OSError("away")

        monkeypatch.setattr(store, "write", away)
        answers = await asyncio.gather(*(service.work.heartbeat(w, []) for w in workers), return_exceptions=True)
        assert all(isinstance(answer, OSError) for answer in answers)
        monkeypatch.undo()
        assert await service.work.heartbeat(workers[0], []) == Orders()

    run(main)


def test_who_waits_looks_again_only_when_something_was_heard_of() -> None:
    async def main(store: Counting, service: Service) -> None:
        work = service.work
        worker = (await work.register(HELLO)).worker
        for _ in range(3):
            assert await work.claim(worker, FREE, 0.01) == []
            assert await work.watch(worker, 0.01) == Orders()
        assert store.asked == {"write": 2, "read": 1}, "one registration, one look each"
        assert await work.claim(worker, FREE) == [], "who does not wait always looks"
        assert store.asked["write"] == 3
        job = await service.jobs.submit(Submission(handler="h"))
        (lease,) = await work.claim(worker, FREE, 30)
        assert lease.job == job.id
        await service.jobs.abort(job.id)
        orders = await work.watch(worker, 30)
        assert [order.job for order in orders.abort] == [job.id]

    run(main)
