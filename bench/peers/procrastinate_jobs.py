"""Procrastinate: PostgreSQL, rows stay."""

from __future__ import annotations

import os
from collections.abc import Callable

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.manager import JobManager

from bench.peers.work import BROKER, PAYLOAD, broker, hold_async, tick

app = App(connector=PsycopgConnector(conninfo=os.environ.get(BROKER, "")))


@app.task(name="noop")
async def noop(payload: str) -> None:
    tick(payload)


@app.task(name="hold")
async def hold() -> None:
    await hold_async()


_managers: list[JobManager] = []


def holding() -> int:
    if not _managers:
        connector = SyncPsycopgConnector(conninfo=broker())
        connector.open()
        _managers.append(JobManager(connector))
    with app.replace_connector(SyncPsycopgConnector(conninfo=broker())) as own, own.open():
        return hold.defer()


def abort(job: int) -> None:
    _managers[0].cancel_job_by_id(job, abort=True)


def prepare() -> None:
    with App(connector=SyncPsycopgConnector(conninfo=broker())).open() as own:
        own.schema_manager.apply_schema()


def submit(count: int, before: Callable[[], str]) -> None:
    with app.replace_connector(SyncPsycopgConnector(conninfo=broker())) as own, own.open():
        for _ in range(count):
            payload = before()
            noop.defer(payload=payload)


def bulk(count: int) -> None:
    with app.replace_connector(SyncPsycopgConnector(conninfo=broker())) as own, own.open():
        for start in range(0, count, 1_000):
            noop.batch_defer(*[{"payload": PAYLOAD} for _ in range(min(1_000, count - start))])
