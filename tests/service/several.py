"""Several servers on one PostgreSQL, and workers that race on them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from rota.core.jobs import Free, HandlerSpec, Job, Report, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Query
from tests import postgres
from tests.service.test_hooks import Receiver, status


@asynccontextmanager
async def several(n: int = 3) -> AsyncIterator[list[Service]]:
    """Give servers, on a store of their own."""
    cluster = postgres.cluster()
    url = cluster.take_store()
    stores = [PostgresStore(url, connections=6) for _ in range(n)]
    for store in stores:
        await store.open()
    try:
        yield [Service(store, sender=Receiver(lambda _: status(204))) for store in stores]
    finally:
        for store in stores:
            await store.close()
    await cluster.give_store(url)


async def race(
    services: Sequence[Service], submissions: Sequence[Submission], slots: int, see: Callable[[Sequence[Job]], None]
) -> None:
    """Have six workers take the jobs and end them, until none is left; now and then one is lost. `see` hears what runs then."""
    await services[0].jobs.submit_many(submissions)
    hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=slots)
    free = Free(process=slots, asynchronous=0, total=slots)

    async def work(service: Service, rng: random.Random) -> None:
        worker = (await service.work.register(hello)).worker
        while True:
            leases = await service.work.claim(worker, free)
            see((await service.jobs.find(Query(states=[State.RUNNING], limit=100)))[0])
            if leases and rng.random() < 0.1:
                await service.work.release(worker, Outcome.LOST, "killed", at_once=True)
                worker = (await service.work.register(hello)).worker
                continue
            reports = [Report(job=x.job, attempt=x.attempt, outcome=Outcome.SUCCEEDED) for x in leases]
            if reports:
                await service.work.settle(worker, reports)
            elif not (await service.jobs.find(Query(states=[State.QUEUED, State.SCHEDULED, State.RUNNING])))[0]:
                return
            await service.upkeep.round()

    await asyncio.gather(*(work(services[n % len(services)], random.Random(n)) for n in range(6)))
