"""`/v1/handlers`: what can be submitted, what it takes, and whether anybody runs it."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from rota.core.access import Who
from rota.core.jobs import NO_SCHEMA, NULL
from rota.core.times import rfc3339
from rota.core.wire import Page
from rota.http.operations import Call, NoBody, NoQuery, Operation
from rota.http.replies import Reply, json_reply
from rota.service.handlers import KnownHandler


class HandlerView(Struct, kw_only=True):
    """A handler in JSON. `workers`: how many live ones offer it; else it is what was offered last, at `seen_at`.

    `schema` is a JSON schema of its keyword arguments, null where nobody knows; `x-by-position` names those that `args` and a
    `data` that is no object are, in order. `timeout` (seconds) and `retries` are those of jobs that name none.
    """

    name: str
    mode: str
    doc: str
    schema: Raw
    timeout: float | None
    retries: int
    workers: int
    seen_at: str


def handler_view(known: KnownHandler) -> HandlerView:
    """Render a handler."""
    spec = known.spec
    return HandlerView(
        name=spec.name, mode=spec.mode, doc=spec.doc, schema=NULL if spec.schema == NO_SCHEMA else spec.schema,
        timeout=spec.timeout, retries=spec.retries, workers=known.workers, seen_at=rfc3339(known.seen_at),
    )  # fmt: skip


async def find(call: Call[NoQuery, NoBody]) -> Reply:
    """List all handlers that workers offer, or have offered, by their names."""
    return json_reply(Page(items=[handler_view(known) for known in await call.service.handlers.find()]))


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/v1/handlers", function=find, summary="List handlers", tag="handlers", who=Who.OWNERS,
        query=NoQuery, body=NoBody, answers={200: Page[HandlerView]},
    ),
]  # fmt: skip
