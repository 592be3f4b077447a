"""pgqueuer: the fastest of the Python peers, in batches of 100; it deletes what is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peers.work import PAYLOAD, broker, hold_async, run, tick

_queries: list[Queries] = []


async def main() -> PgQueuer:
    """Make a worker's application, as its command wants it."""
    queuer = PgQueuer(AsyncpgDriver(await asyncpg.connect(broker())))

    @queuer.entrypoint("noop")
    async def noop(job: Job) -> None:
        assert job.payload is not None
        tick(job.payload.decode())

    @queuer.entrypoint("hold")
    async def hold(job: Job) -> None:
        with queuer.qm.get_context(job.id).cancellation:
            await hold_async()

    return queuer


def prepare() -> None:
    async def install() -> None:
        connection = await asyncpg.connect(broker())
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    asyncio.run(install())


def holding() -> int:
    async def submit() -> int:
        if not _queries:
            _queries.append(Queries(AsyncpgDriver(await asyncpg.connect(broker()))))
        (id_,) = await _queries[0].enqueue("hold", b"")
        return int(id_)

    return run(submit())


def abort(job: int) -> None:
    run(_queries[0].mark_job_as_cancelled([job]))


def submit(count: int, before: Callable[[], str] = lambda: PAYLOAD, together: int = 1) -> None:
    async def submit() -> None:
        connection = await asyncpg.connect(broker())
        queries = Queries(AsyncpgDriver(connection))
        for start in range(0, count, together):
            payload = before().encode()
            n = min(together, count - start)
            if n == 1:
                await queries.enqueue("noop", payload)
            else:
                await queries.enqueue(["noop"] * n, [payload] * n, [0] * n)
        await connection.close()

    asyncio.run(submit())


def bulk(count: int) -> None:
    submit(count, together=1_000)


async def _work() -> None:
    await (await main()).run(batch_size=100)


if __name__ == "__main__":  # its own command sets up a log that its own requirements have outgrown
    import uvloop

    uvloop.run(_work())
