"""Rows of turns on PostgreSQL, where several servers claim, submit and tidy up at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import asyncpg

from rota.core.fairness import TurnName
from rota.core.jobs import Free, HandlerSpec, Lease, Report, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore
from tests import postgres

from .postgres_race import NoHooks


class Server:
    """A server with a worker of its own."""

    def __init__(self, url: str, seed: int) -> None:
        self.store = PostgresStore(url)
        self.service = Service(self.store, sender=NoHooks(), rng=random.Random(seed), lease_s=600)
        self.worker = ""

    async def open(self) -> None:
        await self.store.open()
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h"), HandlerSpec(name="i")], slots=1000)
        self.worker = (await self.service.work.register(hello)).worker

    async def start(self, n: int) -> list[Lease]:
        leases = await self.service.work.claim(self.worker, Free(process=n, asynchronous=0, total=n))
        ended = [Report(job=each.job, attempt=each.attempt, outcome=Outcome.SUCCEEDED) for each in leases]
        await self.service.work.settle(self.worker, ended)
        return leases


def with_servers(n: int, story: Callable[[list[Server], str], Awaitable[None]]) -> None:
    async def main() -> None:
        url = postgres.cluster().new_database()
        servers = [Server(url, seed) for seed in range(n)]
        try:
            for server in servers:
                await server.open()
            await story(servers, url)
        finally:
            for server in servers:
                await server.store.close()

    asyncio.run(main())


def test_two_servers_that_claim_at_once_starve_nobody_and_keep_to_the_shares() -> None:
    async def story(servers: list[Server], _: str) -> None:
        one = servers[0].service
        for owner, n in (("ana", 900), ("bo", 600)):
            await one.jobs.submit_many([Submission(handler="h", owner=owner) for _ in range(n)])
        served: Counter[str] = Counter()
        while served.total() < 600:
            got = await asyncio.gather(*(server.start(10) for server in servers for _ in range(2)))
            served.update(lease.owner for leases in got for lease in leases)
        assert abs(served["ana"] - served["bo"]) <= served.total() / 10
        await one.jobs.submit_many([Submission(handler="h", owner="cleo")])
        got = await asyncio.gather(*(server.start(2) for server in servers))
        assert "cleo" in {lease.owner for leases in got for lease in leases}

    with_servers(2, story)


def test_no_job_is_hidden_while_rows_are_made_ready_emptied_and_removed_at_once() -> None:
    async def story(servers: list[Server], url: str) -> None:
        names = [f"o{n}" for n in range(6)]
        rng = random.Random(5)
        submitted, started = 0, 0

        async def submit(server: Server) -> None:
            nonlocal submitted
            for _ in range(60):
                entry = Submission(handler=rng.choice("hi"), owner=rng.choice(names), priority=rng.choice((0, 0, 1)))
                await server.service.jobs.submit(entry)
                submitted += 1

        async def claim(server: Server, room: int) -> None:
            nonlocal started
            while submitting:
                leases = await server.start(room)
                started += len(leases)

        async def tidy(server: Server) -> None:
            rows = [TurnName("default", p, o, lane) for p in (0, 1) for o in names for lane in "hi"]
            while submitting:
                await server.store.write(lambda tx: tx.empty_turns(rows))
                await server.store.write(lambda tx: tx.forget_turns(1 << 60, 100))

        submitting = True
        others = [claim(server, room) for server in servers for room in (1, 5)] + [tidy(server) for server in servers]
        running = [asyncio.create_task(other) for other in others]
        try:
            await asyncio.gather(*(submit(server) for server in servers for _ in range(3)))
        finally:
            submitting = False
            await asyncio.gather(*running)
        for server in servers:
            found, after = await server.store.read(lambda tx: tx.missing_turns(TurnName("", 0, "", ""), 1000))
            assert (found, after) == ([], None)
        while leases := await servers[0].start(100):
            started += len(leases)
        assert started == submitted == 360
        con = await asyncpg.connect(url)
        assert await con.fetchval("SELECT count(*) FROM rota_jobs WHERE state <> $1", State.SUCCEEDED.value) == 0
        await con.close()

    with_servers(2, story)


def test_a_charge_whose_row_somebody_holds_is_not_waited_for_and_comes_with_the_next_claim() -> None:
    async def story(servers: list[Server], url: str) -> None:
        server = servers[0]
        await server.service.jobs.submit_many([Submission(handler="h", owner="ana") for _ in range(9)])
        con = await asyncpg.connect(url)
        try:
            async with con.transaction():
                await con.execute("SELECT * FROM rota_turns FOR NO KEY UPDATE")
                assert len(await server.start(4)) == 4
                await server.service.jobs.submit(Submission(handler="h", owner="ana"))  # does not wait either
            assert await con.fetchval("SELECT turn FROM rota_turns") == 0
            assert len(await server.start(2)) == 2
            assert await con.fetchval("SELECT turn FROM rota_turns") == 6_000_000
        finally:
            await con.close()

    with_servers(1, story)
