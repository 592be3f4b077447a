"""A bulk is admitted in slices, and is all or none all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rota.core.access import LOCAL
from rota.core.errors import Invalid, QuotaFull
from rota.core.jobs import Submission
from rota.service.owners import OwnerEdit
from rota.service.service import Service
from rota.store.protocol import Query
from tests.conformance.store.bench import KINDS, START

MANY = 1200


@pytest.fixture(params=["sqlite-inline", "postgres"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Callable[[Service], Awaitable[None]]], None]:
    """Run a test with a service on each kind of store."""

    def run_it(test: Callable[[Service], Awaitable[None]]) -> None:
        async def main() -> None:
            kind = KINDS[request.param](tmp_path)
            store = kind.make(lambda: START)
            await store.open()
            try:
                await test(Service(store, sender=None))
            finally:
                await store.close()
                await kind.end()

        asyncio.run(main())

    return run_it


def many(**fields: str) -> list[Submission]:
    return [Submission(handler="h", **fields) for _ in range(MANY)]


async def kept(service: Service) -> int:
    return len((await service.store.read(lambda tx: tx.find_jobs(Query(limit=100))))[0])


def test_all_are_there_in_their_order_once_for_a_key(run: Callable[..., None]) -> None:
    async def test(service: Service) -> None:
        jobs = await service.jobs.submit_many(many(), key="k")
        assert len({job.id for job in jobs}) == MANY and [job.id for job in jobs] == sorted(job.id for job in jobs)
        again = await service.jobs.submit_many(many(), key="k")
        assert [job.id for job in again] == [job.id for job in jobs]
        assert sum(row.n for row in await service.store.read(lambda tx: tx.counts())) == MANY
        assert [e.kind for e in await service.store.read(lambda tx: tx.events_of(jobs[-1].id, 0, 9))] == ["submitted"]

    run(test)


def test_a_bad_one_at_the_end_is_named_by_its_place_and_nothing_is_kept(run: Callable[..., None]) -> None:
    async def test(service: Service) -> None:
        for field, value in (("timeout", "x"), ("priority", 5)):
            if field == "priority":
                await service.owners.edit("default", OwnerEdit(max_priority=1), LOCAL)
            bad = [*many(), Submission(handler="h", **{field: value})]  # type: ignore[arg-type]
            with pytest.raises(Invalid) as refused:
                await service.jobs.submit_many(bad)
            assert refused.value.field == f"[{MANY}].{field}"
            assert await kept(service) == 0

    run(test)


def test_a_quota_holds_for_all_of_them(run: Callable[..., None]) -> None:
    async def test(service: Service) -> None:
        await service.owners.edit("default", OwnerEdit(max_waiting=MANY - 1), LOCAL)
        with pytest.raises(QuotaFull):
            await service.jobs.submit_many(many())
        assert await kept(service) == 0
        await service.jobs.submit_many(many()[1:])
        with pytest.raises(QuotaFull):
            await service.jobs.submit(Submission(handler="h"))

    run(test)
