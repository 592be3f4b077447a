"""Dramatiq: processes with threads, Redis protocol, results kept."""

from __future__ import annotations

import os
from collections.abc import Callable

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.peers.work import BROKER, hold, tick

_URL = os.environ.get(BROKER, "redis://127.0.0.1")
_broker = RedisBroker(url=_URL)
_broker.add_middleware(Results(backend=RedisBackend(url=_URL)))
dramatiq.set_broker(_broker)


@dramatiq.actor(store_results=True)
def noop(payload: str) -> int:
    tick(payload)
    return len(payload)


@dramatiq.actor(store_results=True, time_limit=3_600_000)
def go_on() -> None:
    hold()


def holding() -> None:
    go_on.send()


def submit(count: int, before: Callable[[], str]) -> None:
    for _ in range(count):
        payload = before()
        noop.send(payload)
