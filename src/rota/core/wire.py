"""Jobs, pages and the rest as JSON: what `/v1` sends and the client reads. Times are RFC 3339, in UTC."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from rota.core.arrays import left_s
from rota.core.checkpoints import Kept
from rota.core.jobs import (
    NULL,
    Array,
    Attempt,
    Event,
    Failure,
    InputResult,
    Job,
    Limits,
    LogChunk,
    Progress,
    Proof,
    RunOptions,
)
from rota.core.results import MapOver, ResultOf
from rota.core.states import State
from rota.core.times import rfc3339
from rota.core.waits import Condition, Join, join_of

T = TypeVar("T")
_NO_OPTIONS = RunOptions()


class ArrayView(Struct, kw_only=True):
    """How far an array is: `done` inputs are over, `failed` of them badly; `running` are being run now.

    `eta` is how many seconds the rest will take at the rate so far, None while nobody knows. `halted` is the rule that
    has ended it early.
    """

    inputs: int
    done: int
    failed: int
    running: int
    parallel: int | None
    halt: str | None
    halted: str | None
    eta: float | None


class CheckpointView(Struct, kw_only=True, omit_defaults=True):
    """What an attempt has left for the next one: which did, when, how many bytes. A route of its own has the value."""

    attempt: int
    at: str
    size: int
    value: Raw | UnsetType = UNSET


class JobView(Struct, kw_only=True):
    """A job in JSON. `display_state` is the state, or `retrying`, `aborting`. `array` is None unless it has inputs.

    `checkpoint` is told of one job, not in listings.
    `after` are the jobs that it waits for; `after_on` says of those that are not waited for to succeed, on which end of
    theirs it waits; `join` how many of these conditions must be met.
    """

    id: str
    state: str
    display_state: str
    handler: str | None
    script: str | None
    command: str | None
    image: str | None
    data: Raw
    args: Raw
    variables: dict[str, str | ResultOf] | None
    env: dict[str, str]
    secrets: list[str]
    limits: Limits
    pull: str | None
    network: str | None
    owner: str
    queue: str
    priority: int
    labels: dict[str, str]
    after: list[str]
    after_on: dict[str, Condition]
    join: Join
    map: MapOver | None
    run: str | None
    ref: str | None
    run_at: str
    submitted_at: str
    started_at: str | None
    finished_at: str | None
    attempt: int
    failures: int
    max_failures: int | None
    crashes: int
    timeout: float | None
    grace: float
    worker: str | None
    progress: Progress | None
    result: Raw
    error: Failure | None
    reason: str | None
    abort_requested_at: str | None
    confirmed: bool | None
    hook: str | None
    retry_of: str | None
    needs: dict[str, str | bool | int | float]
    limit_key: str | None
    slots: int
    unique_key: str | None
    traceparent: str | None
    array: ArrayView | None
    checkpoint: CheckpointView | None


class ResultView(Struct, kw_only=True):
    """One line of an array's results: an input and what became of it. `duration` is in seconds."""

    index: int
    input: Raw
    state: str
    exit_code: int | None
    duration: float
    stdout: str
    stderr: str
    result: Raw
    error: Failure | None
    outcome: str
    attempt: int


class Page(Struct, Generic[T], kw_only=True):
    """A part of a listing; `next` is the cursor of the part after it, or None."""

    items: list[T]
    next: str | None = None


class AttemptView(Struct, kw_only=True):
    """An attempt in JSON; of an array, a shard: `inputs` of them from `first`."""

    attempt: int
    worker: str
    started_at: str
    finished_at: str | None
    outcome: str | None
    exit_code: int | None
    error: Failure | None
    proof: Proof | None
    first: int | None
    inputs: int | None


class EventView(Struct, kw_only=True):
    """An event in JSON; `seq` is what `Last-Event-ID` takes."""

    seq: int
    at: str
    job: str
    owner: str
    kind: str
    state: str
    attempt: int
    by: str | None
    why: str | None


class LogView(Struct, kw_only=True):
    """A piece of output in JSON."""

    attempt: int
    n: int
    stream: str
    at: str
    text: str


def _moment(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)


def display_state(job: Job) -> str:
    """Return what people are shown: the state, or what it means at this moment."""
    if job.state is State.RUNNING and job.abort_requested_at is not None:
        return "aborting"
    if job.state is State.SCHEDULED and job.attempt > 0 and job.failures + job.crashes > 0:
        return "retrying"
    return job.state.value


def array_view(array: Array) -> ArrayView:
    """Render how far an array is."""
    eta = left_s(array)
    return ArrayView(
        inputs=array.inputs,
        done=array.done,
        failed=array.failed,
        running=array.live,
        parallel=array.parallel,
        halt=array.halt,
        halted=array.halted,
        eta=None if eta is None else round(eta, 3),
    )


def result_view(value: Raw, outcome: InputResult) -> ResultView:
    """Render an input and what became of it."""
    return ResultView(
        index=outcome.index,
        input=value,
        state=outcome.state.value,
        exit_code=outcome.exit_code,
        duration=round(outcome.duration_s, 6),
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        result=outcome.result,
        error=outcome.error,
        outcome=outcome.outcome.value,
        attempt=outcome.attempt,
    )


def job_view(job: Job) -> JobView:
    """Render a job."""
    options = job.options or _NO_OPTIONS
    return JobView(
        id=job.id,
        state=job.state.value,
        display_state=display_state(job),
        handler=job.handler,
        script=job.script if job.kind == "script" else None,
        command=job.script if job.kind == "command" else None,
        image=job.image,
        data=job.data,
        args=job.args,
        variables=job.variables,
        env=options.env,
        secrets=options.secrets,
        limits=options.limits,
        pull=options.pull if job.kind == "image" else None,
        network=options.network if job.kind == "image" else None,
        owner=job.owner,
        queue=job.queue,
        priority=job.priority,
        labels=job.labels or {},
        after=job.after,
        after_on=job.after_on,
        join=join_of(job.least),
        map=None if job.map is None else MapOver(job.map.over, job.map.path),
        run=job.run,
        ref=job.ref,
        run_at=rfc3339(job.run_at),
        submitted_at=rfc3339(job.submitted_at),
        started_at=_moment(job.started_at),
        finished_at=_moment(job.finished_at),
        attempt=job.attempt,
        failures=job.failures,
        max_failures=job.max_failures,
        crashes=job.crashes,
        timeout=job.timeout_s,
        grace=job.grace_s,
        worker=job.worker,
        progress=job.progress,
        result=NULL if job.result is None else job.result,
        error=job.error,
        reason=job.reason,
        abort_requested_at=_moment(job.abort_requested_at),
        confirmed=job.confirmed,
        hook=job.hook,
        retry_of=job.retry_of,
        needs=job.needs or {},
        limit_key=job.limit_key,
        slots=job.slots,
        unique_key=job.unique_key,
        traceparent=job.traceparent,
        array=None if job.array is None else array_view(job.array),
        checkpoint=None if job.checkpoint is None else checkpoint_view(job.checkpoint),
    )


def job_views(jobs: Iterable[Job]) -> list[JobView]:
    """Render jobs, in their order; one that is like the one before but for its id and data costs a copy of that one's view."""
    views: list[JobView] = []
    last: Job | None = None
    for job in jobs:
        if last is not None and replace(job, id=last.id, data=last.data, size=last.size) == last:
            views.append(replace(views[-1], id=job.id, data=job.data))
        else:
            views.append(job_view(job))
            last = job
    return views


def checkpoint_view(kept: Kept, *, value: bool = False) -> CheckpointView:
    """Render a checkpoint, with its value if that is asked for."""
    return CheckpointView(
        attempt=kept.attempt, at=rfc3339(kept.at), size=kept.size, value=kept.value if value else UNSET
    )  # fmt: skip


def attempt_view(attempt: Attempt) -> AttemptView:
    """Render an attempt."""
    return AttemptView(
        attempt=attempt.attempt,
        worker=attempt.worker,
        started_at=rfc3339(attempt.started_at),
        finished_at=_moment(attempt.finished_at),
        outcome=attempt.outcome,
        exit_code=attempt.exit_code,
        error=attempt.error,
        proof=attempt.proof,
        first=attempt.first,
        inputs=attempt.inputs,
    )


def event_view(event: Event) -> EventView:
    """Render an event."""
    return EventView(
        seq=event.seq,
        at=rfc3339(event.at),
        job=event.job,
        owner=event.owner,
        kind=event.kind,
        state=event.state.value,
        attempt=event.attempt,
        by=event.by,
        why=event.why,
    )


def log_view(chunk: LogChunk) -> LogView:
    """Render a piece of output."""
    return LogView(attempt=chunk.attempt, n=chunk.n, stream=chunk.stream, at=rfc3339(chunk.at), text=chunk.text)
