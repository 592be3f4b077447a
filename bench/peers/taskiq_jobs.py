"""Taskiq: Redis lists, results kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from bench.peers.work import BROKER, PAYLOAD, hold_async, run, tick

_URL = os.environ.get(BROKER, "redis://127.0.0.1")
broker = ListQueueBroker(_URL).with_result_backend(RedisAsyncResultBackend(_URL, result_ex_time=3600))


@broker.task(task_name="noop")
async def noop(payload: str) -> int:
    tick(payload)
    return len(payload)


@broker.task(task_name="hold")
async def go_on() -> None:
    await hold_async()


def holding() -> None:
    async def submit() -> None:
        await broker.startup()
        await go_on.kiq()

    run(submit())


def submit(count: int, before: Callable[[], str]) -> None:
    async def submit() -> None:
        await broker.startup()
        for _ in range(count):
            payload = before()
            await noop.kiq(payload)
        await broker.shutdown()

    asyncio.run(submit())


def bulk(count: int) -> None:
    async def submit() -> None:
        await broker.startup()
        for start in range(0, count, 100):
            await asyncio.gather(*[noop.kiq(PAYLOAD) for _ in range(min(100, count - start))])
        await broker.shutdown()

    asyncio.run(submit())
