"""One transaction on PostgreSQL: the named statements of sql/*.sql, with rows turned into structs and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rota.core.forecasts import Pace
from rota.core.jobs import HandlerSpec, Job, Progress
from rota.core.settling import Settlement
from rota.core.states import FINAL, Reason, State
from rota.store.events import taken_out
from rota.store.pace_rows import paces_of
from rota.store.postgres.arrays import MOST_DELETED
from rota.store.postgres.handlers import HandlerTx
from rota.store.postgres.history import HistoryTx
from rota.store.postgres.keys import KeyTx
from rota.store.postgres.limits import LimitTx
from rota.store.postgres.listing import ListingTx
from rota.store.postgres.overview import OverviewTx
from rota.store.postgres.owners import OwnerTx
from rota.store.postgres.quotas import QuotaTx
from rota.store.postgres.runs import RunTx
from rota.store.postgres.schedules import ScheduleTx
from rota.store.postgres.statement import Row, array, columns
from rota.store.postgres.turns import TurnTx
from rota.store.postgres.uniques import UniqueTx
from rota.store.rows import (
    STATES,
    Claimed,
    Dependency,
    Overdue,
    RunningRow,
    Take,
    Wakeups,
    dependency_rows,
    locked_job_of,
    offer_of,
    raw,
    row_of,
    text,
)

_SLICE = 500  # jobs in a statement: PostgreSQL inserts some while the next are written down

_FEW = 20  # jobs in a statement that asks for the numbers of their events, too: of more, an answer less is nothing


class PostgresTx(
    ListingTx, RunTx, HistoryTx, KeyTx, LimitTx, QuotaTx, ScheduleTx, TurnTx, OwnerTx, OverviewTx, UniqueTx, HandlerTx
):
    """See store/protocol.py."""

    # -- jobs

    async def insert_jobs(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        for at in range(0, len(jobs), _SLICE):
            part = jobs[at : at + _SLICE]
            rows = [row_of(job) for job in part]
            self._inserted(part, rows)
            await self._run("insert_jobs", *columns(rows, 41))
        labels = [(name, value, job.id) for job in jobs if job.labels for name, value in job.labels.items()]
        self._held.update(job.id for job in jobs)  # nobody else sees them yet
        await self.insert_arrays([job for job in jobs if job.array is not None])
        if labels:
            await self._run("insert_labels", *columns(labels, 3))
        if dependencies := dependency_rows(jobs):
            await self._run("insert_dependencies", *columns(dependencies, 7))

    async def get_job(self, job: str) -> Job | None:
        return (await self.whole_jobs([job])).get(job)

    async def lock_jobs(self, jobs: Iterable[str]) -> dict[str, Job]:
        wanted = list(jobs)
        found = {row[0]: locked_job_of(tuple(row)) for row in await self._hold_jobs(wanted)}
        return {job: found[job] for job in wanted if job in found}

    async def claim_jobs(self, worker: str, takes: Sequence[Take]) -> list[list[Claimed]]:
        claimed: list[list[Claimed]] = [[] for _ in takes]
        if not takes:
            return claimed
        taken: list[Row] = []
        if any(take.jobs is None for take in takes):
            rows = [(*turn, n if jobs is None else 0, *_defaults(spec)) for turn, n, spec, jobs in takes]
            ask = self._all_numbered if sum(n for _, n, _, jobs in takes if jobs is None) <= _FEW else self._all
            taken += await ask("claim_job", *columns(rows, 7), worker, self.now, self.has_keys)
        if any(take.jobs for take in takes):
            chosen = [(*turn, *_defaults(spec), array(jobs or [])) for turn, _, spec, jobs in takes]
            ask = self._all_numbered if sum(len(take.jobs or ()) for take in takes) <= _FEW else self._all
            taken += await ask("claim_these", *columns(chosen, 7), worker, self.now)
        for n, _, job, *offer in sorted(taken, key=lambda row: (row[0], row[1], row[2])):
            made = offer_of(tuple(offer), job, takes[n - 1].spec)
            claimed[n - 1].append(made)
        for take, made_of_row in zip(takes, claimed, strict=True):
            turn = take.turn
            self._moved(turn.queue, turn.lane, "queued", "running", len(made_of_row), owner=turn.owner)
            for made in made_of_row:
                self._moved_in_run(made.run, "queued", "running")
        self._held.update(row[2] for row in taken)
        return claimed

    async def settle_jobs(self, settled: Sequence[tuple[Job, Settlement]]) -> None:
        if not settled:
            return
        rows = [
            (
                job.id, job.attempt, s.state.value, s.run_at, s.failures, s.crashes, s.finished_at,
                None if s.result is None else raw(s.result), text(s.error), s.reason, s.confirmed, s.state in FINAL,
            )
            for job, s in settled
        ]  # fmt: skip
        written = {job for (job,) in await self._all("settle_job", *columns(rows, 12))}
        for job, s in settled:
            if job.id in written:
                timed_out = job.kind == "pull" and s.reason is Reason.TIMED_OUT  # counted apart, for API C
                new = Reason.TIMED_OUT if timed_out else s.state.value
                self._moved(job.queue, job.lane, job.state, new, run=job.run, owner=job.owner, size=job.size)
                if s.state is State.QUEUED:
                    self._came(job.queue, job.lane, job.owner, job.priority)

    async def settle_known(self, worker: str, settled: Sequence[tuple[Job, Settlement]]) -> set[str]:
        if not settled:
            return set()
        rows = [(job.id, job.attempt, None if s.result is None else raw(s.result)) for job, s in settled]
        ask = self._all_numbered if len(rows) <= _FEW else self._all
        written = {job for (job,) in await ask("settle_known", *columns(rows, 3), worker, self.now)}
        self._held |= written
        for job, s in settled:
            if job.id in written:
                self._moved(job.queue, job.lane, job.state, s.state.value, run=job.run, owner=job.owner, size=job.size)
        return written

    async def move_jobs(self, moved: Sequence[tuple[Job, Settlement]]) -> None:
        if not moved:
            return
        await self._unhold([job for job, _ in moved])
        rows = []
        for job, s in moved:
            waiting_for = 0 if s.state in (State.QUEUED, State.SCHEDULED, State.SUCCEEDED) else job.waiting_for
            rows.append(
                (job.id, job.state.value, s.state.value, s.run_at, waiting_for, s.finished_at, text(s.error), s.reason)
            )
        written = {job for (job,) in await self._all("move_job", *columns(rows, 8))}
        for job, s in moved:
            if job.id in written:
                self._moved(
                    job.queue,
                    job.lane,
                    job.state,
                    s.state.value,
                    run=job.run,
                    why=s.reason,
                    owner=job.owner,
                    size=job.size,
                )
                if s.state is State.QUEUED:
                    self._came(job.queue, job.lane, job.owner, job.priority)

    async def request_aborts(self, jobs: Sequence[Job]) -> None:
        await self._run("request_abort", self.now, [job.id for job in jobs])

    async def edit_job(self, job: Job, *, priority: int, run_at: int, queue: str, state: str) -> None:
        await self._unhold([job])
        await self._run("edit_job", priority, run_at, queue, state, job.id, job.state.value)
        await self._run("edit_listed", queue, job.id)
        self._moved(job.queue, job.lane, job.state, None, run=job.run)
        self._moved(queue, job.lane, None, state, run=job.run)
        if state == State.QUEUED:
            self._came(queue, job.lane, job.owner, priority)

    async def _unhold(self, jobs: Sequence[Job]) -> None:
        if held := [job.id for job in jobs if job.held]:
            await self._all("release_jobs", array(held))

    async def due_jobs(self, limit: int) -> list[str]:
        return await self._taken("due_jobs", "take_due_jobs", self.now, limit)

    async def overdue_jobs(self, deadline: int, limit: int) -> list[Overdue]:
        return [Overdue(*row) for row in await self._all("overdue_jobs", deadline, limit)]

    async def dependents_of(self, jobs: Sequence[str]) -> list[Dependency]:
        return [Dependency(*row) for row in await self._all("dependents_of", array(jobs))]

    async def lock_free(self, jobs: Iterable[str]) -> dict[str, Job]:
        rows = await self._all("lock_free", array(sorted(set(jobs))))
        self._held.update(row[0] for row in rows)
        return {row[0]: locked_job_of(tuple(row)) for row in rows}

    async def tell(self, told: Sequence[Dependency], counted: Collection[str]) -> None:
        if told:
            rows = sorted((d.after, d.job, d.told, d.job in counted) for d in told)
            await self._run("tell", *columns(rows, 4))

    async def told_of(self, jobs: Sequence[str]) -> list[Dependency]:
        rows = await self._all("told_of", array(jobs))
        return [Dependency(after, job, on, STATES[told]) for after, job, on, told in rows]

    async def told_jobs(self, limit: int) -> list[str]:
        return [job for (job,) in await self._all("told_jobs", limit)]

    async def set_waits(self, waits: Sequence[tuple[str, int, int]]) -> None:
        if waits:
            await self._run("set_waits", *columns(waits, 3))

    async def unmet_of(self, job: str, limit: int) -> list[Dependency]:
        return [Dependency(after, job, on) for after, on in await self._all("unmet_of", job, limit)]

    async def held_lanes(self, workers: Sequence[str]) -> dict[str, int]:
        return Counter(lane for (lane,) in await self._all("held_lanes", list(workers)))

    async def recent_runs(self, limit: int) -> list[Pace]:
        return paces_of(await self._all("recent_runs", limit))

    async def over_before(self, at: int, limit: int) -> list[tuple[str, str, str, str]]:
        rows = await self._all("take_over_before" if self._writes else "over_before", at, limit)
        return [(job, queue, lane, state) for job, queue, lane, state in rows]

    async def delete_jobs(self, jobs: Sequence[tuple[str, str, str, str]]) -> bool:
        await self.flush()
        # After a job was listed, and before it was held, it may have become the base of another one, or one that refers
        # to its result may have been submitted.
        ids = [job for job, *_ in jobs]
        needed = {job for name in ("is_base", "is_referred") for (job,) in await self._all(name, ids)}
        whole, room = [], MOST_DELETED
        arrays = await self.arrays_of(ids)
        for job in jobs:
            if job[0] in needed:
                continue
            if job[0] in arrays:
                room -= await self.delete_results(job[0], room)
            if room <= 0:
                break
            whole.append(job)
        ids = [id_ for id_, *_ in whole]
        await self.delete_arrays(ids)
        await self._leave_events(set(ids))
        for name in _DELETIONS:
            await self._run(name, ids)
        gone = {id_ for (id_,) in await self._all("delete_job", ids)}
        for id_, queue, lane, state in whole:
            if id_ in gone:
                self._moved(queue, lane, state, None)
        return room > 0

    async def _leave_events(self, jobs: set[str]) -> None:
        """Take jobs out of the rows of events that they share with others."""
        trimmed, gone = taken_out(jobs, await self._all("rows_shared_by", sorted(jobs)))
        if trimmed:
            await self._run("trim_events", *columns(trimmed, 3))
        if gone:
            await self._run("drop_events", array(gone))

    async def wakeups(self) -> Wakeups:
        row = await self._one("wakeups")
        assert row is not None, "it always answers"
        return Wakeups(*row)

    # -- leases

    async def running_of(self, worker: str) -> list[RunningRow]:
        return (await self.held_by([worker]))[worker]

    async def held_by(self, workers: Sequence[str]) -> dict[str, list[RunningRow]]:
        held: dict[str, list[RunningRow]] = {worker: [] for worker in workers}
        named = array(list(held))
        for worker, *row in await self._all("running_of", named) + await self._all("shards_of_worker", named):
            held[worker].append(RunningRow(*row))
        return held

    async def unname_leases(self, leases: Sequence[tuple[str, int, int | None]]) -> None:
        if leases:
            await self._hold_jobs(job for job, _, _ in leases)
            await self._run("unname_lease", *columns(leases, 3))

    async def clamp_leases(self, until: int) -> None:
        await self._run("clamp_workers", until)
        if late := [job for (job,) in await self._all("late_leases", until)]:
            await self._hold_jobs(late)
            await self._run("clamp_unnamed", until, late)
        await self._run("clamp_shards", until)

    async def unnamed_leases(self, limit: int) -> list[str]:
        return await self._taken("unnamed_leases", "take_unnamed_leases", self.now, limit)

    async def set_progress(self, worker: str, notes: Sequence[tuple[str, int, Progress]]) -> list[str]:
        if not notes:
            return []
        last = {(job, attempt): text(progress) for job, attempt, progress in notes}
        await self._hold_jobs(job for job, _ in last)
        rows = [(*name, progress) for name, progress in last.items()]
        return [job for (job,) in await self._all("set_progress", *columns(rows, 3), worker)]

    async def holds(self, worker: str, job: str, attempt: int) -> bool:
        if await self._one("holds", job, attempt, worker) is not None:
            return True
        shard = await self.get_shard(job, attempt)
        return shard is not None and shard.worker == worker

    async def _taken(self, look: str, take: str, *values: Any) -> list[str]:
        """Return jobs; in a transaction that writes they are held, and what others hold is left out."""
        if not self._writes:
            return [job for (job,) in await self._all(look, *values)]
        jobs = [job for (job,) in await self._all(take, *values)]
        self._held.update(jobs)
        return jobs


def _defaults(spec: HandlerSpec | None) -> tuple[float | None, int]:
    """Return the timeout of a handler, and how often it may fail."""
    return (None, 1) if spec is None else (spec.timeout, spec.retries + 1)


_DELETIONS = (
    "delete_listed",
    "delete_labels",
    "delete_dependencies",
    "delete_dependents",
    "delete_attempts",
    "delete_events",
    "delete_logs",
    "delete_deliveries",
    "delete_uniques_of",
    "delete_checkpoints",
)
