"""Celery: prefork, Redis protocol, results kept."""

from __future__ import annotations

import os
from collections.abc import Callable

from celery import Celery
from celery.result import AsyncResult

from bench.peers.work import BROKER, hold, tick

app = Celery("bench.peers.celery_jobs", broker=os.environ.get(BROKER), backend=os.environ.get(BROKER))
app.conf.update(worker_prefetch_multiplier=64, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


@app.task(name="noop")
def noop(payload: str) -> int:
    tick(payload)
    return len(payload)


@app.task(name="hold")
def go_on() -> None:
    hold()


def holding() -> AsyncResult:
    return go_on.delay()


def abort(job: AsyncResult) -> None:
    job.revoke(terminate=True)


def submit(count: int, before: Callable[[], str]) -> None:
    for _ in range(count):
        payload = before()
        noop.delay(payload)
