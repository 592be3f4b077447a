"""`/v1/schedules`: rules that submit jobs again and again. A schedule is named by its id, or by its name."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct

from rota.core.access import Who
from rota.core.jobs import Submission
from rota.core.schedule_wire import (
    ChangeView,
    FiringView,
    ScheduleView,
    SlotView,
    change_view,
    firing_view,
    schedule_view,
    slot_view,
)
from rota.core.wire import JobView, Page, job_view
from rota.http.operations import Call, NoBody, NoQuery, Operation
from rota.http.parsing import check_raw
from rota.http.replies import Reply, json_reply
from rota.http.routes.filters import Limit, check_cursor
from rota.http.routes.jobs import page_reply
from rota.service.deploys import Deploy, Deployment
from rota.service.schedules import MAX_PREVIEW, NewSchedule, ScheduleEdit, Timing

_Slots = Annotated[int, Meta(ge=1, le=MAX_PREVIEW)]
_Before = Annotated[int, Meta(ge=-(2**62), le=2**62)]


class SchedulesQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`owner`: only this owner's; `cursor`: where the page before has ended."""

    owner: str | None = None
    limit: Limit = 100
    cursor: str = ""


class PreviewQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`n`: how many slots."""

    n: _Slots = 10


class BeforeQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`before`: where the page before has ended."""

    before: _Before | None = None
    limit: Limit = 100


def _check(job: Submission) -> None:
    check_raw(job.data, "job.data")
    check_raw(job.args, "job.args")


async def add(call: Call[NoQuery, NewSchedule]) -> Reply:
    """Make a schedule. `job` is a submission, as of `POST /v1/jobs`, without a time, dependencies or inputs."""
    _check(call.body.job)
    made = await call.service.schedules.add(call.body, call.caller)
    call.target = made.id
    return json_reply(schedule_view(made), 201, [(b"location", b"/v1/schedules/" + made.id.encode())])


async def find(call: Call[SchedulesQuery, NoBody]) -> Reply:
    """List schedules, the oldest first."""
    query = call.query
    check_cursor(query.cursor)
    found = await call.service.schedules.find(call.caller, query.owner, query.cursor, query.limit)
    more = found[-1].id if len(found) == query.limit else None
    return page_reply(call, [schedule_view(schedule) for schedule in found], more)


async def get(call: Call[NoQuery, NoBody]) -> Reply:
    """Show a schedule."""
    return json_reply(schedule_view(await call.service.schedules.get(call.id, call.caller)))


async def edit(call: Call[NoQuery, ScheduleEdit]) -> Reply:
    """Change a schedule. What it was stays in its history. A new rule counts from now on."""
    if call.body.job is not UNSET:
        _check(call.body.job)
    return json_reply(schedule_view(await call.service.schedules.edit(call.id, call.body, call.caller)))


async def remove(call: Call[NoQuery, NoBody]) -> Reply:
    """Remove a schedule. Its jobs stay as they are."""
    await call.service.schedules.remove(call.id, call.caller)
    return Reply(204)


async def pause(call: Call[NoQuery, NoBody]) -> Reply:
    """Let a schedule rest: slots that pass meanwhile do not fire. Again is fine."""
    return json_reply(schedule_view(await call.service.schedules.pause(call.id, call.caller)))


async def resume(call: Call[NoQuery, NoBody]) -> Reply:
    """Let a paused schedule go on. Again is fine."""
    return json_reply(schedule_view(await call.service.schedules.resume(call.id, call.caller)))


async def run(call: Call[NoQuery, NoBody]) -> Reply:
    """Submit the job of a schedule now, whatever its rule says, and whether or not the one before is over."""
    job = await call.service.schedules.run(call.id, call.caller)
    return json_reply(job_view(job), 201, [(b"location", b"/v1/jobs/" + job.id.encode())])


async def preview(call: Call[PreviewQuery, NoBody]) -> Reply:
    """Show when a schedule fires next, and what a change of the clock does to it; as if it were not paused."""
    slots = await call.service.schedules.preview(call.id, call.query.n, call.caller)
    return json_reply(Page(items=[slot_view(slot) for slot in slots]))


async def preview_rule(call: Call[PreviewQuery, Timing]) -> Reply:
    """Show when a rule would fire, without a schedule."""
    slots = await call.service.schedules.preview_rule(call.body, call.query.n)
    return json_reply(Page(items=[slot_view(slot) for slot in slots]))


async def deploy(call: Call[NoQuery, Deploy]) -> Reply:
    """Bring all schedules that an app declares in line with its code; those that people made are left alone."""
    for at, new in enumerate(call.body.schedules):
        check_raw(new.job.data, f"schedules[{at}].job.data")
        check_raw(new.job.args, f"schedules[{at}].job.args")
    call.target = call.body.origin
    return json_reply(await call.service.deploys.deploy(call.body, call.caller))


async def firings(call: Call[BeforeQuery, NoBody]) -> Reply:
    """Show what became of a schedule's slots, the newest first; kept as long as jobs that are over."""
    query = call.query
    found = await call.service.schedules.firings(call.id, call.caller, query.before, query.limit)
    more = str(found[-1].slot) if len(found) == query.limit else None
    return page_reply(call, [firing_view(firing) for firing in found], more, "before")


async def history(call: Call[BeforeQuery, NoBody]) -> Reply:
    """Show how a schedule was changed, when and by whom, the newest first."""
    query = call.query
    found = await call.service.schedules.history(call.id, call.caller, query.before, query.limit)
    more = str(found[-1].revision) if len(found) == query.limit else None
    return page_reply(call, [change_view(change) for change in found], more, "before")


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="POST", path="/v1/schedules", function=add, summary="Make a schedule", tag="schedules", who=Who.OWNERS,
        query=NoQuery, body=NewSchedule, answers={201: ScheduleView}, problems=(409,),
    ),
    Operation(
        method="GET", path="/v1/schedules", function=find, summary="List schedules", tag="schedules", who=Who.OWNERS,
        query=SchedulesQuery, body=NoBody, answers={200: Page[ScheduleView]},
    ),
    Operation(
        method="POST", path="/v1/schedules/deploy", function=deploy, summary="Deploy the schedules of an app", tag="schedules",
        who=Who.ADMINS, query=NoQuery, body=Deploy, answers={200: Deployment}, problems=(409,),
    ),
    Operation(
        method="POST", path="/v1/schedules/preview", function=preview_rule, summary="Show when a rule would fire",
        tag="schedules", who=Who.OWNERS, query=PreviewQuery, body=Timing, answers={200: Page[SlotView]},
    ),
    Operation(
        method="GET", path="/v1/schedules/{id}", function=get, summary="Show a schedule", tag="schedules", who=Who.OWNERS,
        query=NoQuery, body=NoBody, answers={200: ScheduleView}, problems=(404, 409),
    ),
    Operation(
        method="PATCH", path="/v1/schedules/{id}", function=edit, summary="Change a schedule", tag="schedules",
        who=Who.OWNERS, query=NoQuery, body=ScheduleEdit, answers={200: ScheduleView}, problems=(404, 409),
    ),
    Operation(
        method="DELETE", path="/v1/schedules/{id}", function=remove, summary="Remove a schedule", tag="schedules",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={204: None}, problems=(404, 409),
    ),
    Operation(
        method="POST", path="/v1/schedules/{id}/pause", function=pause, summary="Let a schedule rest", tag="schedules",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={200: ScheduleView}, problems=(404, 409),
    ),
    Operation(
        method="POST", path="/v1/schedules/{id}/resume", function=resume, summary="Let a schedule go on", tag="schedules",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={200: ScheduleView}, problems=(404, 409),
    ),
    Operation(
        method="POST", path="/v1/schedules/{id}/run", function=run, summary="Submit a schedule's job now", tag="schedules",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={201: JobView}, problems=(404, 409),
    ),
    Operation(
        method="GET", path="/v1/schedules/{id}/preview", function=preview, summary="Show when a schedule fires next",
        tag="schedules", who=Who.OWNERS, query=PreviewQuery, body=NoBody, answers={200: Page[SlotView]}, problems=(404, 409),
    ),
    Operation(
        method="GET", path="/v1/schedules/{id}/firings", function=firings, summary="Show what became of slots",
        tag="schedules", who=Who.OWNERS, query=BeforeQuery, body=NoBody, answers={200: Page[FiringView]}, problems=(404, 409),
    ),
    Operation(
        method="GET", path="/v1/schedules/{id}/history", function=history, summary="Show how a schedule was changed",
        tag="schedules", who=Who.OWNERS, query=BeforeQuery, body=NoBody, answers={200: Page[ChangeView]}, problems=(404, 409),
    ),
]  # fmt: skip
