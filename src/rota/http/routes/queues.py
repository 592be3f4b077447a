"""`/v1/queues` and `/v1/limits`: pauses, and what may run at once or start in a period."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from rota.core.access import Role, Who
from rota.core.keys import is_pattern
from rota.core.limits import Rate, Use
from rota.core.states import WAITING, State
from rota.core.times import SECOND, rfc3339
from rota.core.wire import Page
from rota.http.operations import Call, NoBody, NoQuery, Operation
from rota.http.replies import Reply, json_reply
from rota.service.limits import LimitSetting, QueueInfo, QueueSetting


class RateView(Struct, kw_only=True):
    """`n` starts in `per` seconds, `burst` of them at once after a pause."""

    n: int
    per: float
    burst: int


class QueueView(Struct, kw_only=True):
    """A queue. How many of all owners' jobs wait and run is for admins to know; null for others."""

    name: str
    paused: bool
    paused_at: str | None
    paused_by: str | None
    waiting: int | None
    queued: int | None
    running: int | None
    concurrency: int | None
    rate: RateView | None
    weight: float


class LimitView(Struct, kw_only=True):
    """A limit. `running` leases count against it now: null for who is no admin, without a concurrency, and of a name of keys
    that ends in `*`, which is each key's own limit.

    `next_at` is when its rate lets the next job start, if not now.
    """

    kind: str
    name: str
    concurrency: int | None
    rate: RateView | None
    running: int | None
    next_at: str | None


def _rate_view(rate: Rate | None) -> RateView | None:
    return None if rate is None else RateView(n=rate.starts, per=rate.period / SECOND, burst=rate.burst)


def _queue_view(info: QueueInfo, call: Call[Any, Any]) -> QueueView:
    knows = call.caller.role is Role.ADMIN
    limit = None if info.use is None else info.use.limit
    return QueueView(
        name=info.name,
        paused=info.paused_at is not None,
        paused_at=None if info.paused_at is None else rfc3339(info.paused_at),
        paused_by=info.paused_by,
        waiting=sum(info.jobs[state] for state in WAITING) if knows else None,
        queued=info.jobs[State.QUEUED] if knows else None,
        running=info.jobs[State.RUNNING] if knows else None,
        concurrency=None if limit is None else limit.concurrency,
        rate=None if limit is None else _rate_view(limit.rate),
        weight=info.weight,
    )


def _limit_view(use: Use, now: int, call: Call[Any, Any]) -> LimitView:
    limit = use.limit
    each = limit.kind == "key" and is_pattern(limit.name)
    waits = limit.rate is not None and limit.rate.room(use.full_at, now) == 0
    return LimitView(
        kind=limit.kind,
        name=limit.name,
        concurrency=limit.concurrency,
        rate=_rate_view(limit.rate),
        running=use.running if call.caller.role is Role.ADMIN and limit.concurrency is not None and not each else None,
        next_at=rfc3339(limit.rate.next_at(use.full_at, now)) if waits and limit.rate is not None else None,
    )


async def queues(call: Call[NoQuery, NoBody]) -> Reply:
    """List the queues that have jobs, or that something was set for."""

    async def look() -> Page[QueueView]:
        return Page(items=[_queue_view(info, call) for info in await call.service.limits.queues()])

    return await call.shared(look)


async def queue(call: Call[NoQuery, NoBody]) -> Reply:
    """Show a queue."""
    return json_reply(_queue_view(await call.service.limits.queue(call.id), call))


async def change(call: Call[NoQuery, QueueSetting]) -> Reply:
    """Set what a queue may use, and its weight beside others; null takes a limit away, what is left out stays."""
    return json_reply(_queue_view(await call.service.limits.set_queue(call.id, call.body), call))


async def pause(call: Call[NoQuery, NoBody]) -> Reply:
    """Let no job of a queue start; those that run go on. Again is fine."""
    return json_reply(_queue_view(await call.service.limits.pause(call.id, call.caller), call))


async def resume(call: Call[NoQuery, NoBody]) -> Reply:
    """Let jobs of a queue start again. Again is fine."""
    return json_reply(_queue_view(await call.service.limits.resume(call.id, call.caller), call))


def _pool(call: Call[Any, Any]) -> tuple[str, str]:
    parameters = call.scope["path_params"]
    call.target = f"{parameters['kind']}:{parameters['name']}"
    return parameters["kind"], parameters["name"]


async def limits(call: Call[NoQuery, NoBody]) -> Reply:
    """List the limits, and how much of each is used."""
    now = await call.service.now()
    found = await call.service.limits.list()
    return json_reply(Page(items=[_limit_view(use, now, call) for use in found]))


async def limit(call: Call[NoQuery, NoBody]) -> Reply:
    """Show a limit."""
    use = await call.service.limits.get(*_pool(call))
    return json_reply(_limit_view(use, await call.service.now(), call))


async def set_limit(call: Call[NoQuery, LimitSetting]) -> Reply:
    """Set a limit of a queue, a handler or a key; null takes a part of it away, what is left out stays."""
    await call.service.limits.set(*_pool(call), call.body)
    return Reply(204)


async def remove_limit(call: Call[NoQuery, NoBody]) -> Reply:
    """Take a limit away."""
    await call.service.limits.remove(*_pool(call))
    return Reply(204)


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/v1/queues", function=queues, summary="List queues", tag="queues", who=Who.OWNERS,
        query=NoQuery, body=NoBody, answers={200: Page[QueueView]},
    ),
    Operation(
        method="GET", path="/v1/queues/{name}", function=queue, summary="Show a queue", tag="queues", who=Who.OWNERS,
        query=NoQuery, body=NoBody, answers={200: QueueView},
    ),
    Operation(
        method="PATCH", path="/v1/queues/{name}", function=change, summary="Set what a queue may use", tag="queues",
        who=Who.ADMINS, query=NoQuery, body=QueueSetting, answers={200: QueueView},
    ),
    Operation(
        method="POST", path="/v1/queues/{name}/pause", function=pause, summary="Pause a queue", tag="queues",
        who=Who.ADMINS, query=NoQuery, body=NoBody, answers={200: QueueView},
    ),
    Operation(
        method="POST", path="/v1/queues/{name}/resume", function=resume, summary="Let a paused queue go on", tag="queues",
        who=Who.ADMINS, query=NoQuery, body=NoBody, answers={200: QueueView},
    ),
    Operation(
        method="GET", path="/v1/limits", function=limits, summary="List limits", tag="queues", who=Who.OWNERS,
        query=NoQuery, body=NoBody, answers={200: Page[LimitView]},
    ),
    Operation(
        method="GET", path="/v1/limits/{kind}/{name:path}", function=limit, summary="Show a limit", tag="queues",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={200: LimitView}, problems=(404,),
    ),
    Operation(
        method="PUT", path="/v1/limits/{kind}/{name:path}", function=set_limit, summary="Set a limit", tag="queues",
        who=Who.ADMINS, query=NoQuery, body=LimitSetting, answers={204: None},
    ),
    Operation(
        method="DELETE", path="/v1/limits/{kind}/{name:path}", function=remove_limit, summary="Take a limit away", tag="queues",
        who=Who.ADMINS, query=NoQuery, body=NoBody, answers={204: None}, problems=(404,),
    ),
]  # fmt: skip
