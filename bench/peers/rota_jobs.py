"""Rota on one SQLite file, seen from outside like its peers."""

from __future__ import annotations

from collections.abc import Callable

import rota
from bench.peers.work import PAYLOAD, tick

app = rota.App()
_BULK = 10_000


@app.handler
async def noop(payload: str) -> int:
    tick()
    return len(payload)


def submit(count: int, before: Callable[[], None]) -> None:
    with rota.Client() as client:
        for _ in range(count):
            before()
            client.submit("noop", {"payload": PAYLOAD})


def bulk(count: int) -> None:
    with rota.Client() as client:
        for start in range(0, count, _BULK):
            client.submit_many([{"handler": "noop", "data": {"payload": PAYLOAD}}] * min(_BULK, count - start))
