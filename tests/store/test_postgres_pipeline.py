"""Statements that travel together: how often a lone job waits for PostgreSQL, and what becomes of an error among them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from rota.core.fairness import TurnName
from rota.core.jobs import Attempt, Free, HandlerSpec, Held, Report, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore
from rota.store.postgres.tx import PostgresTx
from rota.store.protocol import NewEvent, Take, Tx
from tests import postgres

from .postgres_race import NoHooks

HELLO = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=5)
FREE = Free(process=5, asynchronous=0, total=5)
TRIED = Attempt(attempt=1, worker="w", started_at=1, finished_at=2, outcome=Outcome.SUCCEEDED)
# So often at most: a claim first locks its worker, then looks whose turn it is, takes, and charges.
WAITS = {"submit": 2, "claim": 5, "settle": 4, "heartbeat": 4}


def run(main: Callable[[PostgresStore], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = PostgresStore(postgres.cluster().new_database(), connections=1)
        await store.open()
        try:
            await main(store)
        finally:
            await store.close()

    asyncio.run(whole())


def connection(store: PostgresStore) -> Any:
    """Return the only connection."""
    assert store._connections is not None
    return next(iter(store._connections._all))


def test_a_lone_job_waits_for_few_answers() -> None:
    async def main(store: PostgresStore) -> None:
        service = Service(store, sender=NoHooks(), rng=random.Random(1))
        worker = (await service.work.register(HELLO)).worker
        waits: dict[str, int] = {}

        async def counted(what: str, work: Awaitable[Any]) -> Any:
            before = connection(store)._protocol.queries_count
            done = await work
            waits[what] = connection(store)._protocol.queries_count - before
            return done

        for n in range(2):  # the first time everything is prepared
            job = await counted("submit", service.jobs.submit(Submission(handler="h"), key=f"k{n}"))
            (lease,) = await counted("claim", service.work.claim(worker, FREE))
            await counted("heartbeat", service.work.heartbeat(worker, [Held(job=job.id, attempt=1)]))
            report = Report(job=lease.job, attempt=1, outcome=Outcome.SUCCEEDED)
            (settled,) = await counted("settle", service.work.settle(worker, [report]))
            assert settled.accepted
        assert waits == {what: min(n, WAITS[what]) for what, n in waits.items()}

    run(main)


def event(job: str) -> NewEvent:
    return NewEvent(job, "o", "submitted", State.QUEUED)


@pytest.mark.parametrize("looks", [False, True], ids=["at the commit", "at the next statement"])
def test_an_error_of_what_went_along_is_told_and_nothing_is_kept(looks: bool) -> None:
    async def main(store: PostgresStore) -> None:
        used = connection(store)

        async def twice(tx: Tx) -> None:
            await tx.append_events([event("a")])
            for _ in range(2):
                await tx.insert_attempts([("a", TRIED)])
            if looks:
                await tx.get_job("a")

        with pytest.raises(asyncpg.UniqueViolationError):
            await store.write(twice)
        assert await store.read(lambda tx: tx.last_event()) == 0
        await store.write(lambda tx: tx.append_events([event("b")]))
        assert [e.job for e in await store.read(lambda tx: tx.events_after(0, 9))] == ["b"]
        assert connection(store) is used  # as good as before

    run(main)


def test_a_value_of_every_kind_arrives_as_it_was() -> None:
    text = "a'b\"c\\d{e},f\ng\u20ac \U0001f4a5"

    async def main(store: PostgresStore) -> None:
        async def write(tx: Tx) -> None:
            await tx.put_answer("k", text, bytes(range(256)))
            await tx.insert_deliveries([("d", "j", "http://x", text)])

        await store.write(write)
        assert await store.read(lambda tx: tx.get_answer("k")) == (text, bytes(range(256)))
        (row,) = await store.read(lambda tx: tx.deliveries_of("j"))
        assert (row.body, row.next_at is None) == (text, False)

    run(main)


def test_numbers_of_events_are_good_until_another_job_may_be_held() -> None:
    """Else its events would be in another order than what became of it."""

    async def main(store: PostgresStore) -> None:
        service = Service(store, sender=NoHooks(), rng=random.Random(1))
        worker = (await service.work.register(HELLO)).worker
        first, second = [await service.jobs.submit(Submission(handler="h")) for _ in range(2)]

        async def claim(tx: Tx) -> None:
            assert isinstance(tx, PostgresTx)
            await tx.claim_jobs(worker, [Take(TurnName("default", 0, "default", "h"), 1, None)])
            assert tx.number is not None
            await tx.lock_jobs([second.id])
            assert tx.number is None
            await tx.append_events([NewEvent(first.id, "o", "started", State.RUNNING)])

        await store.write(claim)
        events = await store.read(lambda tx: tx.events_of(first.id, 0, 10))
        assert [each.kind for each in events] == ["submitted", "started"]

    run(main)


LARGE = "x" * 100_000


def test_a_large_statement_is_not_waited_for_and_fails_in_the_place_of_the_next() -> None:
    async def main(store: PostgresStore) -> None:
        async def wrong(tx: Tx) -> None:
            await tx.put_answer("k", "print", LARGE.encode())
            assert tx._sent is not None
            await tx.put_answer("k", "print", LARGE.encode())  # the first is waited for before the second is sent
            await tx.append_events([event("a")])

        with pytest.raises(asyncpg.UniqueViolationError):
            await store.write(wrong)

        async def left(tx: Tx) -> None:
            await tx.put_answer("k", "print", LARGE.encode())
            raise KeyError("its function has failed meanwhile")

        with pytest.raises(KeyError):
            await store.write(left)
        assert await store.read(lambda tx: tx.get_answer("k")) is None

        async def right(tx: Tx) -> None:
            await tx.put_answer("k", "print", LARGE.encode())

        await store.write(right)
        assert await store.read(lambda tx: tx.get_answer("k")) == ("print", LARGE.encode())

    run(main)
