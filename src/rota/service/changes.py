"""How decided changes are written: the rows, the tries, the events, the jobs that waited, the hooks to call.

`core.settling` decides; this is the only place that writes what was decided. All of it inside the caller's transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from rota.core.jobs import Attempt, Failure, HookCall, Job, Report
from rota.core.results import Unusable
from rota.core.runs import Run, end_of, open_jobs, run_view
from rota.core.settling import Settlement, cancel, is_plain, pass_by, refuse, release
from rota.core.states import FINAL, Outcome, Reason, State
from rota.core.times import SECOND, rfc3339
from rota.core.waits import Verdict, count, meets, never
from rota.service.parents import inputs_of
from rota.service.quotas import check_quotas
from rota.service.signals import Effects, Over
from rota.store.protocol import Dependency, NewEvent, Tx

_MOST_IN_A_HOOK = 16_384  # bytes of a result that a hook's body carries; the convention asks for less than 20 kB in all
_MOST_COUNTED = 1000  # jobs that one transaction starts or cancels because of what has ended
_MOST_WAVES = 100  # of cancels that follow from cancels
_encode = msgspec.json.Encoder().encode


class Ended(Struct, frozen=True):
    """An attempt that is over: its job (from `lock_jobs`), what was reported, what was decided."""

    job: Job
    report: Report
    settlement: Settlement


async def end_attempts(tx: Tx, ended: Sequence[Ended], effects: Effects, *, settled: Sequence[Ended] = ()) -> None:
    """Write how attempts ended and what their jobs became; release or cancel the jobs that waited for them.

    Of those that are `settled` the store has what their jobs became.
    """
    await tx.settle_jobs([(e.job, e.settlement) for e in ended])
    ended = [*settled, *ended]
    written = [e for e in ended if not is_plain(e.report, e.settlement)]
    await tx.insert_attempts([(e.job.id, _attempt(tx.now, e)) for e in written])
    await tx.append_events([_ended_event(e) for e in ended])
    over = []
    for e in ended:
        effects.outcomes.append(e.report.outcome)
        if e.job.started_at is not None:
            effects.use(e.job.owner, tx.now - e.job.started_at)
        effects.freed[e.job.queue, e.job.lane] += 1
        effects.freed_owners[e.job.owner] += 1
        if e.job.limit_key is not None:
            effects.keys.add(e.job.limit_key)
        if e.settlement.state in FINAL:
            over.append((e.job, e.settlement))
        else:
            _note_move(e.job, e.settlement, effects)
    await conclude(tx, over, effects)


async def cancel_jobs(
    tx: Tx, jobs: Sequence[Job], reason: Reason, effects: Effects, *, by: str | None = None, why: str | None = None
) -> None:
    """Cancel waiting jobs (from `lock_jobs`), and all that wait for them."""
    over = await _cancel(tx, [(job, why) for job in jobs], reason, by, effects)
    await conclude(tx, over, effects)


async def insert_jobs(
    tx: Tx, jobs: Sequence[Job], effects: Effects, *, by: str | None = None, admitted: bool = False
) -> None:
    """Write new jobs, each in its first state, but for those that existed; `by` is who submits them.

    Raises QuotaFull when an owner has no room for them, unless they were `admitted` already.
    """
    jobs = [job for job in jobs if not job.existed]
    if jobs and not admitted:
        await check_quotas(tx, jobs)
    await tx.insert_jobs(jobs)
    events = [NewEvent(job.id, job.owner, "submitted", job.state, by=by, shared=True) for job in jobs]
    await tx.append_events(events)
    for job in jobs:
        effects.submitted[job.queue] += 1
        if job.state is State.QUEUED:
            effects.ready[job.queue, job.lane] += 1
        elif job.state is State.SCHEDULED:
            effects.wake(job.run_at)
        elif job.state in FINAL:
            effects.over.append(Over(job.id, job.state, queue=job.queue))
            if job.run is not None:
                effects.runs.add(job.run)
            if job.hook:
                await tx.insert_deliveries([_delivery(job, _refused(job))])


async def insert_run(tx: Tx, run: Run, jobs: Sequence[Job], *, by: str | None = None) -> None:
    """Write a new run, and mark its jobs, which are inserted after it, as its own."""
    for job in jobs:
        job.run = run.id
    await tx.insert_run(run)
    await tx.append_events([NewEvent(run.id, run.owner, "run_submitted", run.state, by=by)])


async def end_runs(tx: Tx, runs: Sequence[Run], effects: Effects) -> None:
    """Write of runs (from `lock_runs`) whose jobs are all over what they have come to."""
    over = [run for run in runs if run.finished_at is None and not open_jobs(run.counts)]
    for run in over:
        run.state, run.finished_at = end_of(run.counts, asked=run.abort_requested_at is not None), tx.now
        await tx.end_run(run)
        effects.over_runs.append(run.id)
    await tx.append_events([NewEvent(run.id, run.owner, "run_ended", run.state) for run in over])
    if calls := [_call_of_run(run) for run in over if run.hook]:
        await tx.insert_deliveries(calls)
        effects.wake(tx.now)


def _call_of_run(run: Run) -> tuple[str, str, str, str]:
    """Return (id, run, url, body) of the call that tells a run's end."""
    assert run.hook is not None and run.finished_at is not None
    body = {"type": f"run.{run.state}", "timestamp": rfc3339(run.finished_at), "data": run_view(run)}
    return f"msg_{run.id}_end", run.id, run.hook, _encode(body).decode()


def _refused(job: Job) -> Settlement:
    """Return the settlement that a job which was canceled at its submission stands for."""
    return Settlement(
        state=job.state, run_at=job.run_at, failures=0, crashes=0, finished_at=job.finished_at, error=job.error,
        reason=job.reason,
    )  # fmt: skip


async def conclude(tx: Tx, over: Sequence[tuple[Job, Settlement]], effects: Effects) -> None:
    """Do what follows from jobs that are over, wave by wave: those that waited for them start, or never will.

    What waits is not waited for: a job that somebody else holds is only told, as are all beyond a number that keeps the
    transaction short. Upkeep counts what they were told.
    """
    deliveries: list[tuple[str, str, str, str]] = []
    wave, waves, room = list(over), 0, _MOST_COUNTED
    while wave:
        effects.over += [_over(tx.now, job, settlement) for job, settlement in wave]
        effects.runs.update(job.run for job, _ in wave if job.run is not None)
        deliveries += [_delivery(job, settlement) for job, settlement in wave if job.hook]
        ends = {job.id: settlement.state for job, settlement in wave}
        told = [replace(each, told=ends[each.after]) for each in await tx.dependents_of(list(ends))]
        if not told:
            break
        dependents = list(dict.fromkeys(each.job for each in told))
        waves += 1
        held = await tx.lock_free(dependents[: room if waves <= _MOST_WAVES else 0])
        room -= len(held)
        await tx.tell(told, held)
        if len(held) < len(dependents):
            effects.wake(tx.now)
        earlier = await tx.told_of(list(held)) if held else []
        await tx.tell(earlier, held)
        wave = await _count(tx, held, told + earlier, effects)
    if deliveries:
        await tx.insert_deliveries(deliveries)
        effects.wake(tx.now)


async def count_told(tx: Tx, limit: int, effects: Effects) -> int:
    """Count what jobs were told while somebody else held them; return how many jobs that was."""
    jobs = await tx.told_jobs(limit)
    held = await tx.lock_jobs(jobs)
    told = await tx.told_of(jobs)
    await tx.tell(told, jobs)
    await conclude(tx, await _count(tx, held, told, effects), effects)
    return len(jobs)


async def _count(
    tx: Tx, jobs: Mapping[str, Job], told: Sequence[Dependency], effects: Effects
) -> list[tuple[Job, Settlement]]:
    """Start or cancel of these jobs, which are held, those whose fate is clear by what they were told; return who is over."""
    by_job: defaultdict[str, list[Dependency]] = defaultdict(list)
    for each in told:
        if each.job in jobs and jobs[each.job].state is State.BLOCKED:
            by_job[each.job].append(each)
    free: list[Job] = []
    lost: list[tuple[Job, str]] = []
    waits: list[tuple[str, int, int]] = []
    for id_, ends in by_job.items():
        job = jobs[id_]
        bad = [each for each in ends if each.told is not None and not meets(each.on, each.told)]
        stands = count(job.waiting_for, job.spare, met=len(ends) - len(bad), never=len(bad))
        if stands.verdict is Verdict.START:
            free.append(job)
        elif stands.verdict is Verdict.NEVER:
            assert bad[0].told is not None
            lost.append((job, never(bad[0].after, bad[0].on, bad[0].told)))
        else:
            waits.append((id_, stands.need, stands.spare))
    await tx.set_waits(waits)
    over = await _release(tx, free, effects)
    return over + await _cancel(tx, lost, Reason.DEPENDENCY, None, effects)


async def _cancel(
    tx: Tx, jobs: Sequence[tuple[Job, str | None]], reason: Reason, by: str | None, effects: Effects
) -> list[tuple[Job, Settlement]]:
    """Cancel jobs, each for its own reason in words."""
    canceled = [
        (job, cancel(job, tx.now, reason, Failure(type=reason.value, message=why) if why else None))
        for job, why in jobs
    ]
    await tx.move_jobs(canceled)
    effects.keys.update(job.limit_key for job, _ in jobs if job.limit_key is not None)
    await tx.append_events(
        [NewEvent(job.id, job.owner, "canceled", State.CANCELED, job.attempt, by, why) for job, why in jobs]
    )
    return canceled


async def _release(tx: Tx, jobs: Sequence[Job], effects: Effects) -> list[tuple[Job, Settlement]]:
    """Let jobs go on that have waited for enough; return who is over at once: maps over nothing, or over what is no list."""
    free = [(job, await _open(tx, job)) for job in jobs]
    await tx.move_jobs(free)
    await tx.append_events(
        [
            NewEvent(
                job.id, job.owner, s.state.value if s.state in FINAL else "released", s.state, job.attempt,
                why=s.error.message if s.error is not None and s.state in FINAL else None,
            )
            for job, s in free
        ]
    )  # fmt: skip
    for job, settlement in free:
        _note_move(job, settlement, effects)
    return [(job, settlement) for job, settlement in free if settlement.state in FINAL]


async def _open(tx: Tx, job: Job) -> Settlement:
    """Decide what becomes of a job that has waited for enough; a map gets its inputs."""
    if job.map is None:
        return release(job, tx.now)
    try:
        array = await inputs_of(tx, job)
    except Unusable as error:
        return refuse(job, tx.now, Failure(type="bad_map", message=str(error)))
    if array is None:
        return pass_by(job, tx.now)
    await tx.become_array(job, array)
    return release(job, tx.now)


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
    alike = settlement.state is State.SUCCEEDED
    return NewEvent(job.id, job.owner, kind, settlement.state, job.attempt, job.worker, why, shared=alike)


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
