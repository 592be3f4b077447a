"""Rota, seen from outside like its peers."""

from __future__ import annotations

from collections.abc import Callable

import rota
from bench.peers.work import PAYLOAD, hold_async, tick
from rota.client import Job

app = rota.App()
PROVES = True  # an abort returns when all of it is gone
_clients: list[rota.Client] = []
_BULK = 10_000


@app.handler
async def noop(payload: str) -> int:
    tick(payload)
    return len(payload)


@app.handler
async def hold() -> None:
    await hold_async()


def holding() -> Job:
    if not _clients:
        _clients.append(rota.Client())
    return _clients[0].submit("hold", grace=5)


def abort(job: Job) -> None:
    job.abort(wait=30)
    if not job.confirmed:
        raise RuntimeError(f"an abort ended {job.state}")


def submit(count: int, before: Callable[[], str]) -> None:
    with rota.Client() as client:
        for _ in range(count):
            payload = before()
            client.submit("noop", {"payload": payload})


def bulk(count: int) -> None:
    with rota.Client() as client:
        for start in range(0, count, _BULK):
            client.submit_many([{"handler": "noop", "data": {"payload": PAYLOAD}}] * min(_BULK, count - start))
