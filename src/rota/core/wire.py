"""Jobs, pages and the rest as JSON: what `/v1` sends and the client reads. Times are RFC 3339, in UTC."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Raw, Struct

from rota.core.jobs import NULL, Attempt, Event, Failure, Job, LogChunk, Progress, Proof
from rota.core.states import State
from rota.core.times import rfc3339

T = TypeVar("T")


class JobView(Struct, kw_only=True):
    """A job in JSON. `display_state` is the state, or `retrying`, `aborting`."""

    id: str
    state: str
    display_state: str
    handler: str | None
    script: str | None
    image: str | None
    data: Raw
    args: Raw
    variables: dict[str, str] | None
    owner: str
    queue: str
    priority: int
    labels: dict[str, str]
    after: list[str]
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
    array: None = None


class Page(Struct, Generic[T], kw_only=True):
    """A part of a listing; `next` is the cursor of the part after it, or None."""

    items: list[T]
    next: str | None = None


class AttemptView(Struct, kw_only=True):
    """An attempt in JSON."""

    attempt: int
    worker: str
    started_at: str
    finished_at: str | None
    outcome: str | None
    exit_code: int | None
    error: Failure | None
    proof: Proof | None


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


def job_view(job: Job) -> JobView:
    """Render a job."""
    return JobView(
        id=job.id,
        state=job.state.value,
        display_state=display_state(job),
        handler=job.handler,
        script=job.script,
        image=None,
        data=job.data,
        args=job.args,
        variables=job.variables,
        owner=job.owner,
        queue=job.queue,
        priority=job.priority,
        labels=job.labels or {},
        after=job.after,
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
    )


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
