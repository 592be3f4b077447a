"""SAQ: Redis protocol, results kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from saq import Job, Queue

from bench.peers.work import BROKER, PAYLOAD, broker, hold_async, run, tick

queue = Queue.from_url(os.environ.get(BROKER, "redis://127.0.0.1"))


async def noop(_ctx: Any, *, payload: str) -> int:
    tick(payload)
    return len(payload)


async def hold(_ctx: Any) -> None:
    await hold_async()


settings = {"queue": queue, "functions": [("noop", noop), ("hold", hold)], "concurrency": 100}
_queues: list[Queue] = []


def holding() -> Job:
    async def submit() -> Job:
        if not _queues:
            _queues.append(Queue.from_url(broker()))
            await _queues[0].connect()
        job = await _queues[0].enqueue("hold", timeout=0)
        assert job is not None
        return job

    return run(submit())


def abort(job: Job) -> None:
    run(job.abort("measured"))


def submit(count: int, before: Callable[[], str] = lambda: PAYLOAD, together: int = 1) -> None:
    async def submit() -> None:
        own = Queue.from_url(broker())
        await own.connect()
        for start in range(0, count, together):
            payload = before()
            await asyncio.gather(*[own.enqueue("noop", payload=payload) for _ in range(min(together, count - start))])
        await own.disconnect()

    asyncio.run(submit())


def bulk(count: int) -> None:
    submit(count, together=100)
