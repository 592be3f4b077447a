"""`/v1/jobs`: submit, look, stop, run again, change."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta, Raw, Struct

from rota.core.access import Who
from rota.core.arrays import MAX_INPUT_BYTES
from rota.core.errors import Invalid, TooLarge
from rota.core.jobs import NO_INPUTS, Job, Submission
from rota.core.states import FINAL
from rota.core.wire import (
    AttemptView,
    CheckpointView,
    EventView,
    JobView,
    LogView,
    Page,
    attempt_view,
    checkpoint_view,
    event_view,
    job_view,
    job_views,
    log_view,
)
from rota.http.guards import NDJSON
from rota.http.operations import BATCH_LIMIT, BODY_LIMIT, MAX_WAIT_S, Call, NoBody, NoQuery, Operation
from rota.http.parsing import check_raw, media_of
from rota.http.replies import Headers, Reply, Stream, json_reply
from rota.http.routes.filters import FindQuery, Limit, query_of
from rota.http.streams import EVENT_STREAM, TEXT, log_events, log_texts, position, result_lines
from rota.http.views import DeliveryView, delivery_view
from rota.service.admission import MAX_BULK
from rota.service.dry_runs import DryRun
from rota.service.explain import Explanation
from rota.service.jobs import Edit

_lines = msgspec.json.Decoder(Submission).decode_lines
_raw_lines = msgspec.json.Decoder(Raw).decode_lines
_one = msgspec.json.Decoder(Submission).decode
_list = msgspec.json.Decoder(list[Submission]).decode
SUBMISSION_LIMIT = MAX_INPUT_BYTES + BODY_LIMIT

Wait = Annotated[float, Meta(ge=0, le=MAX_WAIT_S)]


class WaitQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`wait`: seconds to wait for the end of the job, at most 60."""

    wait: Wait = 0.0


class SubmitQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """`dry_run`: check everything, say what would happen, and write nothing."""

    dry_run: bool = False


class EventsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`after`: the number of the last event that is known already."""

    after: Annotated[int, Meta(ge=0, le=2**62)] = 0
    limit: Limit = 100


class ResultsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`after`: the last input that is known already; `state=failed`: only what did not succeed; `limit` ends the answer
    after so many lines; `follow`: goes on until the array is over, in the order of the inputs without a gap.
    """

    after: Annotated[int, Meta(ge=-1, le=2**31)] = -1
    state: Literal["failed"] | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    follow: bool = False


class LogsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`attempt`: only of this one; `after`: the last piece that is known already, as `attempt.n`; `follow`: to the end."""

    attempt: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    after: str | None = None
    limit: Limit = 1000
    follow: bool = False


def _job_reply(job: Job, status: int = 200, headers: Headers | None = None) -> Reply:
    return json_reply(job_view(job), status, headers)


def _location(job: Job) -> Headers:
    return [(b"location", b"/v1/jobs/" + job.id.encode())]


def check_submission(submission: Submission, where: str = "") -> None:
    """Raise Invalid unless what a submission holds undecoded is JSON."""
    check_raw(submission.data, where + "data")
    check_raw(submission.args, where + "args")


def parse_submission(body: bytes, content_type: bytes) -> Submission:
    """Decode a submission: JSON; or NDJSON, whose first line it is, and whose other lines are its inputs."""
    if not _is_ndjson(content_type):
        return _one(body)
    head, _, lines = body.partition(b"\n")
    submission = _one(head)
    if submission.inputs != NO_INPUTS:
        raise Invalid("inputs", "are the lines after the first one")
    return msgspec.structs.replace(submission, inputs=Raw(b"[" + b",".join(_raw_lines(lines)) + b"]"))


async def submit(call: Call[SubmitQuery, Submission]) -> Reply:
    """Submit a job. The answer is sent when the job is durable.

    200: another job has its unique key, and stands for it (`on_conflict`: `existing`); or this was a dry run.
    """
    check_submission(call.body)
    if call.query.dry_run:
        return json_reply(await call.jobs.dry_run([call.body], bulk=False, key=call.key))
    job = await call.jobs.submit(call.body, key=call.key)
    return _job_reply(job, 200 if job.existed else 201, _location(job))


def parse_bulk(body: bytes, content_type: bytes) -> list[Submission]:
    """Decode a bulk: NDJSON or a JSON array, by its content type."""
    return _lines(body) if _is_ndjson(content_type) else _list(body)


def _is_ndjson(content_type: bytes) -> bool:
    return media_of(content_type.decode("latin-1")) == NDJSON


async def submit_bulk(call: Call[SubmitQuery, list[Submission]]) -> Reply:
    """Submit up to 10,000 jobs, all or none. They may name each other by a local `ref` in `after`. 200: this was a dry run."""
    if len(call.body) > MAX_BULK:
        raise TooLarge("bulk", MAX_BULK, f"a bulk has at most {MAX_BULK} jobs")
    for at, submission in enumerate(call.body):
        check_submission(submission, f"[{at}].")
    if call.query.dry_run:
        return json_reply(await call.jobs.dry_run(call.body, bulk=True, key=call.key))
    jobs = await call.jobs.submit_many(call.body, key=call.key)
    return json_reply(Page(items=job_views(jobs)), 201)


async def find(call: Call[FindQuery, NoBody]) -> Reply:
    """List jobs, newest first. A page may be short, or empty, and yet have a next one."""
    jobs, cursor = await call.jobs.find(query_of(call.query))
    return page_reply(call, [job_view(job) for job in jobs], cursor)


def page_reply(call: Call[Any, Any], items: list[Any], cursor: str | None, parameter: str = "cursor") -> Reply:
    """Answer with a page, and with a link to the next one that keeps the other parameters."""
    if cursor is None:
        return json_reply(Page(items=items))
    given = msgspec.structs.asdict(call.query) | {parameter: cursor}
    given = {name: "true" if value is True else value for name, value in given.items() if value not in (None, False)}
    target = f"{quote(call.scope['path'])}?{urlencode(given, doseq=True)}"
    return json_reply(Page(items=items, next=cursor), 200, [(b"link", f'<{target}>; rel="next"'.encode())])


async def get(call: Call[WaitQuery, NoBody]) -> Reply:
    """Show a job, with `wait` when it is over or the time is up."""
    if call.query.wait > 0:
        return _job_reply(await call.wait(call.jobs.wait(call.id, call.query.wait)))
    return _job_reply(await call.jobs.get(call.id))


async def checkpoint(call: Call[NoQuery, NoBody]) -> Reply:
    """Show what an attempt has left for the next one, with its value."""
    return json_reply(checkpoint_view(await call.jobs.checkpoint(call.id), value=True))


async def attempts(call: Call[NoQuery, NoBody]) -> Reply:
    """Show a job's tries, the first first; the running one has no end yet."""
    tries = await call.jobs.attempts(call.id)
    return json_reply(Page(items=[attempt_view(attempt) for attempt in tries]))


async def events(call: Call[EventsQuery, NoBody]) -> Reply:
    """Show what happened to a job, the first first."""
    found = await call.jobs.events(call.id, after=call.query.after, limit=call.query.limit)
    more = str(found[-1].seq) if len(found) == call.query.limit else None
    return page_reply(call, [event_view(event) for event in found], more, "after")


async def logs(call: Call[LogsQuery, NoBody]) -> Reply | Stream:
    """Show a job's output: a page of JSON; as text with `Accept: text/plain`.

    With `follow`, or `Accept: text/event-stream`, it goes on until the job is over.
    """
    query, jobs = call.query, call.jobs
    after = position("after", query.after)
    chunks = await jobs.logs(
        call.id, attempt=query.attempt, after=after, limit=query.limit
    )  # NotFound comes before a stream
    if call.accepts(TEXT):
        return Stream(
            log_texts(call.service, call.id, after, query.attempt, follow=query.follow), b"text/plain; charset=utf-8"
        )
    if query.follow or call.accepts(EVENT_STREAM):
        after = position("Last-Event-ID", call.headers.get(b"last-event-id", b"").decode("latin-1") or None) or after
        return Stream(log_events(call.service, call.id, after, query.attempt), EVENT_STREAM.encode())
    last = f"{chunks[-1].attempt}.{chunks[-1].n}" if len(chunks) == query.limit else None
    return page_reply(call, [log_view(chunk) for chunk in chunks], last, "after")


async def results(call: Call[ResultsQuery, NoBody]) -> Stream:
    """Show what became of an array's inputs, in their order, one line of JSON each (NDJSON).

    To go on after a lost connection, ask again with `after` the last `index`. Lines of inputs that are not over yet are
    not there; with `follow` the answer waits for them, in their order.
    """
    query = call.query
    bad = query.state == "failed"
    if bad and query.follow:
        raise Invalid("follow", "goes with all results, not with the failed ones alone")
    await call.jobs.results(call.id, after=query.after, limit=1)  # NotFound comes before a stream
    lines = result_lines(call.service, call.id, query.after, query.limit, bad=bad, follow=query.follow)
    return Stream(lines, NDJSON.encode())


async def deliveries(call: Call[NoQuery, NoBody]) -> Reply:
    """Show the calls of a job's hook, with every try."""
    return json_reply(Page(items=[delivery_view(row) for row in await call.jobs.deliveries(call.id)]))


async def resend(call: Call[NoQuery, NoBody]) -> Reply:
    """Make a call of a job's hook again, whatever became of it; its tries begin anew, and its log is kept. Answers with all."""
    rows = await call.jobs.resend(call.id, call.scope["path_params"]["delivery"])
    return json_reply(Page(items=[delivery_view(row) for row in rows]))


async def explain(call: Call[NoQuery, NoBody]) -> Reply:
    """Say why a job is where it is, in words and in fields."""
    return json_reply(await call.jobs.explain(call.id))


async def abort(call: Call[WaitQuery, NoBody]) -> Reply:
    """Stop a job: one that waits is canceled, a running one aborted. 200 when it has ended, 202 when not yet.

    The request is durable before it is answered. With `wait`, waits for the end.
    """
    jobs = call.jobs
    job = await jobs.abort(call.id)
    if job.state not in FINAL and call.query.wait > 0:
        job = await call.wait(jobs.wait(call.id, call.query.wait))
    return _job_reply(job, 200 if job.state in FINAL else 202)


async def retry(call: Call[NoQuery, NoBody]) -> Reply:
    """Run a job that is over again, as a new job whose `retry_of` is the old one."""
    job = await call.jobs.retry(call.id, key=call.key)
    return _job_reply(job, 201, _location(job))


async def edit(call: Call[NoQuery, Edit]) -> Reply:
    """Change priority, time or queue of a job that has not started."""
    return _job_reply(await call.jobs.edit(call.id, call.body))


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="POST", path="/v1/jobs", function=submit, summary="Submit a job", tag="jobs", who=Who.OWNERS,
        query=SubmitQuery, body=Submission, answers={201: JobView, 200: (JobView, DryRun)}, problems=(409,), keyed=True,
        limit=SUBMISSION_LIMIT, parse=parse_submission,
    ),
    Operation(
        method="GET", path="/v1/jobs", function=find, summary="List jobs", tag="jobs", who=Who.OWNERS,
        query=FindQuery, body=NoBody, answers={200: Page[JobView]},
    ),
    Operation(
        method="POST", path="/v1/jobs/bulk", function=submit_bulk, summary="Submit many jobs", tag="jobs",
        who=Who.OWNERS, query=SubmitQuery, body=list[Submission], answers={201: Page[JobView], 200: DryRun},
        problems=(409,), keyed=True, limit=BATCH_LIMIT,
        takes=("application/json", NDJSON), parse=parse_bulk,
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}", function=get, summary="Show a job", tag="jobs", who=Who.OWNERS,
        query=WaitQuery, body=NoBody, answers={200: JobView}, problems=(404,),
    ),
    Operation(
        method="PATCH", path="/v1/jobs/{id}", function=edit, summary="Change a job that has not started", tag="jobs",
        who=Who.OWNERS, query=NoQuery, body=Edit, answers={200: JobView}, problems=(404, 409),
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}/checkpoint", function=checkpoint, summary="Show a job's checkpoint", tag="jobs",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={200: CheckpointView}, problems=(404,),
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}/attempts", function=attempts, summary="Show a job's tries", tag="jobs",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={200: Page[AttemptView]}, problems=(404,),
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}/events", function=events, summary="Show a job's history", tag="jobs",
        who=Who.OWNERS, query=EventsQuery, body=NoBody, answers={200: Page[EventView]}, problems=(404,),
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}/logs", function=logs, summary="Show a job's output", tag="jobs",
        who=Who.OWNERS, query=LogsQuery, body=NoBody, answers={200: Page[LogView]}, media=(EVENT_STREAM, TEXT), problems=(404,),
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}/results", function=results, summary="Show the results of an array", tag="jobs",
        who=Who.OWNERS, query=ResultsQuery, body=NoBody, answers={200: None}, media=(NDJSON,), problems=(404,),
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}/explain", function=explain, summary="Say why a job is not running", tag="jobs",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={200: Explanation}, problems=(404,),
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}/deliveries", function=deliveries, summary="Show calls of a hook", tag="jobs",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={200: Page[DeliveryView]}, problems=(404,),
    ),
    Operation(
        method="POST", path="/v1/jobs/{id}/deliveries/{delivery}/resend", function=resend, summary="Call a hook again",
        tag="jobs", who=Who.OWNERS, query=NoQuery, body=NoBody, answers={200: Page[DeliveryView]}, problems=(404,),
    ),
    Operation(
        method="POST", path="/v1/jobs/{id}/abort", function=abort, summary="Stop a job", tag="jobs", who=Who.OWNERS,
        query=WaitQuery, body=NoBody, answers={200: JobView, 202: JobView}, problems=(404, 409),
    ),
    Operation(
        method="POST", path="/v1/jobs/{id}/retry", function=retry, summary="Run a job again, as a new one", tag="jobs",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={201: JobView}, problems=(404, 409), keyed=True,
    ),
]  # fmt: skip
