"""SAQ: Redis protocol, results kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from saq import Queue

from bench.peers.work import BROKER, PAYLOAD, broker, tick

queue = Queue.from_url(os.environ.get(BROKER, "redis://127.0.0.1"))


async def noop(_ctx: Any, *, payload: str) -> int:
    tick()
    return len(payload)


settings = {"queue": queue, "functions": [("noop", noop)], "concurrency": 100}


def submit(count: int, before: Callable[[], None] = lambda: None, together: int = 1) -> None:
    async def submit() -> None:
        own = Queue.from_url(broker())
        await own.connect()
        for start in range(0, count, together):
            before()
            await asyncio.gather(*[own.enqueue("noop", payload=PAYLOAD) for _ in range(min(together, count - start))])
        await own.disconnect()

    asyncio.run(submit())


def bulk(count: int) -> None:
    submit(count, together=100)
