"""Huey: worker processes, Redis protocol, results kept."""

from __future__ import annotations

import os
from collections.abc import Callable

from huey import RedisHuey

from bench.peers.work import BROKER, PAYLOAD, tick

huey = RedisHuey("bench", url=os.environ.get(BROKER, "redis://127.0.0.1"), blocking=True)


@huey.task(name="noop")
def noop(payload: str) -> int:
    tick()
    return len(payload)


def submit(count: int, before: Callable[[], None]) -> None:
    for _ in range(count):
        before()
        noop(PAYLOAD)
