"""A service over a real store with a clock that the test sets, and two ways to its work queue."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rota.client.work_queue import HttpWorkQueue
from rota.core.jobs import Free, HandlerSpec, Held, Job, Lease, Report, Submission, WorkerHello
from rota.core.states import Outcome
from rota.http.app import create_app
from rota.http.server import HttpServer
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Store
from rota.worker.queue import WorkQueue
from tests import postgres
from tests.embedded import store_at

SECOND = 1_000_000
START = 1_750_000_000 * SECOND
LEASE_S = 15.0
SPECS = [HandlerSpec(name="h"), HandlerSpec(name="again", retries=5), HandlerSpec(name="a", mode="async", timeout=3.0)]


class NoHooks:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        return 204


class Cluster:
    """`way` is `direct`, `http`, or `postgres`: direct, on that store. Upkeep goes round only when the test says so."""

    def __init__(self, folder: Path, way: str) -> None:
        self._folder = folder
        self._way = way
        self._url: str | None = None
        self.now = 0.0  # seconds since the start: the store's clock and the monotonic one
        self.ahead = 0.0  # how far the store's clock was set forward

    async def __aenter__(self) -> Cluster:
        self.store = self._new_store(lambda: START + round((self.now + self.ahead) * SECOND))
        await self.store.open()
        self.service = Service(
            self.store, sender=NoHooks(), lease_s=LEASE_S, rng=random.Random(1), monotonic=lambda: self.now
        )  # fmt: skip
        await self.service.upkeep.round()  # a start holds rescue back by one lease; tests begin after that
        self.now = LEASE_S
        self.queue: WorkQueue = self.service.work
        self._http: tuple[HttpServer, HttpWorkQueue] | None = None
        if self._way == "http":
            server = HttpServer(self.service, create_app(self.service), port=0)
            await server.start()
            client = HttpWorkQueue(server.url)
            self._http, self.queue = (server, client), client
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http[1].aclose()
            await self._http[0].stop()
        await self.service.stop()
        await self.store.close()
        if self._url is not None:
            await postgres.cluster().give_store(self._url)

    def _new_store(self, clock: Callable[[], int]) -> Store:
        if self._way == "postgres":
            self._url = postgres.cluster().take_store()
            return PostgresStore(self._url, clock=clock)
        return store_at(self._folder / "rota.db", clock=clock, inline=True)

    async def submit(self, handler: str | None = "h", **fields: Any) -> str:
        return (await self.service.jobs.submit(Submission(handler=handler, **fields))).id

    async def job(self, job: str) -> Job:
        return await self.service.jobs.get(job)

    async def register(self, name: str = "w", **fields: Any) -> str:
        fields = {"handlers": SPECS, "slots": 4, "async_slots": 4, "scripts": True, "arrays": True, **fields}
        return (await self.queue.register(WorkerHello(name=name, **fields))).worker

    async def claim(
        self, worker: str, process: int = 9, asynchronous: int = 9, total: int = 9, wait_s: float = 0.0
    ) -> list[Lease]:
        return await self.queue.claim(worker, Free(process=process, asynchronous=asynchronous, total=total), wait_s)

    async def one(self, worker: str) -> Lease:
        (lease,) = await self.claim(worker, total=1)
        return lease

    async def upkeep(self, seconds: float = 0.0) -> None:
        """Let time pass, then let every step that is due be taken."""
        while seconds > 0:  # in steps, as a server would see it
            self.now += min(seconds, 1.0)
            seconds -= 1.0
            await self.service.upkeep.round()
        for _ in range(3):
            await self.service.upkeep.round()

    async def pass_with(self, seconds: float, **held: list[Held]) -> None:
        """Let time pass while these workers send heartbeats that name these attempts."""
        for _ in range(round(seconds)):
            for worker, names in held.items():
                await self.queue.heartbeat(worker, names)
            await self.upkeep(1.0)


def held(*leases: Lease) -> list[Held]:
    return [Held(job=lease.job, attempt=lease.attempt) for lease in leases]


def report(lease: Lease, outcome: Outcome = Outcome.SUCCEEDED, **fields: Any) -> Report:
    return Report(job=lease.job, attempt=lease.attempt, outcome=outcome, **fields)


def run(test: Any, folder: Path, way: str) -> None:
    async def main() -> None:
        async with Cluster(folder, way) as cluster:
            async with asyncio.timeout(100):  # the machine may be busy
                await test(cluster)

    asyncio.run(main())
