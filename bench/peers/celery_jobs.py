"""Celery: prefork, Redis protocol, results kept."""

from __future__ import annotations

import os
from collections.abc import Callable

from celery import Celery

from bench.peers.work import BROKER, PAYLOAD, tick

app = Celery("bench.peers.celery_jobs", broker=os.environ.get(BROKER), backend=os.environ.get(BROKER))
app.conf.update(worker_prefetch_multiplier=64, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


@app.task(name="noop")
def noop(payload: str) -> int:
    tick()
    return len(payload)


def submit(count: int, before: Callable[[], None]) -> None:
    for _ in range(count):
        before()
        noop.delay(PAYLOAD)
