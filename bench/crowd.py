"""What many idle workers cost the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from bench import cluster
from bench.figures import Row
from bench.scale import Scale
from bench.server import serving
from rota.client.work_queue import HttpWorkQueue
from rota.core.jobs import Free, HandlerSpec, WorkerHello

_WORKERS = 200
_SETTLE_S = 35.0  # all first calls that wait have come back by then
_WATCHED_S = 40.0
_POLL_S = 30.0  # as a worker's
_HELLO = WorkerHello(
    name="idle", handlers=[HandlerSpec(name="h"), HandlerSpec(name="a", mode="async")], slots=2, async_slots=250
)


def rows(scale: Scale) -> Iterator[Row]:
    """Let workers that have nothing to do call as real ones do, and count statements."""
    if not cluster.found():
        return
    settle_s, watched_s = (_SETTLE_S, _WATCHED_S) if scale.share == 1 else (2.0, 5.0)
    with cluster.new_database(counting=True) as database, serving(database.url, workers=0) as server:
        asked = asyncio.run(_watch(server.url, database, settle_s, watched_s))
    yield Row(f"PostgreSQL: statements of {_WORKERS} idle workers, all in all", [asked], "/s", "≤ 100/s (issue)")


async def _watch(url: str, database: cluster.Database, settle_s: float, watched_s: float) -> float:
    queues = [HttpWorkQueue(url) for _ in range(_WORKERS)]
    workers = [asyncio.create_task(_idle(queue, n)) for n, queue in enumerate(queues)]
    try:
        await asyncio.sleep(settle_s)
        asked = await asyncio.to_thread(database.statements, watched_s)
        for worker in workers:
            if worker.done():
                worker.result()  # raises what ended it
        return asked
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for queue in queues:
            await queue.aclose()


async def _idle(queue: HttpWorkQueue, n: int) -> None:
    welcome = await queue.register(_HELLO)
    worker = welcome.worker

    async def beat() -> None:
        await asyncio.sleep(welcome.heartbeat_s * n / _WORKERS)  # workers do not start all at once
        while True:
            await queue.heartbeat(worker, [])
            await asyncio.sleep(welcome.heartbeat_s)

    async def claim(free: Free) -> None:
        while True:
            await queue.claim(worker, free, _POLL_S)

    async def watch() -> None:
        while True:
            await queue.watch(worker, _POLL_S)

    process, asynchronous = Free(process=2, asynchronous=0, total=2), Free(process=0, asynchronous=250, total=250)
    await asyncio.gather(beat(), claim(process), claim(asynchronous), watch())
