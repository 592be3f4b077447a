"""Counts, health, and the description of the API."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST

from rota.core.access import Who
from rota.core.errors import Unavailable
from rota.http.operations import Call, NoBody, NoQuery, Operation
from rota.http.replies import Reply, json_reply
from rota.http.views import StatsView, stats_view


class Health(Struct, frozen=True):
    """The server can do its work."""

    status: str


async def stats(call: Call[NoQuery, NoBody]) -> Reply:
    """Count jobs, workers and slots, say what has ended lately and what comes next: at a cost that does not grow with jobs."""

    async def look() -> StatsView:
        return stats_view(*await call.service.present())

    return await call.shared(look)


async def metrics(call: Call[NoQuery, NoBody]) -> Reply:
    """Figures in Prometheus's text format."""
    body = call.edge.metrics.render(await call.service.stats(), await call.service.workers())
    return Reply(200, body, media=CONTENT_TYPE_LATEST.encode())


async def healthz(_: Call[NoQuery, NoBody]) -> Reply:
    """Say that the process is alive, without asking the store."""
    return json_reply(Health("alive"))


async def readyz(call: Call[NoQuery, NoBody]) -> Reply:
    """Say that jobs are taken and run: the store answers, and this server's own workers are there. A 503 says what is not."""
    await call.service.ready()
    expected = call.edge.own_workers
    if expected:
        there = sum(info.row.hello.owned and info.row.gone_at is None for info in await call.service.workers())
        if there < expected:
            raise Unavailable(f"{there} of {expected} own workers have registered")
    return json_reply(Health("ready"))


async def describe(call: Call[NoQuery, NoBody]) -> Reply:
    """Describe this API in OpenAPI 3.1."""
    return Reply(200, await asyncio.to_thread(call.edge.description))  # so that nobody else waits for it


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/v1/stats", function=stats, summary="Count", tag="server", who=Who.ADMINS,
        query=NoQuery, body=NoBody, answers={200: StatsView},
    ),
    Operation(
        method="GET", path="/metrics", function=metrics, summary="Figures for Prometheus", tag="server", who=Who.ADMINS,
        query=NoQuery, body=NoBody, answers={}, media=("text/plain",),
    ),
    Operation(
        method="GET", path="/healthz", function=healthz, summary="Alive?", tag="server", who=Who.ANYONE,
        query=NoQuery, body=NoBody, answers={200: Health},
    ),
    Operation(
        method="GET", path="/readyz", function=readyz, summary="Ready?", tag="server", who=Who.ANYONE,
        query=NoQuery, body=NoBody, answers={200: Health},
    ),
    Operation(
        method="GET", path="/openapi.json", function=describe, summary="This description", tag="server", who=Who.ANYONE,
        query=NoQuery, body=NoBody, answers={200: dict[str, Any]},
    ),
]  # fmt: skip
