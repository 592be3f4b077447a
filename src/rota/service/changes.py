"""How decided changes are written: the rows, the tries, the events, the jobs that waited, the hooks to call.

`core.settling` decides; this is the only place that writes what was decided. All of it inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from rota.core.jobs import Attempt, Failure, HookCall, Job, Report
from rota.core.settling import Settlement, cancel, release
from rota.core.states import FINAL, Outcome, Reason, State
from rota.core.times import SECOND, rfc3339
from rota.service.signals import Effects, Over
from rota.store.protocol import NewEvent, Tx

_MOST_IN_A_HOOK = 16_384  # bytes of a result that a hook's body carries; the convention asks for less than 20 kB in all
_encode = msgspec.json.Encoder().encode


class Ended(Struct, frozen=True):
    """An attempt that is over: its job (from `lock_jobs`), what was reported, what was decided."""

    job: Job
    report: Report
    settlement: Settlement


async def end_attempts(tx: Tx, ended: Sequence[Ended], effects: Effects) -> None:
    """Write how attempts ended and what their jobs became; release or cancel the jobs that waited for them."""
    await tx.settle_jobs([(e.job, e.settlement) for e in ended])
    await tx.insert_attempts([(e.job.id, _attempt(tx.now, e)) for e in ended])
    await tx.append_events([_ended_event(e) for e in ended])
    over = []
    for e in ended:
        effects.outcomes.append(e.report.outcome)
        if e.settlement.state in FINAL:
            over.append((e.job, e.settlement))
        else:
            _note_move(e.job, e.settlement, effects)
    await conclude(tx, over, effects)


async def cancel_jobs(
    tx: Tx, jobs: Sequence[Job], reason: Reason, effects: Effects, *, by: str | None = None, why: str | None = None
) -> None:
    """Cancel waiting jobs (from `lock_jobs`), and all that wait for them."""
    over = await _cancel(tx, jobs, reason, by, why)
    await conclude(tx, over, effects)


async def insert_jobs(tx: Tx, jobs: Sequence[Job], effects: Effects, *, by: str | None = None) -> None:
    """Write new jobs, each in its first state, but for those that existed; `by` is who submits them."""
    jobs = [job for job in jobs if not job.existed]
    await tx.insert_jobs(jobs)
    events = [NewEvent(job.id, job.owner, "submitted", job.state, by=by) for job in jobs]
    await tx.append_events(events)
    for job in jobs:
        effects.submitted[job.queue] += 1
        if job.state is State.QUEUED:
            effects.ready[job.queue, job.lane] += 1
        elif job.state is State.SCHEDULED:
            effects.wake(job.run_at)
        elif job.state in FINAL:
            effects.over.append(Over(job.id, job.state, queue=job.queue))
            if job.hook:
                await tx.insert_deliveries([_delivery(job, _refused(job))])


def _refused(job: Job) -> Settlement:
    """Return the settlement that a job which was canceled at its submission stands for."""
    return Settlement(
        state=job.state, run_at=job.run_at, failures=0, crashes=0, finished_at=job.finished_at, error=job.error,
        reason=job.reason,
    )  # fmt: skip


async def conclude(tx: Tx, over: Sequence[tuple[Job, Settlement]], effects: Effects) -> None:
    """Do what follows from jobs that are over: first in, first out, so that a chain of cancels needs no recursion."""
    effects.over += [_over(tx.now, job, settlement) for job, settlement in over]
    deliveries = [_delivery(job, settlement) for job, settlement in over if job.hook]
    waited_for = await tx.waited_for([job.id for job, _ in over]) if over else ()
    waves = [(job.id, settlement.state) for job, settlement in over if job.id in waited_for]
    for id_, state in waves:  # grows while it is walked
        locked = await tx.lock_jobs(await tx.dependents_of(id_))
        waiting = [job for job in locked.values() if job.state is State.BLOCKED]
        if state is State.SUCCEEDED:
            await _release(tx, id_, waiting, effects)
            continue
        why = f"job {id_}, which this one waits for, is {state}"
        canceled = await _cancel(tx, waiting, Reason.DEPENDENCY, None, why)
        effects.over += [Over(job.id, State.CANCELED, queue=job.queue) for job in waiting]
        deliveries += [_delivery(job, settlement) for job, settlement in canceled if job.hook]
        waves += [(job.id, State.CANCELED) for job in waiting]
    if deliveries:
        await tx.insert_deliveries(deliveries)
        effects.wake(tx.now)


async def _cancel(
    tx: Tx, jobs: Sequence[Job], reason: Reason, by: str | None, why: str | None
) -> list[tuple[Job, Settlement]]:
    error = Failure(type=reason.value, message=why) if why else None
    canceled = [(job, cancel(job, tx.now, reason, error)) for job in jobs]
    await tx.move_jobs(canceled)
    await tx.append_events(
        [NewEvent(job.id, job.owner, "canceled", State.CANCELED, job.attempt, by, why) for job in jobs]
    )
    return canceled


async def _release(tx: Tx, after: str, jobs: Sequence[Job], effects: Effects) -> None:
    free = []
    for job in jobs:
        await tx.meet_dependency(after, job.id, job.waiting_for - 1)
        if job.waiting_for == 1:
            free.append((job, release(job, tx.now)))
    await tx.move_jobs(free)
    await tx.append_events([NewEvent(job.id, job.owner, "released", s.state, job.attempt) for job, s in free])
    for job, settlement in free:
        _note_move(job, settlement, effects)


def _note_move(job: Job, settlement: Settlement, effects: Effects) -> None:
    if settlement.state is State.QUEUED:
        effects.ready[job.queue, job.lane] += 1
    elif settlement.state is State.SCHEDULED:
        effects.wake(settlement.run_at)


def _over(now: int, job: Job, settlement: Settlement) -> Over:
    if job.state is not State.RUNNING or job.started_at is None:
        return Over(job.id, settlement.state, queue=job.queue)
    asked = job.abort_requested_at
    abort_s = None if asked is None else (now - asked) / SECOND
    return Over(job.id, settlement.state, (now - job.started_at) / SECOND, abort_s, job.queue)


def _attempt(now: int, ended: Ended) -> Attempt:
    job, report = ended.job, ended.report
    assert job.worker is not None and job.started_at is not None, "a running job has both"
    return Attempt(
        attempt=report.attempt,
        worker=job.worker,
        started_at=job.started_at,
        finished_at=now,
        outcome=report.outcome,
        exit_code=report.exit_code,
        error=report.error,
        proof=report.proof,
    )


def _ended_event(ended: Ended) -> NewEvent:
    job, report, settlement = ended.job, ended.report, ended.settlement
    kind = settlement.state.value if settlement.state in FINAL else report.outcome.value
    error = report.error if report.outcome is not Outcome.SUCCEEDED else None
    why = f"{error.type}: {error.message}"[:300] if error else None
    return NewEvent(job.id, job.owner, kind, settlement.state, job.attempt, job.worker, why)


def call_of(job: Job, call: HookCall, at: str) -> tuple[str, str, str, str]:
    """Return (id, job, url, body) of a call that a handler makes of its job's hook."""
    assert job.hook is not None
    body = {"type": "job.called", "timestamp": at, "data": {"id": job.id, "attempt": call.attempt, "data": call.data}}
    return f"msg_{job.id}_{call.attempt}_{call.n}", job.id, job.hook, _encode(body).decode()


def _delivery(job: Job, settlement: Settlement) -> tuple[str, str, str, str]:
    """Return (id, job, url, body) of the call that tells a job's end, in the shape of Standard Webhooks."""
    assert job.hook is not None and settlement.finished_at is not None
    result = settlement.result if settlement.result is not None else Raw(b"null")
    whole = len(bytes(result)) <= _MOST_IN_A_HOOK
    body = {
        "type": f"job.{settlement.state.value}",
        "timestamp": rfc3339(settlement.finished_at),
        "data": {
            "id": job.id,
            "state": settlement.state.value,
            "handler": job.handler,
            "owner": job.owner,
            "queue": job.queue,
            "attempt": job.attempt,
            "reason": settlement.reason,
            "result": result if whole else None,
            "result_truncated": not whole,
            "error": settlement.error and {"type": settlement.error.type, "message": settlement.error.message[:1000]},
            "submitted_at": rfc3339(job.submitted_at),
            "finished_at": rfc3339(settlement.finished_at),
        },
    }
    return f"msg_{job.id}_end", job.id, job.hook, _encode(body).decode()
