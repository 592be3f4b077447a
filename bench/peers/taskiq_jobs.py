"""Taskiq: Redis lists, results kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from bench.peers.work import BROKER, PAYLOAD, tick

_URL = os.environ.get(BROKER, "redis://127.0.0.1")
broker = ListQueueBroker(_URL).with_result_backend(RedisAsyncResultBackend(_URL, result_ex_time=3600))


@broker.task(task_name="noop")
async def noop(payload: str) -> int:
    tick()
    return len(payload)


def submit(count: int, before: Callable[[], None]) -> None:
    async def submit() -> None:
        await broker.startup()
        for _ in range(count):
            before()
            await noop.kiq(PAYLOAD)
        await broker.shutdown()

    asyncio.run(submit())


def bulk(count: int) -> None:
    async def submit() -> None:
        await broker.startup()
        for start in range(0, count, 100):
            await asyncio.gather(*[noop.kiq(PAYLOAD) for _ in range(min(100, count - start))])
        await broker.shutdown()

    asyncio.run(submit())
