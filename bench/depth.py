"""What a claim and a settlement cost with millions of other jobs in the tables, beside what they cost without."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator

from tests.store.postgres_filled import fill

from bench import cluster
from bench.figures import Row
from bench.scale import Scale
from rota.core.jobs import Free, HandlerSpec, Lease, Report, Submission, WorkerHello
from rota.core.states import Outcome
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore

_OTHERS = 1_000_000  # jobs of each kind: over, delayed, waiting
_BATCH = 250
_ROUNDS = 60
_FREE = Free(process=_BATCH, asynchronous=0, total=_BATCH)


class _Nobody:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:  # noqa: ARG002
        raise AssertionError("no job here has a hook")


def rows(scale: Scale) -> Iterator[Row]:
    """Claim and settle the same batches on a store that is almost empty and on a full one, in turn."""
    if not cluster.found():
        return
    others = scale.jobs(_OTHERS)
    with cluster.new_database() as small, cluster.new_database() as large:
        asyncio.run(fill(large.url, others, rest=False))
        for database in (small, large):
            database.sql("CHECKPOINT")
        without, beside = asyncio.run(_measure(small.url, large.url, rounds=max(scale.jobs(_ROUNDS), 20)))
    yield Row("PostgreSQL: claim and settle, an empty store", [1e6 * without], "µs")
    name = f"PostgreSQL: the same with {others:,} jobs over, as many delayed and waiting"
    yield Row(name, [1e6 * beside], "µs")
    yield Row(
        "PostgreSQL: claim and settle, a full store over an empty one", [beside / without], "times", "≤ 1.3 (issue)"
    )


async def _measure(*urls: str, rounds: int) -> list[float]:
    """Return the median of the seconds that a job took in each store."""
    benches = [_Bench(url) for url in urls]
    taken: list[list[float]] = [[] for _ in benches]
    for bench in benches:
        await bench.open(rounds + 5)
    for bench, times in zip(benches * (rounds + 5), taken * (rounds + 5), strict=True):
        times.append(await bench.round())
    for bench in benches:
        await bench.store.close()
    return [statistics.median(times[5:]) / _BATCH for times in taken]  # what plans are kept is known by then


class _Bench:
    def __init__(self, url: str) -> None:
        self.store = PostgresStore(url)
        self.service = Service(self.store, sender=_Nobody(), lease_s=3600)

    async def open(self, rounds: int) -> None:
        await self.store.open()
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="a")], slots=_BATCH)
        self.worker = (await self.service.work.register(hello)).worker
        for _ in range(rounds):
            await self.service.jobs.submit_many([Submission(handler="a", priority=1) for _ in range(_BATCH)])

    async def round(self) -> float:
        began = time.perf_counter()
        leases = await self.service.work.claim(self.worker, _FREE)
        answers = await self.service.work.settle(self.worker, [_report(lease) for lease in leases])
        took = time.perf_counter() - began
        if len(leases) != _BATCH or not all(answer.accepted for answer in answers):
            raise RuntimeError(f"{len(leases)} jobs were claimed")
        return took


def _report(lease: Lease) -> Report:
    return Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED)
