"""Puts the HTTP edge together: guard, routes, their operations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from rota.http.guards import LOOPBACK_NAMES, Guard
from rota.http.metrics import Metrics
from rota.http.openapi import describe
from rota.http.operations import Edge, Operation, Resource
from rota.http.problems import Refusal, problem_reply
from rota.http.routes import admin, docs, events, jobs, workers
from rota.service.service import Service

OPERATIONS = [*jobs.OPERATIONS, *workers.OPERATIONS, *events.OPERATIONS, *admin.OPERATIONS]


def create_app(
    service: Service,
    *,
    metrics: Metrics | None = None,
    own_workers: int = 0,
    allowed_hosts: Iterable[str] = (),
    loopback_names: Iterable[str] = LOOPBACK_NAMES,
) -> ASGIApp:
    """Return the edge as an ASGI application.

    `metrics` is the service's observer. `own_workers` is how many workers of its own the server must have before it is
    ready. `allowed_hosts` are names that it answers to beside loopback's. Starting and stopping the service is the
    caller's.
    """
    edge = Edge(service, metrics or Metrics(), own_workers, describe(OPERATIONS))
    router = Router(_routes(edge, [*OPERATIONS, *docs.PAGES]), redirect_slashes=False, default=_unknown)
    return Guard(router, allowed_hosts=allowed_hosts, loopback_names=loopback_names)


def _routes(edge: Edge, operations: Sequence[Operation[Any, Any]]) -> list[Route]:
    """Return one route a path, in the order of the tables: what is asked most often comes first."""
    order = {operation.path: at for at, operation in reversed(list(enumerate(operations)))}
    by_path = groupby(sorted(operations, key=lambda operation: order[operation.path]), key=lambda o: o.path)
    return [Route(path, Resource(edge, list(group)), name=path) for path, group in by_path]


async def _unknown(scope: Scope, _: Receive, send: Send) -> None:
    await problem_reply(Refusal("no-such-route", f"there is no route {scope['path']}")).send(send)
