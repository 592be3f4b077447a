"""Puts the HTTP edge together: guard, routes, their operations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, partial
from itertools import groupby
from typing import Any

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from rota.http.apis import master_tasks, pull_workers, timed_jobs, user_tasks
from rota.http.gate import Gate
from rota.http.guards import LOOPBACK_NAMES, Guard
from rota.http.metrics import Metrics
from rota.http.openapi import describe
from rota.http.operations import Edge, Operation, Resource
from rota.http.problems import Refusal, problem_reply
from rota.http.routes import (
    admin,
    bulk,
    docs,
    events,
    handlers,
    jobs,
    looking,
    me,
    overview,
    owners,
    queues,
    runs,
    schedules,
    tokens,
    ui,
    workers,
)
from rota.service.service import Service

NATIVE = [
    *bulk.OPERATIONS,  # their fixed paths win over a job's id
    *jobs.OPERATIONS,
    *looking.OPERATIONS,
    *runs.OPERATIONS,
    *workers.OPERATIONS,
    *owners.OPERATIONS,
    *schedules.OPERATIONS,
    *handlers.OPERATIONS,
    *queues.OPERATIONS,
    *events.OPERATIONS,
    *admin.OPERATIONS,
    *me.OPERATIONS,
    *overview.OPERATIONS,
    *tokens.OPERATIONS,
]
# The older APIs, by the letters of `--apis`.
APIS: dict[str, list[Operation[Any, Any]]] = {
    "a": user_tasks.OPERATIONS,
    "b": timed_jobs.OPERATIONS,
    "c": pull_workers.OPERATIONS,
    "d": master_tasks.OPERATIONS,
}


def create_app(
    service: Service,
    *,
    metrics: Metrics | None = None,
    gate: Gate | None = None,
    own_workers: int = 0,
    apis: Collection[str] = tuple(APIS),
    allowed_hosts: Iterable[str] = (),
    loopback_names: Iterable[str] = LOOPBACK_NAMES,
) -> ASGIApp:
    """Return the edge as an ASGI application.

    `metrics` is the service's observer. `gate` says who is let in; without one whoever comes is.
    `own_workers` is how many workers of its own the server must have before it is
    ready. `apis` are the letters of the older APIs that it serves. `allowed_hosts` are names that it answers to beside
    loopback's. Starting and stopping the service is the caller's.
    """
    served = operations(apis)
    description = partial(_described, tuple(apis))
    edge = Edge(service, gate or Gate(service.tokens), metrics or Metrics(), own_workers, description)
    routes = _routes(edge, [*ui.PAGES, *served, *docs.PAGES])
    router = Router(routes, redirect_slashes=False, default=_unknown)
    return Guard(
        _Lookup({route.path: route.app for route in routes if "{" not in route.path}, router),
        allowed_hosts=allowed_hosts,
        loopback_names=loopback_names,
    )


class _Lookup:
    """Finds paths without parameters at once; a router tries its routes one after the other."""

    def __init__(self, fixed: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._fixed = fixed
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to who answers it."""
        found = self._fixed.get(scope["path"]) if scope["type"] == "http" else None
        if found is None:
            await self._others(scope, receive, send)
        else:
            scope["path_params"] = {}
            await found(scope, receive, send)


def operations(apis: Collection[str]) -> list[Operation[Any, Any]]:
    """Return all that is described: the native API, and the older ones that are served."""
    index = [] if "b" in apis else [docs.INDEX]
    return [*NATIVE, *index, *(operation for letter in apis for operation in APIS[letter])]


@cache
def _described(apis: tuple[str, ...]) -> bytes:
    return describe(operations(apis))


def _routes(edge: Edge, operations: Sequence[Operation[Any, Any]]) -> list[Route]:
    """Return one route a path, in the order of the tables: what is asked most often comes first.

    A path that begins with a parameter (`/{userId}`) comes last: fixed ones win.
    """
    order = {o.path: (o.path.startswith("/{"), at) for at, o in reversed(list(enumerate(operations)))}
    by_path = groupby(sorted(operations, key=lambda o: order[o.path]), key=lambda o: o.path)
    return [Route(path, Resource(edge, list(group)), name=path) for path, group in by_path]


async def _unknown(scope: Scope, _: Receive, send: Send) -> None:
    await problem_reply(Refusal("no-such-route", f"there is no route {scope['path']}")).send(send)
