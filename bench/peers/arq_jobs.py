"""arq: tuned, for by default it looks twice a second for ten jobs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, ClassVar

from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings
from arq.jobs import Job

from bench.peers.work import BROKER, PAYLOAD, hold_async, run, tick

QUIET = {"version": 1, "disable_existing_loggers": True}
_SETTINGS = RedisSettings.from_dsn(os.environ.get(BROKER, "redis://127.0.0.1"))
_pools: list[ArqRedis] = []


async def noop(_ctx: Any, payload: str) -> int:
    tick(payload)
    return len(payload)


async def hold(_ctx: Any) -> None:
    await hold_async()


class WorkerSettings:
    functions: ClassVar = [noop, func(hold, timeout=3600)]
    allow_abort_jobs = True
    redis_settings = _SETTINGS
    max_jobs = 100
    poll_delay = 0.01
    keep_result = 3600


def holding() -> Job:
    async def submit() -> Job:
        if not _pools:
            _pools.append(await create_pool(_SETTINGS))
        job = await _pools[0].enqueue_job("hold")
        assert job is not None
        return job

    return run(submit())


def abort(job: Job) -> None:
    run(job.abort(timeout=30))


def submit(count: int, before: Callable[[], str] = lambda: PAYLOAD, together: int = 1) -> None:
    async def submit() -> None:
        pool = await create_pool(_SETTINGS)
        for start in range(0, count, together):
            payload = before()
            await asyncio.gather(*[pool.enqueue_job("noop", payload) for _ in range(min(together, count - start))])
        await pool.aclose()

    asyncio.run(submit())


def bulk(count: int) -> None:
    submit(count, together=100)
