"""Rows as the service sees them, and jobs as rows. Shared by all stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from rota.core.access import Role
from rota.core.fairness import TurnName
from rota.core.jobs import (
    ARRAY_LANE,
    HELD_LANE,
    Array,
    Attempt,
    Failure,
    HandlerSpec,
    Job,
    Kind,
    Lease,
    Progress,
    Proof,
    RunOptions,
    WorkerHello,
)
from rota.core.limits import Limit, Rate
from rota.core.needs import slots_of
from rota.core.results import Mapped, ResultOf
from rota.core.retry import Backoff
from rota.core.schedules import Change, Fate, Firing, Missed, OpenFiring, Overlap, Schedule
from rota.core.states import Outcome, Reason, State
from rota.core.templates import render
from rota.core.waits import Condition

encode = msgspec.json.Encoder().encode
_failure = msgspec.json.Decoder(Failure).decode
_proof = msgspec.json.Decoder(Proof).decode
_progress = msgspec.json.Decoder(Progress).decode
_backoff = msgspec.json.Decoder(Backoff).decode
_options = msgspec.json.Decoder(RunOptions).decode
_texts = msgspec.json.Decoder(dict[str, str]).decode
_variables = msgspec.json.Decoder(dict[str, str | ResultOf]).decode
_mapped = msgspec.json.Decoder(Mapped).decode
_needs = msgspec.json.Decoder(dict[str, str | bool | int | float]).decode
_names = msgspec.json.Decoder(tuple[str, ...]).decode
_hello = msgspec.json.Decoder(WorkerHello).decode
STATES = {state.value: state for state in State}


class Query(Struct, frozen=True, kw_only=True):
    """Filters of a listing, all of which must hold. `labels` are (name, value); `cursor` is the last id of the page before.

    `from_id` and `below_id` bound the ids, and so the time of submission: from_id <= id < below_id. `error` is a text that
    the job's error has in it, whatever the case of its ASCII letters.
    """

    states: list[State] = []
    owner: str | None = None
    queue: str | None = None
    handler: str | None = None
    labels: list[tuple[str, str]] = []
    error: str | None = None
    from_id: str | None = None
    below_id: str | None = None
    api: str | None = None
    run: str | None = None
    cursor: str | None = None
    limit: int = 100


class Claimed(Struct, frozen=True, kw_only=True):
    """A claimed job: the lease for its worker, its budget (unless the job has one), and since when it could have run.

    One that `refers` to results has them to be filled in; then a script is not rendered yet, and its `variables` are here.
    """

    lease: Lease
    queue: str
    lane: str
    ready_at: int
    max_failures: int = 1
    run: str | None = None
    size: int = 0
    refers: bool = False
    variables: dict[str, str | ResultOf] | None = None
    limit_key: str | None = None


class Take(NamedTuple):
    """What a claim takes: the first `n` jobs of a row of turns, and their handler if the worker told of it.

    Where some keys have limits: these `jobs`; None: of the first `n` those that have no key.
    """

    turn: TurnName
    n: int
    spec: HandlerSpec | None
    jobs: Sequence[str] | None = None


class RunningRow(Struct, frozen=True):
    """An attempt that a worker holds, in so many of its slots.

    Of a `shard`, `halt` is its array's rule, and `halted` says that it has come true.
    """

    job: str
    attempt: int
    lease_until: int | None
    abort_requested_at: int | None
    deadline_at: int | None
    grace_s: float
    handler: str | None
    slots: int
    shard: int = 0
    halt: str | None = None
    halted: str | None = None


class Dependency(Struct, frozen=True):
    """`job` waits for the end `on` of `after`; `told` is the state that `after` has ended in, if it has."""

    after: str
    job: str
    on: Condition
    told: State | None = None


class NextSchedule(Struct, frozen=True):
    """A schedule and its next slot."""

    id: str
    name: str
    rule: str
    timezone: str
    next_at: int


class Overdue(Struct, frozen=True):
    """An attempt whose deadline has passed."""

    job: str
    attempt: int
    worker: str
    deadline_at: int
    grace_s: float
    kind: Kind


class Wakeups(Struct, frozen=True):
    """When upkeep has something to do next, by kind; a time that has passed is work to do now.

    `waits` says that a slot of a schedule waits for a job, `told` that jobs have not been told yet what they waited for,
    `held` that jobs are held because their key is full.
    """

    due: int | None
    deadline: int | None
    lease: int | None
    delivery: int | None
    slot: int | None
    waits: bool
    told: bool
    held: bool = False


class WorkerRow(Struct, frozen=True):
    """A worker as the store knows it. `gone_at` is None while it is present."""

    id: str
    hello: WorkerHello
    registered_at: int
    beat_at: int
    lease_until: int
    draining: bool
    gone_at: int | None
    gone_why: str | None


class CountRow(Struct, frozen=True):
    """How many jobs of a queue and a lane are in a state."""

    queue: str
    lane: str
    state: State
    n: int


class NewEvent(Struct, frozen=True):
    """A change to record.

    `shared`: when it was stands in the job's row, or its attempt's (it was submitted, started, or has succeeded), so that
    the event may have one row with others of its kind (store/events.py).
    """

    job: str
    owner: str
    kind: str
    state: State
    attempt: int = 0
    by: str | None = None
    why: str | None = None
    shared: bool = False


class Try(Struct, frozen=True, omit_defaults=True):
    """One try to deliver a hook. `status` is the HTTP status, or None with an `error`."""

    at: int
    status: int | None = None
    error: str | None = None
    took_s: float = 0.0


class DeliveryRow(Struct, kw_only=True):
    """A call of a hook: due at `next_at`, or over at `done_at` (`gave_up`: it never worked)."""

    id: str
    job: str
    url: str
    body: str
    tries: int = 0
    next_at: int | None = None
    done_at: int | None = None
    gave_up: bool = False
    log: list[Try] = []


class QueueRow(Struct, frozen=True):
    """A queue that something was set for; `paused_at` is None while it is not paused, `weight` while none is set."""

    queue: str
    paused_at: int | None = None
    paused_by: str | None = None
    weight: float | None = None


class Unique(Struct, frozen=True):
    """A unique key of an owner, the job that has it, and until when; None: while that job is not over."""

    owner: str
    key: str
    job: str
    until: int | None


class TokenRow(Struct, frozen=True):
    """A token as it is kept: `hash` is all that is known of its text. `core.access.Caller` explains the rest."""

    id: str
    hash: str
    role: Role
    name: str
    owner: str | None
    queues: tuple[str, ...]
    allow: tuple[str, ...]
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None


class NewAudit(Struct, frozen=True):
    """What somebody did, or tried: which operation, on what, how often, and how it was answered. Never what was sent."""

    token: str | None
    role: Role
    owner: str | None
    address: str
    action: str
    target: str
    status: int
    n: int = 1


class AuditRow(Struct, frozen=True):
    """One line of the trail; `seq` grows."""

    seq: int
    at: int
    n: int
    token: str | None
    role: Role
    owner: str | None
    address: str
    action: str
    target: str
    status: int


class SeriesRow(Struct, frozen=True):
    """What a server has counted in `step` seconds from `at` on, of a queue or ('') of all; `sums` is JSON."""

    step: int
    queue: str
    at: int
    server: str
    sums: str


class Tried(Struct, frozen=True):
    """An attempt as those see it who look at many: `finished_at` and `outcome` are None while it runs.

    Of a shard `first` and `inputs` are its range; an array has `inputs` alone. `error` is the beginning of its JSON. `slots` is
    how many it takes while it runs.
    """

    job: str
    attempt: int
    worker: str | None
    started_at: int | None
    finished_at: int | None
    outcome: str | None
    first: int | None
    inputs: int | None
    state: str
    kind: Kind
    handler: str | None
    owner: str
    queue: str
    error: str | None
    slots: int = 1


ERROR_SHOWN = 1000  # characters of an error's JSON in a `Tried`


def dependency_rows(jobs: Sequence[Job]) -> list[tuple[str, str, int, str, str | None, bool, bool]]:
    """Return the columns that `insert_dependencies` writes: (after, job, position, condition, told, met, refers)."""
    return [
        (after, job.id, at, job.on(after), told and told.value, told is not None, after in job.referred)
        for job in jobs
        for at, after in enumerate(job.after)
        for told in (job.told.get(after),)
    ]


def counted_in_run(run: str, old: str | None, new: str | None, why: str | None) -> dict[tuple[str, str], int]:
    """Return by how much the counters of a run change; what somebody has canceled by hand is counted apart."""
    name = Reason.REQUESTED.value if new == State.CANCELED.value and why == Reason.REQUESTED else new
    if name == Reason.TIMED_OUT.value:
        name = State.FAILED.value
    changes = {} if name is None else {(run, name): 1}
    if old is not None:
        changes[run, old] = changes.get((run, old), 0) - 1
    return changes


def text(value: Any) -> str | None:
    """Return a struct as JSON text for a column, or None."""
    return None if value is None else encode(value).decode()


def raw(value: Raw) -> str:
    """Return JSON that came from outside as text for a column."""
    return bytes(value).decode()


def row_of(job: Job) -> tuple[Any, ...]:
    """Return the columns that `insert_jobs` writes."""
    return (
        job.id, job.state.value, job.kind, job.lane, job.handler, job.script, raw(job.data), raw(job.args),
        text(job.variables), job.owner, job.queue, job.priority, text(job.labels), job.waiting_for, job.run_at,
        job.submitted_at, job.max_failures, job.timeout_s, job.grace_s, text(job.backoff), job.hook, job.retry_of,
        job.finished_at, text(job.error), job.reason, job.image, text(job.options), job.api,
        None if job.array is None else job.array.inputs, job.traceparent, job.run, job.ref, job.least, job.spare,
        text(job.map), job.refers, job.unique_key, text(job.needs or None), job.size, job.limit_key,
        job.slots if job.slots > 1 else None,
    )  # fmt: skip


def job_of(row: tuple[Any, ...], after: Sequence[tuple[str, Condition]]) -> Job:
    """Build a whole job from `get_job`'s columns, and what it waits for."""
    return Job(
        id=row[0], state=STATES[row[1]], kind=row[2], handler=row[3], script=row[4], data=Raw(row[5]), args=Raw(row[6]),
        variables=_variables(row[7]) if row[7] else None, owner=row[8], queue=row[9], priority=row[10],
        labels=_texts(row[11]) if row[11] else None, after=[job for job, _ in after], waiting_for=row[12], run_at=row[13],
        submitted_at=row[14], started_at=row[15], finished_at=row[16], attempt=row[17], failures=row[18], crashes=row[19],
        max_failures=row[20],
        timeout_s=row[21], grace_s=row[22], backoff=_backoff(row[23]) if row[23] else None, worker=row[24],
        deadline_at=row[25], progress=_progress(row[26]) if row[26] else None,
        result=Raw(row[27]) if row[27] is not None else None, error=_failure(row[28]) if row[28] else None,
        reason=Reason(row[29]) if row[29] else None, abort_requested_at=row[30],
        confirmed=None if row[31] is None else bool(row[31]), hook=row[32], retry_of=row[33], image=row[34],
        options=_options(row[35]) if row[35] else None, api=row[36], array=row[37] and Array(inputs=row[37]),
        open=bool(row[38]), traceparent=row[39], run=row[40], ref=row[41], least=row[42], spare=row[43],
        map=_mapped(row[44]) if row[44] else None, refers=bool(row[45]), unique_key=row[46],
        needs=_needs(row[47]) if row[47] else None, size=row[48] or 0, limit_key=row[49],
        slots=row[50] or 1,
        after_on={job: on for job, on in after if on != "succeeded"},
    )  # fmt: skip


def locked_job_of(row: tuple[Any, ...]) -> Job:
    """Build a job without payloads from `lock_job`'s columns."""
    return Job(
        id=row[0], state=STATES[row[1]], kind=row[2], handler=row[3], owner=row[4], queue=row[5], priority=row[6],
        waiting_for=row[7], run_at=row[8], submitted_at=row[9], started_at=row[10], attempt=row[11], failures=row[12],
        crashes=row[13], max_failures=row[14], timeout_s=row[15], grace_s=row[16],
        backoff=_backoff(row[17]) if row[17] else None, worker=row[18], deadline_at=row[19],
        error=_failure(row[20]) if row[20] else None, abort_requested_at=row[21], hook=row[22], api=row[23],
        array=row[24] and Array(inputs=row[24]), open=bool(row[25]), run=row[26], spare=row[27],
        map=_mapped(row[28]) if row[28] else None, needs=_needs(row[29]) if row[29] else None,
        size=row[30] or 0, limit_key=row[31], held=row[32].startswith(HELD_LANE), slots=row[33] or 1,
    )  # fmt: skip


def offer_of(row: tuple[Any, ...], job: str, spec: HandlerSpec | None) -> Claimed:
    """Build what a worker gets of a job, as its next attempt, from `offer_job`'s columns and the handler's own defaults."""
    (
        attempt,
        kind,
        handler,
        script,
        data,
        args,
        variables,
        owner,
        timeout,
        grace,
        hook,
        queue,
        lane,
        ready,
        image,
        options,
        submitted,
        traceparent,
        run,
        refers,
        size,
        *keys,
    ) = row
    if timeout is None and spec is not None:
        timeout = spec.timeout
    if kind == "script" and not refers:
        script = render(script, _texts(variables) if variables else {})
    lease = Lease(
        job=job, attempt=attempt + 1, kind=kind, handler=handler, script=script, data=Raw(data), args=Raw(args), owner=owner,
        timeout_s=timeout, grace_s=grace, hook=hook, image=image, options=_options(options) if options else None, queue=queue,
    )  # fmt: skip
    if (
        traceparent is not None
    ):  # what runs at once belongs to the trace of its submitter, what runs later is linked to it
        at_once = ready <= submitted and (attempt == 0 or lane.startswith(ARRAY_LANE))  # each shard is an attempt
        lease = replace(lease, **{"traceparent" if at_once else "trace_link": traceparent})
    if (slots := slots_of(lane)) > 1:
        lease = replace(lease, slots=slots)
    retries = 0 if spec is None else spec.retries
    return Claimed(
        lease=lease,
        queue=queue,
        lane=lane,
        ready_at=ready,
        max_failures=retries + 1,
        run=run,
        size=size or 0,
        refers=bool(refers),
        variables=_variables(variables) if refers and variables else None,
        limit_key=keys[0] if keys else None,
    )


def attempt_of(row: tuple[Any, ...]) -> Attempt:
    """Build an attempt from `attempts_of`'s columns."""
    return Attempt(
        attempt=row[0], worker=row[1], started_at=row[2], finished_at=row[3], outcome=Outcome(row[4]), exit_code=row[5],
        error=_failure(row[6]) if row[6] else None, proof=_proof(row[7]) if row[7] else None, first=row[8], inputs=row[9],
    )  # fmt: skip


def worker_of(row: tuple[Any, ...]) -> WorkerRow:
    """Build a worker from `get_worker`'s columns."""
    return WorkerRow(row[0], _hello(row[1]), row[2], row[3], row[4], bool(row[5]), row[6], row[7])


def token_of(row: tuple[Any, ...]) -> TokenRow:
    """Build a token from `tokens`' columns."""
    id_, hash_, role, name, owner, queues, allow, *times = row
    return TokenRow(id_, hash_, Role(role), name, owner, _names(queues), _names(allow), *times)


def audit_of(row: tuple[Any, ...]) -> AuditRow:
    """Build a line of the trail from `audit_before`'s columns."""
    seq, at, n, token, role, *rest = row
    return AuditRow(seq, at, n, token, Role(role), *rest)


def limit_row(limit: Limit) -> tuple[Any, ...]:
    """Return the columns of a limit."""
    rate = (None, None, None) if limit.rate is None else (limit.rate.starts, limit.rate.period, limit.rate.burst)
    return limit.kind, limit.name, limit.concurrency, *rate, limit.declared


def limit_of(row: tuple[Any, ...]) -> Limit:
    """Build a limit from `get_limits`' columns."""
    kind, name, concurrency, starts, period, burst, declared = row
    rate = None if starts is None else Rate(starts, period, burst)
    return Limit(kind=kind, name=name, concurrency=concurrency, rate=rate, declared=bool(declared))


def schedule_row(s: Schedule) -> tuple[Any, ...]:
    """Return all columns of a schedule but its id."""
    return (
        s.name, s.owner, s.rule, s.timezone, raw(s.job), s.missed.value, s.missed_limit, s.overlap.value, s.jitter_s,
        s.starts_at, s.ends_at, s.paused_at, s.seen, s.next_at, s.waiting, s.zone_mark, s.created_at, s.updated_at, s.revision,
        s.origin, s.deployed,
    )  # fmt: skip


def schedule_of(row: tuple[Any, ...]) -> Schedule:
    """Build a schedule from `get_schedules`' columns."""
    return Schedule(
        id=row[0], name=row[1], owner=row[2], rule=row[3], timezone=row[4], job=Raw(row[5]), missed=Missed(row[6]),
        missed_limit=row[7], overlap=Overlap(row[8]), jitter_s=row[9], starts_at=row[10], ends_at=row[11], paused_at=row[12],
        seen=row[13], next_at=row[14], waiting=row[15], zone_mark=row[16], created_at=row[17], updated_at=row[18],
        revision=row[19], origin=row[20], deployed=row[21],
    )  # fmt: skip


def firing_row(f: Firing) -> tuple[Any, ...]:
    """Return the columns that `insert_firings` writes."""
    return f.schedule, f.slot, f.at, f.fate.value, f.job, f.why, int(f.manual), int(f.open)


def firing_of(row: tuple[Any, ...]) -> Firing:
    """Build a firing from `firings_of`'s columns."""
    schedule, slot, at, fate, job, why, manual = row
    return Firing(schedule=schedule, slot=slot, at=at, fate=Fate(fate), job=job, why=why, manual=bool(manual))


def open_firing_of(row: tuple[Any, ...]) -> OpenFiring:
    """Build an open firing from `open_firings`' columns."""
    schedule, slot, job, state = row
    return OpenFiring(schedule, slot, job, None if state is None else STATES[state])


def change_of(schedule: str, row: tuple[Any, ...]) -> Change:
    """Build a change from `schedule_changes`' columns."""
    revision, at, by, what, settings = row
    return Change(schedule=schedule, revision=revision, at=at, by=by, what=what, settings=Raw(settings))
