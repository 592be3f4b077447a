"""pgqueuer: the fastest of the Python peers, in batches of 100; it deletes what is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peers.work import PAYLOAD, broker, tick

_PAYLOAD = PAYLOAD.encode()


async def main() -> PgQueuer:
    """Make a worker's application, as its command wants it."""
    queuer = PgQueuer(AsyncpgDriver(await asyncpg.connect(broker())))

    @queuer.entrypoint("noop")
    async def noop(_job: Job) -> None:
        tick()

    return queuer


def prepare() -> None:
    async def install() -> None:
        connection = await asyncpg.connect(broker())
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    asyncio.run(install())


def submit(count: int, before: Callable[[], None] = lambda: None, together: int = 1) -> None:
    async def submit() -> None:
        connection = await asyncpg.connect(broker())
        queries = Queries(AsyncpgDriver(connection))
        for start in range(0, count, together):
            before()
            n = min(together, count - start)
            if n == 1:
                await queries.enqueue("noop", _PAYLOAD)
            else:
                await queries.enqueue(["noop"] * n, [_PAYLOAD] * n, [0] * n)
        await connection.close()

    asyncio.run(submit())


def bulk(count: int) -> None:
    submit(count, together=1_000)


async def _work() -> None:
    await (await main()).run(batch_size=100)


if __name__ == "__main__":  # its own command sets up a log that its own requirements have outgrown
    import uvloop

    uvloop.run(_work())
