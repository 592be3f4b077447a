"""Procrastinate: PostgreSQL, rows stay."""

from __future__ import annotations

import os
from collections.abc import Callable

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from bench.peers.work import BROKER, PAYLOAD, broker, tick

app = App(connector=PsycopgConnector(conninfo=os.environ.get(BROKER, "")))


@app.task(name="noop")
async def noop(payload: str) -> None:  # noqa: ARG001
    tick()


def prepare() -> None:
    with App(connector=SyncPsycopgConnector(conninfo=broker())).open() as own:
        own.schema_manager.apply_schema()


def submit(count: int, before: Callable[[], None]) -> None:
    with app.replace_connector(SyncPsycopgConnector(conninfo=broker())) as own, own.open():
        for _ in range(count):
            before()
            noop.defer(payload=PAYLOAD)


def bulk(count: int) -> None:
    with app.replace_connector(SyncPsycopgConnector(conninfo=broker())) as own, own.open():
        for start in range(0, count, 1_000):
            noop.batch_defer(*[{"payload": PAYLOAD} for _ in range(min(1_000, count - start))])
