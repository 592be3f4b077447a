"""Timed jobs: `GET /jobs`, `GET /job/{id}`, `POST /job`, `DELETE /job/{id}` and `DELETE /job`.

A job names a handler that a worker has offered at any time, else a container image; a name that is neither waits for a
worker that offers it. De-scheduling only ever cancels: what runs is stopped by the native API.
"""

from __future__ import annotations

from typing import Any, NoReturn
from urllib.parse import urlencode

from msgspec import UNSET, Struct, UnsetType

from rota.core.access import Who
from rota.core.errors import Conflict, Invalid, NotFound
from rota.core.jobs import Job, Submission
from rota.core.references import is_image
from rota.core.states import FINAL, WAITING, State
from rota.core.times import rfc3339
from rota.http.apis import dates
from rota.http.apis.forms import FORMS, form_body
from rota.http.apis.naming import named
from rota.http.apis.states import words
from rota.http.operations import AnyQuery, Call, NoBody, Operation
from rota.http.problems import Refusals
from rota.http.replies import Reply, json_reply
from rota.http.routes.filters import check_cursor
from rota.http.routes.ui import to_ui
from rota.service.access import JobsFor
from rota.service.service import Service
from rota.store.protocol import Query

API = "b"
# What a page shows of each group: a history grows without end, the other two are to be seen whole.
GROUPS: dict[str, tuple[list[State], int]] = {
    "running": ([State.RUNNING], 10_000),
    "scheduled": (sorted(WAITING), 10_000),
    "history": (sorted(FINAL), 1_000),
}


class SaidView(Struct, frozen=True):
    """What was done, or why not."""

    message: str


REFUSALS = Refusals(view=SaidView, render=lambda problem: SaidView(problem.detail))


class NewTimedJob(Struct, frozen=True):
    """A job to run: `job_name` (of a handler, or an image), and one of `date` and `time`: `30s`, `2m`, `1h`, `4d`, or
    `31-12-2030 23:59:59`.
    """

    job_name: str
    date: str | None = None
    time: str | None = None


class TimedJob(Struct, frozen=True):
    """The job to de-schedule."""

    job_id: str | None = None


class JobsQuery(Struct, frozen=True):
    """Where the page before ended, group by group, as its `Link` header says; then only these groups are shown."""

    running: str | None = None
    scheduled: str | None = None
    history: str | None = None


class TimedJobView(Struct, kw_only=True, omit_defaults=True):
    """A job. `scheduled_in` is when it was submitted, `scheduled_to` when it is to run; one that is over says how it ended."""

    id: str
    job_name: str
    scheduled_in: str
    scheduled_to: str
    status: str
    finish_date: str | UnsetType = UNSET
    finish_status: str | UnsetType = UNSET


class TimedJobsView(Struct, kw_only=True):
    """Jobs by id."""

    running: dict[str, TimedJobView] = {}
    scheduled: dict[str, TimedJobView] = {}
    history: dict[str, TimedJobView] = {}


def timed_job_view(service: Service, job: Job) -> TimedJobView:
    """Render a job."""
    zone = service.zone
    over = job.finished_at is not None
    return TimedJobView(
        id=job.id,
        job_name=job.handler or job.image or "",
        scheduled_in=dates.written(job.submitted_at, zone),
        scheduled_to=dates.written(job.run_at, zone),
        status=words(job).b,
        finish_date=dates.written(job.finished_at, zone) if job.finished_at is not None else UNSET,
        finish_status=_finish_status(job) if over else UNSET,
    )


def _finish_status(job: Job) -> str:
    if job.state is State.CANCELED:
        return "did_not_run" if job.attempt == 0 else "aborted"
    return "timed_out" if job.reason == "timed_out" else job.state.value


async def index(call: Call[AnyQuery, NoBody]) -> Reply:
    """Lead a program to the list of jobs, and a browser to a page for people."""
    if call.accepts("text/html"):
        return to_ui()
    return json_reply(SaidView("see /jobs"), 302, [(b"location", b"/jobs")])


async def find(call: Call[JobsQuery, NoBody]) -> Reply:
    """List all jobs: those that run, those that wait, and the newest 1,000 of the others, with a `Link` to the rest."""
    cursors = {name: cursor for name in GROUPS if (cursor := getattr(call.query, name)) is not None}
    for name, given in cursors.items():
        check_cursor(given, name)
    shown = cursors or dict.fromkeys(GROUPS)
    queries = [
        Query(api=API, states=GROUPS[name][0], limit=GROUPS[name][1], cursor=cursor) for name, cursor in shown.items()
    ]
    pages = dict(zip(shown, await call.jobs.find_each(queries), strict=True))
    groups = {name: {job.id: timed_job_view(call.service, job) for job in jobs} for name, (jobs, _) in pages.items()}
    more = {name: cursor for name, (_, cursor) in pages.items() if cursor is not None}
    link = [(b"link", f'</jobs?{urlencode(more)}>; rel="next"'.encode())] if more else None
    return json_reply(TimedJobsView(**groups), headers=link)


async def get(call: Call[AnyQuery, NoBody]) -> Reply:
    """Show a job."""
    return json_reply(timed_job_view(call.service, await _own(call.jobs, call.id)))


async def submit(call: Call[AnyQuery, NewTimedJob]) -> Reply:
    """Submit a job. The answer is sent when it is durable."""
    new, service = call.body, call.service
    if not new.job_name:
        raise Invalid("job_name", "is required")
    if new.date and new.time:
        raise Invalid("date", "give date or time, not both")
    field, when = ("time", new.time) if new.time else ("date", new.date)
    if not when:
        raise Invalid("date", "is required (or time): like 30s, 2m, 1h, 4d or 31-12-2030 23:59:59")
    relative = dates.is_relative(when)
    known = any(known.spec.name == new.job_name for known in await service.handlers.find())
    image = not known and is_image(new.job_name)
    submission = Submission(
        handler=None if image else new.job_name,
        image=new.job_name if image else None,
        delay=when if relative else None,
        run_at=None if relative else await _moment(service, field, when),
    )
    with named({"handler": "job_name", "image": "job_name", "delay": field}):
        job = await call.jobs.submit(submission, key=call.key, api=API)
    return json_reply(SaidView(f"job {new.job_name} with id {job.id} will be scheduled to run in {when}"))


async def _moment(service: Service, field: str, when: str) -> str:
    try:
        return rfc3339(dates.parse(when, await service.now(), service.zone))
    except ValueError as error:
        raise Invalid(field, str(error)) from None


async def remove(call: Call[AnyQuery, NoBody]) -> Reply:
    """De-schedule a job: it will not run."""
    return await _remove(call.jobs, call.id)


async def remove_named(call: Call[TimedJob, TimedJob]) -> Reply:
    """De-schedule the job that a parameter or a form names: it will not run."""
    job = call.query.job_id if call.body.job_id is None else call.body.job_id
    if not job:
        raise Invalid("job_id", "is required")
    call.target = job
    return await _remove(call.jobs, job)


async def _remove(jobs: JobsFor, id_: str) -> Reply:
    await _own(jobs, id_)
    try:
        await jobs.abort(id_, only_waiting=True)
    except NotFound:
        _unknown(id_)
    except Conflict as error:
        if error.state == State.RUNNING:
            raise Conflict(f"job {id_} is running; stop it with POST /v1/jobs/{id_}/abort", error.state) from None
        raise Conflict(f"job {id_} is over; run it again with POST /v1/jobs/{id_}/retry", error.state) from None
    return json_reply(SaidView(f"job {id_} was de-scheduled"))


async def _own(jobs: JobsFor, id_: str) -> Job:
    """Return a job that came through this API. Raises NotFound."""
    try:
        job = await jobs.get(id_)
    except NotFound:
        _unknown(id_)
    if job.api != API:
        _unknown(id_)
    return job


def _unknown(id_: str) -> NoReturn:
    raise NotFound(f"job with id {id_} not found") from None


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/", function=index, summary="Begin here", tag="timed-jobs", who=Who.ANYONE,
        query=AnyQuery, body=NoBody, answers={302: SaidView, 307: None}, refusals=REFUSALS,
    ),
    Operation(
        method="GET", path="/jobs", function=find, summary="List all jobs", tag="timed-jobs", who=Who.OWNERS,
        query=JobsQuery, body=NoBody, answers={200: TimedJobsView}, refusals=REFUSALS,
    ),
    Operation(
        method="POST", path="/job", function=submit, summary="Submit a job", tag="timed-jobs", who=Who.OWNERS,
        query=AnyQuery, body=NewTimedJob, answers={200: SaidView}, keyed=True, takes=FORMS, parse=form_body(NewTimedJob),
        refusals=REFUSALS,
    ),
    Operation(
        method="DELETE", path="/job", function=remove_named, summary="De-schedule the job that is named", tag="timed-jobs",
        who=Who.OWNERS, query=TimedJob, body=TimedJob, answers={200: SaidView}, problems=(404, 409), takes=FORMS,
        optional=True, parse=form_body(TimedJob), refusals=REFUSALS,
    ),
    Operation(
        method="GET", path="/job/{id}", function=get, summary="Show a job", tag="timed-jobs", who=Who.OWNERS,
        query=AnyQuery, body=NoBody, answers={200: TimedJobView}, problems=(404,), refusals=REFUSALS,
    ),
    Operation(
        method="DELETE", path="/job/{id}", function=remove, summary="De-schedule a job", tag="timed-jobs",
        who=Who.OWNERS, query=AnyQuery, body=NoBody, answers={200: SaidView}, problems=(404, 409), refusals=REFUSALS,
    ),
]  # fmt: skip
