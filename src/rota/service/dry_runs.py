"""Dry runs: a submission is made as for real, in a transaction that is then undone, and in it is asked what would become of it.

So it is checked by the same code, against the same rows, and no rule can hold for one and not for the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from rota.core.access import Caller
from rota.core.jobs import Job
from rota.core.states import State
from rota.core.times import rfc3339
from rota.service.changes import insert_jobs
from rota.service.explain import NOT_RUNNABLE, Why, explain
from rota.service.signals import Effects
from rota.store.protocol import Store, Tx

MOST_EXPLAINED = 100
_MOST_NAMED = 100  # jobs that would be canceled

Maker = Callable[[Tx, Effects], Awaitable[tuple[list[Job], bool]]]


class Forecast(Struct, frozen=True, kw_only=True):
    """What would become of a submitted job. `state` is the one that it would begin in, `run_at` when it would be due.

    `existing` is the id of a job that there is already, and that would be answered in its place. `runnable`: there is a live
    worker that could run it; else `reasons` say why not, as those of `explain` do, in their order. `ahead`, `starts_at` and
    `starts_in_s` are those of `explain`. The first 100 jobs of a bulk have all that; of the others it is null.
    """

    ref: str | None
    state: State
    run_at: str
    owner: str
    queue: str
    priority: int
    existing: str | None
    runnable: bool | None
    summary: str | None
    reasons: list[Why]
    ahead: int | None = None
    starts_at: str | None = None
    starts_in_s: float | None = None


class DryRun(Struct, frozen=True, kw_only=True):
    """What submissions would do, in their order. `cancels` are jobs that would be canceled: the new ones take their place."""

    dry_run: bool = True
    jobs: list[Forecast]
    cancels: list[str]


class _Undone(Exception):
    """Ends a transaction, so that nothing of it is kept."""

    def __init__(self, told: DryRun) -> None:
        super().__init__("a dry run is undone")
        self.told = told


async def rehearse(store: Store, make: Maker, refs: Sequence[str | None], caller: Caller) -> DryRun:
    """Make jobs, ask what would become of them, undo it all. Raises what `make` raises.

    `make` returns the jobs, and whether they are new: with a key that came before they are not. Nobody is told of anything.
    """

    async def write(tx: Tx) -> None:
        effects = Effects()
        jobs, new = await make(tx, effects)
        if new:
            await insert_jobs(tx, jobs, effects, by=caller.by)
        raise _Undone(await _told(tx, jobs, refs, effects, caller, new=new))

    try:
        await store.write(write)
    except _Undone as undone:
        return undone.told
    raise AssertionError("a dry run is undone")


async def _told(
    tx: Tx, jobs: Sequence[Job], refs: Sequence[str | None], effects: Effects, caller: Caller, *, new: bool
) -> DryRun:
    made = {job.id for job in jobs if new and not job.existed}
    names = {job.id: ref or f"[{at}]" for at, (job, ref) in enumerate(zip(jobs, refs, strict=True)) if job.id in made}
    forecasts = [
        await _forecast(tx, job, ref, names, caller, explained=at < MOST_EXPLAINED)
        for at, (job, ref) in enumerate(zip(jobs, refs, strict=True))
    ]
    return DryRun(jobs=forecasts, cancels=[over.job for over in effects.over if over.job not in made][:_MOST_NAMED])


async def _forecast(
    tx: Tx, job: Job, ref: str | None, names: Mapping[str, str], caller: Caller, *, explained: bool
) -> Forecast:
    forecast = Forecast(
        ref=ref, state=job.state, run_at=rfc3339(job.run_at), owner=job.owner, queue=job.queue, priority=job.priority,
        existing=None if job.id in names else job.id, runnable=None, summary=None, reasons=[],
    )  # fmt: skip
    found = await tx.get_job(job.id) if explained else None
    if found is None:  # not asked for, or pruned: an answer that was kept for a key outlives its jobs
        return forecast
    told = await explain(tx, found, caller)
    reasons = [_named(why, job.id, names) for why in told.reasons]
    return replace(
        forecast, state=found.state, reasons=reasons, summary=reasons[0].text,
        runnable=not any(why.code in NOT_RUNNABLE for why in reasons), ahead=told.ahead, starts_at=told.starts_at,
        starts_in_s=told.starts_in_s,
    )  # fmt: skip


def _named(why: Why, job: str, names: Mapping[str, str]) -> Why:
    """Return a reason that calls jobs which are not there by their refs, or places; what cannot be done has no way out."""
    if not names:
        return why
    way_out = None if why.way_out is None or any(id_ in why.way_out for id_ in {job, *_in(why, names)}) else why.way_out
    text = why.text
    for id_ in _in(why, names):
        text = text.replace(f"{id_} ({names[id_]})", names[id_]).replace(id_, names[id_])
    return replace(why, text=text, facts=_renamed(why.facts, names), way_out=way_out)


def _in(why: Why, names: Mapping[str, str]) -> set[str]:
    """Return the ids of these jobs that a reason names: they are its facts, or lie in its words."""
    words = f"{why.text} {why.way_out or ''}".replace(",", " ").split()
    return {word for word in words if word in names} | {
        v for v in why.facts.values() if isinstance(v, str) and v in names
    }


def _renamed(facts: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {key: names.get(value, value) if isinstance(value, str) else value for key, value in facts.items()}
