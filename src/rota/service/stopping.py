"""Stopping jobs, one or many, inside a transaction: what waits is canceled, what runs is asked to end."""

from __future__ import annotations

from collections.abc import Iterable

from rota.core.jobs import Job
from rota.core.states import WAITING, Reason, State
from rota.service import arrays
from rota.service.changes import cancel_jobs
from rota.service.signals import Effects
from rota.store.protocol import NewEvent, Tx


async def stop(tx: Tx, job: Job, effects: Effects, *, by: str | None, why: str | None = None) -> None:
    """Cancel a job (from `lock_jobs`) that waits, or ask for the abort of one that runs."""
    if job.state in WAITING:
        await cancel_jobs(tx, [job], Reason.REQUESTED, effects, by=by, why=why)
        return
    if job.abort_requested_at is None:
        await tx.request_aborts([job])
        await tx.append_events([NewEvent(job.id, job.owner, "abort_requested", State.RUNNING, job.attempt, by, why)])
    if job.array is not None:
        job.abort_requested_at = job.abort_requested_at or tx.now
        await arrays.abort(tx, job, effects)
    else:
        assert job.worker is not None
        effects.orders.add(job.worker)


async def stop_all(tx: Tx, jobs: Iterable[Job], effects: Effects, *, by: str | None, why: str | None) -> None:
    """Do to many jobs (from `lock_jobs`) what `stop` does to each; those that are over stay as they are."""
    jobs = list(jobs)
    await cancel_jobs(tx, [job for job in jobs if job.state in WAITING], Reason.REQUESTED, effects, by=by, why=why)
    running = [job for job in jobs if job.state is State.RUNNING]
    asked = [job for job in running if job.abort_requested_at is None and job.array is None]
    await tx.request_aborts(asked)
    await tx.append_events(
        [NewEvent(job.id, job.owner, "abort_requested", State.RUNNING, job.attempt, by, why) for job in asked]
    )
    effects.orders.update(job.worker for job in asked if job.worker is not None)
    for job in running:
        if job.array is not None:
            await stop(tx, job, effects, by=by, why=why)
