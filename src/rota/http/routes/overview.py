"""`/v1/overview`, `/v1/stats/series`, `/v1/errors`, `/v1/timeline`: what a page shows of the whole."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from rota.core.access import Who
from rota.core.errors import Invalid
from rota.core.times import parse_duration, rfc3339
from rota.http.operations import Call, NoBody, NoQuery, Operation
from rota.http.replies import Reply, json_reply
from rota.http.routes.filters import moment
from rota.http.views import OverviewView, overview_view
from rota.service.overview import MOST_BARS, Bar, Chosen, Errors, read_errors, read_timeline
from rota.service.series import Series, read_series

_MOST_WORKERS = 1000


class RangeQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`from` and `to` bound the time (from, and before); without them it is the last while."""

    begin: str | None = field(default=None, name="from")
    end: str | None = field(default=None, name="to")


class SeriesQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`from` and `to` bound the time (the last hour); `step` is how long a point lasts (1m, 5m, 1h: a multiple of a minute;
    chosen if unsaid); `queue`: only of this one.
    """

    step: str | None = None
    queue: str = ""


class ErrorsQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`from` and `to` bound the time in which attempts failed (the last day); `queue`, `handler`, `owner`: only theirs."""

    queue: str | None = None
    handler: str | None = None
    owner: str | None = None


class TimelineQuery(RangeQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`from` and `to` bound the time (the last hour); `worker` may be repeated; `queue`, `handler`, `owner`: only theirs;
    `limit`: how many bars at most, the newest.
    """

    worker: list[str] = []
    queue: str | None = None
    handler: str | None = None
    owner: str | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_BARS)] = MOST_BARS


class FaultsView(Struct, kw_only=True):
    """Failed attempts that are alike: of the same handler, with the same type of error, and a message that differs only in
    numbers, ids and quoted parts (`message` has placeholders for those, `example` is the newest one's own).

    `jobs` are the newest of them.
    """

    kind: str
    handler: str | None
    type: str
    message: str
    example: str
    count: int
    jobs: list[str]
    first_at: str
    last_at: str


class ErrorsView(Struct, kw_only=True):
    """Groups, the most frequent first. `cut`: there was more than is looked at; the groups are of what came since `since`."""

    since: str
    to: str
    looked_at: int
    cut: bool
    items: list[FaultsView]


class BarView(Struct, kw_only=True, omit_defaults=True):
    """An attempt, or a shard of an array, on a worker from `start` to `end` (null: it runs).

    `row` is where to draw it among those of its worker: no two bars of a row overlap. `first` and `inputs` are the inputs of
    a shard.
    """

    job: str
    attempt: int
    worker: str
    row: int
    start: str
    end: str | None
    outcome: str | None
    kind: str
    handler: str | None
    owner: str
    queue: str
    first: int | None = None
    inputs: int | None = None
    error: str | None = None


class TimelineView(Struct, kw_only=True):
    """Bars in the order of their start. `cut`: there were more; those that ended first are left out."""

    start: str = field(name="from")
    to: str
    cut: bool
    items: list[BarView]


async def overview(call: Call[NoQuery, NoBody]) -> Reply:
    """Say what goes on now: which jobs run; and for admins the counts of `/v1/stats`, and how full the workers are."""

    async def look() -> OverviewView:
        return overview_view(await call.service.overview(call.caller.owner))

    return await call.shared(look)


async def series(call: Call[SeriesQuery, NoBody]) -> Reply:
    """Show what was submitted, started and ended over time, how long it waited and ran, and what was waiting.

    A list a column; `at` is in seconds since 1970. Minutes are kept for 2 days, hours for 32. A server adds its counts
    every five seconds; one that is killed loses those.
    """
    query = call.query
    begin, end, step = moment("from", query.begin), moment("to", query.end), _step(query.step)

    async def look() -> Series:
        return await call.service.store.read(
            lambda tx: read_series(tx, begin=begin, end=end, step=step, queue=query.queue)
        )

    return await call.shared(look)


async def errors(call: Call[ErrorsQuery, NoBody]) -> Reply:
    """Group the attempts that failed, and the arrays: the newest 5,000 of a range of time."""
    query = call.query
    begin, end = moment("from", query.begin), moment("to", query.end)
    chosen = _chosen(call, query.owner, query.queue, query.handler)

    async def look() -> ErrorsView:
        return _errors_view(await call.service.store.read(lambda tx: read_errors(tx, chosen, begin, end)))

    return await call.shared(look)


async def timeline(call: Call[TimelineQuery, NoBody]) -> Reply:
    """Show what ran when and where: attempts and shards of arrays as bars, those that run too; the newest `limit`."""
    query = call.query
    if len(query.worker) > _MOST_WORKERS:
        raise Invalid("worker", f"is given at most {_MOST_WORKERS} times")
    begin, end = moment("from", query.begin), moment("to", query.end)
    chosen = _chosen(call, query.owner, query.queue, query.handler, query.worker)
    found = await call.service.store.read(lambda tx: read_timeline(tx, chosen, begin, end, query.limit))
    view = TimelineView(
        start=rfc3339(found.begin), to=rfc3339(found.end), cut=found.cut, items=[_bar(bar) for bar in found.bars]
    )
    return json_reply(view)


def _chosen(
    call: Call[Any, Any], owner: str | None, queue: str | None, handler: str | None, workers: list[str] | None = None
) -> Chosen:
    call.jobs.check_owner(owner, "owner")
    return Chosen(owner=call.caller.owner or owner, queue=queue, handler=handler, workers=tuple(workers or ()))


def _step(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise Invalid("step", str(error)) from None
    if seconds != int(seconds):
        raise Invalid("step", "is a multiple of a minute: 1m, 5m, 1h")
    return int(seconds)


def _errors_view(found: Errors) -> ErrorsView:
    items = [
        FaultsView(
            kind=g.kind, handler=g.handler, type=g.type, message=g.message, example=g.example, count=g.count, jobs=g.jobs,
            first_at=rfc3339(g.first_at), last_at=rfc3339(g.last_at),
        )
        for g in found.groups
    ]  # fmt: skip
    return ErrorsView(
        since=rfc3339(found.begin), to=rfc3339(found.end), looked_at=found.looked_at, cut=found.cut, items=items
    )


def _bar(bar: Bar) -> BarView:
    return BarView(
        job=bar.job, attempt=bar.attempt, worker=bar.worker, row=bar.row, start=rfc3339(bar.begin),
        end=None if bar.end is None else rfc3339(bar.end), outcome=bar.outcome, kind=bar.kind, handler=bar.handler,
        owner=bar.owner, queue=bar.queue, first=bar.first, inputs=bar.inputs, error=bar.error,
    )  # fmt: skip


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/v1/overview", function=overview, summary="Say what goes on", tag="overview", who=Who.OWNERS,
        query=NoQuery, body=NoBody, answers={200: OverviewView},
    ),
    Operation(
        method="GET", path="/v1/stats/series", function=series, summary="Count over time", tag="overview", who=Who.ADMINS,
        query=SeriesQuery, body=NoBody, answers={200: Series},
    ),
    Operation(
        method="GET", path="/v1/errors", function=errors, summary="Group what failed", tag="overview", who=Who.OWNERS,
        query=ErrorsQuery, body=NoBody, answers={200: ErrorsView},
    ),
    Operation(
        method="GET", path="/v1/timeline", function=timeline, summary="Show who ran what when", tag="overview",
        who=Who.OWNERS, query=TimelineQuery, body=NoBody, answers={200: TimelineView},
    ),
]  # fmt: skip
