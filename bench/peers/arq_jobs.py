"""arq: tuned, for by default it looks twice a second for ten jobs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings

from bench.peers.work import BROKER, PAYLOAD, tick

_SETTINGS = RedisSettings.from_dsn(os.environ.get(BROKER, "redis://127.0.0.1"))


async def noop(_ctx: Any, payload: str) -> int:
    tick()
    return len(payload)


class WorkerSettings:
    functions: ClassVar = [noop]
    redis_settings = _SETTINGS
    max_jobs = 100
    poll_delay = 0.01
    keep_result = 3600


def submit(count: int, before: Callable[[], None] = lambda: None, together: int = 1) -> None:
    async def submit() -> None:
        pool = await create_pool(_SETTINGS)
        for start in range(0, count, together):
            before()
            await asyncio.gather(*[pool.enqueue_job("noop", PAYLOAD) for _ in range(min(together, count - start))])
        await pool.aclose()

    asyncio.run(submit())


QUIET = {"version": 1, "disable_existing_loggers": True}


def bulk(count: int) -> None:
    submit(count, together=100)
