"""Huey: worker processes, Redis protocol, results kept."""

from __future__ import annotations

import os
from collections.abc import Callable

from huey import RedisHuey

from bench.peers.work import BROKER, hold, tick

huey = RedisHuey("bench", url=os.environ.get(BROKER, "redis://127.0.0.1"), blocking=True)


@huey.task(name="noop")
def noop(payload: str) -> int:
    tick(payload)
    return len(payload)


@huey.task(name="hold")
def go_on() -> None:
    hold()


def holding() -> None:
    go_on()


def submit(count: int, before: Callable[[], str]) -> None:
    for _ in range(count):
        payload = before()
        noop(payload)
