"""RQ: two workers in threads of their own process (SimpleWorker): its forking ones are thirty times slower."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis
from rq import Queue

from bench.peers.work import PAYLOAD, broker, hold, tick

_BULK = 1_000


def noop(payload: str) -> int:
    tick(payload)
    return len(payload)


def holding() -> None:
    Queue(connection=Redis.from_url(broker())).enqueue(hold, job_timeout=3600)


def submit(count: int, before: Callable[[], str]) -> None:
    queue = Queue(connection=Redis.from_url(broker()))
    for _ in range(count):
        payload = before()
        queue.enqueue(noop, payload)


def bulk(count: int) -> None:
    queue = Queue(connection=Redis.from_url(broker()))
    for start in range(0, count, _BULK):
        queue.enqueue_many([Queue.prepare_data(noop, (PAYLOAD,)) for _ in range(min(_BULK, count - start))])
