"""What happens to a job. `settle` is the only place that turns an outcome into a state, for every path there is."""

from __future__ import annotations

from typing import assert_never

from msgspec import Raw, Struct, structs

from rota.core.arrays import parse_halt
from rota.core.errors import Conflict
from rota.core.jobs import CRASH_BUDGET, Array, Attempt, Failure, InputReport, Job, Report
from rota.core.states import FINAL, WAITING, Outcome, Reason, State
from rota.core.times import MAX_DELAY_S, SECOND


class Settlement(Struct, frozen=True, kw_only=True):
    """What a job becomes. Every field is written; `run_at` keeps its value unless the job is to run again later."""

    state: State
    run_at: int
    failures: int
    crashes: int
    finished_at: int | None = None
    result: Raw | None = None
    error: Failure | None = None
    reason: Reason | None = None
    confirmed: bool | None = None


def settle(job: Job, report: Report, now: int, jitter: float) -> Settlement:
    """Decide what a running job becomes, now that its attempt has ended with `report`.

    `jitter` in [0, 1) spreads retries. After a committed abort request the answer is `aborted` whatever the outcome was:
    never retried, and no dependent starts. Raises Conflict when the job is not running, or in another attempt.
    """
    if job.state is not State.RUNNING or job.attempt != report.attempt:
        raise Conflict(f"attempt {report.attempt} of job {job.id} is not running", job.state)
    if job.abort_requested_at is not None:
        return _final(job, State.ABORTED, now, reason=Reason.REQUESTED, error=report.error, confirmed=_proven(report))
    match report.outcome:
        case Outcome.SUCCEEDED:
            return _final(job, State.SUCCEEDED, now, result=report.result)
        case Outcome.ERRORED if report.refused:
            return _final(job, State.FAILED, now, reason=Reason.REFUSED, error=report.error, failures=job.failures + 1)
        case Outcome.ERRORED:
            return _charge(job, report, now, jitter, Reason.ERROR)
        case Outcome.TIMED_OUT:
            return _charge(job, report, now, jitter, Reason.TIMED_OUT)
        case Outcome.ABORTED:  # a worker that ended an attempt which nobody had asked it to end
            return _charge(job, report, now, jitter, Reason.ERROR)
        case Outcome.BAD_RESULT:
            return _final(
                job, State.FAILED, now, reason=Reason.BAD_RESULT, error=report.error, failures=job.failures + 1
            )
        case Outcome.LOST if not report.charged:
            return _again(job, State.QUEUED, job.run_at)
        case Outcome.LOST:
            return _crash(job, report, now, jitter, Reason.LOST)
        case Outcome.OUT_OF_MEMORY:
            return _crash(job, report, now, jitter, Reason.OUT_OF_MEMORY)
        case Outcome.INTERRUPTED:
            return _again(job, State.QUEUED, job.run_at)
        case Outcome.SNOOZED:
            return _later(job, now, report.retry_in_s or 0.0)
        case _:
            assert_never(report.outcome)


def is_plain(report: Report, settlement: Settlement) -> bool:
    """Say whether all that there is to know of an attempt stands in its job's row, so that it needs none of its own."""
    return (
        settlement.state is State.SUCCEEDED
        and report.outcome is Outcome.SUCCEEDED
        and report.exit_code is None
        and report.error is None
        and report.proof is None
    )


def tries_of(job: Job, written: list[Attempt]) -> list[Attempt]:
    """Return a job's attempts: those that were `written`, and the last one where that stands in the job's row (`is_plain`).

    The one that runs stands there too; it has no end and no outcome. Of an array all are shards.
    """
    if job.array is not None or job.worker is None or job.started_at is None:
        return written
    last = Attempt(attempt=job.attempt, worker=job.worker, started_at=job.started_at)
    if job.state is State.SUCCEEDED:
        if written and written[-1].attempt == job.attempt:
            return written
        last = structs.replace(last, finished_at=job.finished_at, outcome=Outcome.SUCCEEDED)
    elif job.state is not State.RUNNING:
        return written
    return [*written, last]


def settle_input(job: Job, report: InputReport, now: int, jitter: float) -> Settlement:
    """Decide what becomes of one input of a running array; `job` is the array with the input's own failures and crashes.

    What was stopped along with its array is `aborted`; a success that came first stays one.
    """
    if report.outcome is Outcome.SUCCEEDED:
        return _final(job, State.SUCCEEDED, now, result=report.result)
    stopped = job.abort_requested_at is not None or (job.array is not None and job.array.halted is not None)
    if stopped:
        return _final(job, State.ABORTED, now, error=report.error, confirmed=True)
    whole = Report(
        job=job.id, attempt=job.attempt, outcome=report.outcome, result=report.result, error=report.error,
        retry_in_s=report.retry_in_s, refused=report.refused,
    )  # fmt: skip
    return settle(structs.replace(job, abort_requested_at=None), whole, now, jitter)


def settle_array(job: Job, array: Array, now: int) -> Settlement | None:
    """Decide what a running array has become when no shard of it is leased; None: it goes on."""
    if job.abort_requested_at is not None:
        return _final(job, State.ABORTED, now, reason=Reason.REQUESTED, confirmed=array.proven)
    if array.halted is None and array.done < array.inputs:
        return None
    halted = f"; {array.halted} ended it before the others" if array.halted is not None else ""
    bad = parse_halt(array.halted).what != "success" if array.halted is not None else array.failed > 0
    if bad and array.failed:
        error = Failure(type="inputs", message=f"{array.failed} of {array.inputs} inputs failed{halted}")
        return _final(job, State.FAILED, now, reason=Reason.ERROR, error=error)
    return _final(job, State.SUCCEEDED, now)


def cancel(job: Job, now: int, reason: Reason, error: Failure | None = None) -> Settlement:
    """Decide what a waiting job becomes when it will never run. Raises Conflict when it runs or is over."""
    if job.state not in WAITING:
        raise Conflict(f"job {job.id} is {job.state}", job.state)
    return _final(job, State.CANCELED, now, reason=reason, error=error)


def refuse(job: Job, now: int, error: Failure) -> Settlement:
    """Decide what becomes of a job that cannot use the results that it refers to: it fails, and is not tried again."""
    return _final(job, State.FAILED, now, reason=Reason.REFUSED, error=error)


def pass_by(job: Job, now: int) -> Settlement:
    """Decide what becomes of a map over a list of nothing: it has succeeded."""
    return _final(job, State.SUCCEEDED, now)


def release(job: Job, now: int) -> Settlement:
    """Decide what a blocked job becomes now that all it waited for has succeeded."""
    due = job.run_at <= now
    return _again(job, State.QUEUED if due else State.SCHEDULED, job.run_at)


def check_over(job: Job) -> None:
    """Raise Conflict unless the job is over: only then can it be run again, as a new job."""
    if job.state not in FINAL:
        raise Conflict(f"job {job.id} is {job.state}; only a job that is over can be retried", job.state)


def _proven(report: Report) -> bool:
    """Say whether a worker saw the whole process tree end."""
    return report.outcome is not Outcome.LOST and not (report.proof and report.proof.survivors)


def _charge(job: Job, report: Report, now: int, jitter: float, reason: Reason) -> Settlement:
    failures = job.failures + 1
    if failures >= (job.max_failures or 1):
        return _final(job, State.FAILED, now, reason=reason, error=report.error, failures=failures)
    pause = report.retry_in_s if report.retry_in_s is not None else job.policy.delay_s(failures, jitter)
    return _later(job, now, pause, failures=failures, error=report.error)


def _crash(job: Job, report: Report, now: int, jitter: float, reason: Reason) -> Settlement:
    crashes = job.crashes + 1
    if crashes >= CRASH_BUDGET:
        return _final(job, State.FAILED, now, reason=reason, error=report.error, crashes=crashes)
    if crashes == 1:  # most crashes are the node's fault, not the job's: the first one costs no time
        return _again(job, State.QUEUED, job.run_at, crashes=crashes, error=report.error)
    return _later(job, now, job.policy.delay_s(crashes - 1, jitter), crashes=crashes, error=report.error)


def _final(
    job: Job,
    state: State,
    now: int,
    *,
    result: Raw | None = None,
    error: Failure | None = None,
    reason: Reason | None = None,
    confirmed: bool | None = None,
    failures: int | None = None,
    crashes: int | None = None,
) -> Settlement:
    return Settlement(
        state=state,
        run_at=job.run_at,
        failures=job.failures if failures is None else failures,
        crashes=job.crashes if crashes is None else crashes,
        finished_at=now,
        result=result,
        error=error,
        reason=reason,
        confirmed=confirmed,
    )


def _again(
    job: Job,
    state: State,
    run_at: int,
    *,
    crashes: int | None = None,
    failures: int | None = None,
    error: Failure | None = None,
) -> Settlement:
    return Settlement(
        state=state,
        run_at=run_at,
        failures=job.failures if failures is None else failures,
        crashes=job.crashes if crashes is None else crashes,
        error=error or job.error,
    )


def _later(
    job: Job,
    now: int,
    pause_s: float,
    *,
    failures: int | None = None,
    crashes: int | None = None,
    error: Failure | None = None,
) -> Settlement:
    if not pause_s > 0:  # nan too
        return _again(job, State.QUEUED, now, crashes=crashes, failures=failures, error=error)
    run_at = now + round(min(pause_s, MAX_DELAY_S) * SECOND)
    return _again(job, State.SCHEDULED, run_at, crashes=crashes, failures=failures, error=error)
