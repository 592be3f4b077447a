"""`/v1/jobs/count`, `/abort`, `/retry`, `/move`: many jobs at once, named by their ids or found by a filter."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from rota.core.access import Who
from rota.core.errors import Invalid
from rota.http.operations import Call, NoBody, NoQuery, Operation, traceparent
from rota.http.replies import Reply, json_reply
from rota.http.routes.filters import Filter, query_of
from rota.service.bulk import MOST_IDS, MOST_JOBS, Answer, Asked, Counted
from rota.service.jobs import Edit

_Some = Annotated[int, Meta(ge=1, le=MOST_JOBS)]


class Many(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The jobs that are meant: `ids` (at most 1,000), or those that a `filter` finds, as in `GET /v1/jobs`.

    `dry_run`: only say what would be done. Of a filter at most `limit` jobs are touched (10,000); where the answer has a
    `next`, ask again with that as `cursor`.
    """

    ids: list[str] | None = None
    filter: Filter | None = None
    dry_run: bool = False
    limit: _Some = MOST_JOBS
    cursor: str | None = None


class Move(Many, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The jobs that are meant, as for an abort, and what is to be changed of them; what is left out stays."""

    priority: int | UnsetType = UNSET
    run_at: str | UnsetType = UNSET
    delay: str | float | UnsetType = UNSET
    queue: str | UnsetType = UNSET


async def count(call: Call[Filter, NoBody]) -> Reply:
    """Count jobs by state. States and queues are counted whatever their number; with other filters, up to 4,000 jobs:
    `exact` is false where there are more, or where more would have to be looked at.
    """
    return json_reply(await call.service.bulk.count(query_of(call.query), call.caller))


async def abort(call: Call[NoQuery, Many]) -> Reply:
    """Stop many jobs: what waits is canceled, what runs is aborted, and ends after the answer. Again is fine."""
    return json_reply(await call.service.bulk.abort(_asked(call), call.caller))


async def retry(call: Call[NoQuery, Many]) -> Reply:
    """Run many jobs that are over again, as new jobs. A filter without states means those that failed.

    With an `Idempotency-Key` a request that is repeated makes no job twice.
    """
    named = traceparent(call.headers)
    return json_reply(await call.service.bulk.retry(_asked(call), call.caller, key=call.key, traceparent=named))


async def move(call: Call[NoQuery, Move]) -> Reply:
    """Change priority, time or queue of many jobs that have not started."""
    body = call.body
    edit = Edit(priority=body.priority, run_at=body.run_at, delay=body.delay, queue=body.queue)
    if edit == Edit():
        raise Invalid("body", "says nothing to change: priority, run_at, delay or queue")
    return json_reply(await call.service.bulk.move(_asked(call), edit, call.caller))


def _asked(call: Call[Any, Any]) -> Asked:
    body: Many = call.body
    if (body.ids is None) is (body.filter is None):
        raise Invalid("ids", "give either ids or a filter")
    if body.ids is not None and len(body.ids) > MOST_IDS:
        raise Invalid("ids", f"are at most {MOST_IDS}; take a filter, or several requests")
    query = None if body.filter is None else query_of(body.filter, where="filter.", cursor=body.cursor)
    call.target = f"{len(body.ids or ())} ids" if body.filter is None else "a filter"
    return Asked(ids=body.ids or (), query=query, limit=body.limit, dry_run=body.dry_run)


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/v1/jobs/count", function=count, summary="Count jobs", tag="jobs", who=Who.OWNERS,
        query=Filter, body=NoBody, answers={200: Counted},
    ),
    Operation(
        method="POST", path="/v1/jobs/abort", function=abort, summary="Stop many jobs", tag="bulk", who=Who.OWNERS,
        query=NoQuery, body=Many, answers={200: Answer},
    ),
    Operation(
        method="POST", path="/v1/jobs/retry", function=retry, summary="Run many jobs again", tag="bulk", who=Who.OWNERS,
        query=NoQuery, body=Many, answers={200: Answer}, keyed=True,
    ),
    Operation(
        method="POST", path="/v1/jobs/move", function=move, summary="Change many jobs that have not started", tag="bulk",
        who=Who.OWNERS, query=NoQuery, body=Move, answers={200: Answer},
    ),
]  # fmt: skip
