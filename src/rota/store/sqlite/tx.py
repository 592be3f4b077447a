"""One transaction on SQLite: the named statements of sql/*.sql, with rows turned into structs and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate

import msgspec

from rota.core.forecasts import Pace
from rota.core.jobs import Attempt, Event, HandlerSpec, Job, LogChunk, Progress, WorkerHello
from rota.core.settling import Settlement
from rota.core.states import FINAL, Reason, State
from rota.core.times import SECOND
from rota.store.events import SharedRow, is_there, of_job, rows_of, spread, taken_out
from rota.store.pace_rows import paces_of
from rota.store.rows import (
    STATES,
    Claimed,
    CountRow,
    DeliveryRow,
    Dependency,
    NewEvent,
    Overdue,
    RunningRow,
    Take,
    Try,
    Wakeups,
    WorkerRow,
    attempt_of,
    dependency_rows,
    encode,
    job_of,
    locked_job_of,
    offer_of,
    raw,
    row_of,
    text,
    worker_of,
)
from rota.store.sqlite.arrays import MOST_DELETED
from rota.store.sqlite.handlers import HandlerTx
from rota.store.sqlite.keys import KeyTx
from rota.store.sqlite.limits import LimitTx
from rota.store.sqlite.listing import ListingTx
from rota.store.sqlite.overview import OverviewTx
from rota.store.sqlite.owners import OwnerTx
from rota.store.sqlite.quotas import QuotaTx
from rota.store.sqlite.runs import RunTx
from rota.store.sqlite.schedules import ScheduleTx
from rota.store.sqlite.tokens import TokenTx
from rota.store.sqlite.turns import TurnTx
from rota.store.sqlite.uniques import UniqueTx

_spec = msgspec.json.Decoder(HandlerSpec).decode
_tries = msgspec.json.Decoder(list[Try]).decode


class SqliteTx(
    ListingTx, RunTx, KeyTx, LimitTx, QuotaTx, ScheduleTx, TokenTx, TurnTx, OwnerTx, OverviewTx, UniqueTx, HandlerTx
):
    """See store/protocol.py. Every method is `async` for the protocol's sake and none ever suspends."""

    # -- jobs

    async def insert_jobs(self, jobs: Sequence[Job]) -> None:
        rows = [row_of(job) for job in jobs]
        self._inserted(jobs, rows)
        labels = [(name, value, job.id) for job in jobs if job.labels for name, value in job.labels.items()]
        self._many("insert_jobs", rows)
        self.insert_arrays([job for job in jobs if job.array is not None])
        if labels:
            self._many("insert_labels", labels)
        if dependencies := dependency_rows(jobs):
            self._many("insert_dependencies", dependencies)

    async def get_job(self, job: str) -> Job | None:
        row = self._one("get_job", job)
        if row is None:
            return None
        found = job_of(row, [(after, on) for after, on in self._all("after_of", job)])
        if found.array is not None:
            found.array = await self.get_array(job)
        return found

    async def whole_jobs(self, jobs: Sequence[str]) -> dict[str, Job]:
        return {job: found for job in jobs if (found := await self.get_job(job)) is not None}

    async def lock_jobs(self, jobs: Iterable[str]) -> dict[str, Job]:
        found = {}
        execute, sql = self._con.execute, self._sql["lock_job"]
        for job in jobs:
            row = execute(sql, (job,)).fetchone()
            if row is not None:
                found[job] = locked_job_of(row)
        return found

    async def claim_jobs(self, worker: str, takes: Sequence[Take]) -> list[list[Claimed]]:
        claimed: list[list[Claimed]] = [[] for _ in takes]
        rows = []
        now = self.now
        for (turn, n, spec, chosen), made in zip(takes, claimed, strict=True):
            wanted = [job for _, job in self._heads(turn, n)] if chosen is None else chosen
            for job, *row in self._all("offer_jobs", encode(wanted).decode()) if wanted else ():
                if chosen is None and self.has_keys and row[-1] is not None:
                    continue
                offer = offer_of(tuple(row), job, spec)
                deadline = None if offer.lease.timeout_s is None else now + round(offer.lease.timeout_s * SECOND)
                rows.append(
                    (offer.lease.attempt, worker, now, offer.lease.timeout_s, offer.max_failures, deadline, job)
                )
                made.append(offer)
                self._moved(turn.queue, turn.lane, "queued", "running", run=offer.run, owner=turn.owner)
        self._many("claim_job", rows)
        return claimed

    async def settle_jobs(self, settled: Sequence[tuple[Job, Settlement]]) -> None:
        rows = []
        for job, s in settled:
            rows.append((
                s.state.value, s.run_at, s.failures, s.crashes, s.finished_at, None if s.result is None else raw(s.result),
                text(s.error), s.reason, s.confirmed, s.state in FINAL, job.id, job.attempt,
            ))  # fmt: skip
            timed_out = job.kind == "pull" and s.reason is Reason.TIMED_OUT  # counted apart, for API C
            new = Reason.TIMED_OUT if timed_out else s.state.value
            self._moved(job.queue, job.lane, job.state, new, run=job.run, owner=job.owner, size=job.size)
            if s.state is State.QUEUED:
                self._came(job.queue, job.lane, job.owner, job.priority)
        self._many("settle_job", rows)

    async def settle_known(self, worker: str, settled: Sequence[tuple[Job, Settlement]]) -> set[str]:
        execute, sql, written = self._con.execute, self._sql["settle_known"], set()
        for job, s in settled:
            result = None if s.result is None else raw(s.result)
            if execute(sql, (s.finished_at, result, job.id, job.attempt, worker)).rowcount:
                written.add(job.id)
                self._moved(job.queue, job.lane, job.state, s.state.value, run=job.run, owner=job.owner, size=job.size)
        return written

    async def move_jobs(self, moved: Sequence[tuple[Job, Settlement]]) -> None:
        self._many("release_jobs", [(job.id,) for job, _ in moved if job.held])
        rows = []
        for job, s in moved:
            waiting_for = 0 if s.state in (State.QUEUED, State.SCHEDULED, State.SUCCEEDED) else job.waiting_for
            rows.append(
                (s.state.value, s.run_at, waiting_for, s.finished_at, text(s.error), s.reason, job.id, job.state.value)
            )
            self._moved(
                job.queue, job.lane, job.state, s.state.value, run=job.run, why=s.reason, owner=job.owner, size=job.size
            )
            if s.state is State.QUEUED:
                self._came(job.queue, job.lane, job.owner, job.priority)
        self._many("move_job", rows)

    async def request_aborts(self, jobs: Sequence[Job]) -> None:
        self._many("request_abort", [(self.now, job.id) for job in jobs])

    async def edit_job(self, job: Job, *, priority: int, run_at: int, queue: str, state: str) -> None:
        if job.held:
            self._run("release_jobs", job.id)
        self._run("edit_job", priority, run_at, queue, state, job.id, job.state.value)
        self._moved(job.queue, job.lane, job.state, None, run=job.run)
        self._moved(queue, job.lane, None, state, run=job.run)
        if state == State.QUEUED:
            self._came(queue, job.lane, job.owner, priority)

    async def due_jobs(self, limit: int) -> list[str]:
        return [job for (job,) in self._all("due_jobs", self.now, limit)]

    async def overdue_jobs(self, deadline: int, limit: int) -> list[Overdue]:
        return [Overdue(*row) for row in self._all("overdue_jobs", deadline, limit)]

    async def dependents_of(self, jobs: Sequence[str]) -> list[Dependency]:
        return [Dependency(*row) for row in self._all("dependents_of", encode(jobs).decode())]

    async def lock_free(self, jobs: Iterable[str]) -> dict[str, Job]:
        return await self.lock_jobs(jobs)

    async def tell(self, told: Sequence[Dependency], counted: Collection[str]) -> None:
        self._many("tell", [(d.told, d.job in counted, d.after, d.job) for d in told])

    async def told_of(self, jobs: Sequence[str]) -> list[Dependency]:
        return [
            Dependency(after, job, on, STATES[told])
            for after, job, on, told in self._all("told_of", encode(jobs).decode())
        ]

    async def told_jobs(self, limit: int) -> list[str]:
        return [job for (job,) in self._all("told_jobs", limit)]

    async def set_waits(self, waits: Sequence[tuple[str, int, int]]) -> None:
        self._many("set_waits", [(need, spare, job) for job, need, spare in waits])

    async def unmet_of(self, job: str, limit: int) -> list[Dependency]:
        return [Dependency(after, job, on) for after, on in self._all("unmet_of", job, limit)]

    async def held_lanes(self, workers: Sequence[str]) -> dict[str, int]:
        rows = self._con.execute(self._sql["held_lanes"], {"workers": encode(workers).decode()})
        return Counter(lane for (lane,) in rows)

    async def recent_runs(self, limit: int) -> list[Pace]:
        return paces_of(self._all("recent_runs", limit))

    async def over_before(self, at: int, limit: int) -> list[tuple[str, str, str, str]]:
        return [(job, queue, lane, state) for job, queue, lane, state in self._all("over_before", at, limit)]

    async def delete_jobs(self, jobs: Sequence[tuple[str, str, str, str]]) -> bool:
        whole, room = [], MOST_DELETED
        for job in jobs:
            room -= self.delete_results(job[0], room)
            if room <= 0:
                break
            self.delete_array(job[0])
            whole.append(job)
        ids = [(job,) for job, *_ in whole]
        self._leave_events({job for job, *_ in whole})
        for name in _DELETIONS:
            self._many(name, ids)
        for _, queue, lane, state in whole:
            self._moved(queue, lane, state, None)
        return len(whole) == len(jobs)

    def _leave_events(self, jobs: set[str]) -> None:
        """Take jobs out of the rows of events that they share with others."""
        found = self._con.execute(self._sql["rows_shared_by"], {"jobs": encode(list(jobs))}).fetchall()
        trimmed, gone = taken_out(jobs, found)
        self._many("trim_events", trimmed)
        self._many("drop_events", [(seq,) for seq in gone])

    async def wakeups(self) -> Wakeups:
        def first(*names: str) -> int | None:
            return min((row[0] for name in names if (row := self._one(name))), default=None)

        due, deadline, delivery = first("next_due", "next_range"), first("next_deadline"), first("next_delivery")
        lease = first("next_unnamed", "next_unnamed_shard", "next_worker_expiry")
        waits, told = self._one("any_waiting") is not None, self._one("told_jobs", 1) is not None
        held = self._one("held_keys", "") is not None
        return Wakeups(due, deadline, lease, delivery, first("next_slot"), waits, told, held)

    # -- leases

    async def running_of(self, worker: str) -> list[RunningRow]:
        rows = self._all("running_of", worker) + self._all("shards_of_worker", worker)
        return [RunningRow(*row) for row in rows]

    async def held_by(self, workers: Sequence[str]) -> dict[str, list[RunningRow]]:
        return {worker: await self.running_of(worker) for worker in workers}

    async def unname_leases(self, leases: Sequence[tuple[str, int, int | None]]) -> None:
        self._many("unname_lease", [(until, job, attempt) for job, attempt, until in leases])

    async def clamp_leases(self, until: int) -> None:
        self._run("clamp_workers", until, until)
        self._run("clamp_unnamed", until, until)
        self._run("clamp_shards", until, until)

    async def unnamed_leases(self, limit: int) -> list[str]:
        return [job for (job,) in self._all("unnamed_leases", self.now, limit)]

    async def set_progress(self, worker: str, notes: Sequence[tuple[str, int, Progress]]) -> list[str]:
        done = []
        for job, attempt, progress in notes:
            if self._con.execute(self._sql["set_progress"], (text(progress), job, attempt, worker)).rowcount:
                done.append(job)
        return done

    async def holds(self, worker: str, job: str, attempt: int) -> bool:
        if self._one("holds", job, attempt, worker) is not None:
            return True
        shard = await self.get_shard(job, attempt)
        return shard is not None and shard.worker == worker

    # -- history

    async def insert_attempts(self, attempts: Sequence[tuple[str, Attempt]]) -> None:
        self._many(
            "insert_attempt",
            [
                (
                    job,
                    a.attempt,
                    a.worker,
                    a.started_at,
                    a.finished_at,
                    a.outcome,
                    a.exit_code,
                    text(a.error),
                    text(a.proof),
                    a.first,
                    a.inputs,
                )
                for job, a in attempts
            ],
        )

    async def attempts_of(self, job: str) -> list[Attempt]:
        return [attempt_of(row) for row in self._all("attempts_of", job)]

    async def append_events(self, events: Sequence[NewEvent]) -> None:
        rows = rows_of(events)
        seqs: Iterable[int | None] = [None] * len(rows)  # the next one, by itself
        if len(rows) < len(events):
            ((last,),) = self._all("number_events")
            seqs = accumulate((row.n for row in rows[1:]), initial=last + rows[0].n)
        self._many("append_events", [(seq, self.now, *row[1:]) for seq, row in zip(seqs, rows, strict=True)])

    async def events_of(self, job: str, after: int, limit: int) -> list[Event]:
        shared = self._con.execute(self._sql["shared_events_of"], {"job": job})
        return of_job(job, self._all("events_of", job, after, limit), shared, after, limit)

    async def events_after(self, seq: int, limit: int) -> list[Event]:
        return spread(self._con.execute(self._sql["events_after"], (seq,)), seq, limit)

    async def is_event(self, seq: int) -> bool:
        row = self._one("event_from", seq)
        return is_there(seq, None if row is None else SharedRow(*row))

    async def last_event(self) -> int:
        row = self._one("last_event")
        return row[0] if row else 0

    async def append_logs(self, chunks: Sequence[LogChunk]) -> None:
        self._many("append_log", [(c.job, c.attempt, c.n, c.stream, self.now, c.text) for c in chunks])

    async def logs_of(self, job: str, attempt: int | None, after: tuple[int, int], limit: int) -> list[LogChunk]:
        if attempt is None:
            rows = self._all("logs_of", job, *after, limit)
        else:
            n = after[1] if after[0] == attempt else -1
            rows = self._all("logs_of_attempt", job, attempt, n, limit) if after[0] <= attempt else []
        return [LogChunk(job=job, attempt=a, n=n, stream=stream, at=at, text=piece) for a, n, stream, at, piece in rows]

    async def counts(self) -> list[CountRow]:
        self.flush()
        return [CountRow(queue, lane, STATES[state], n) for queue, lane, state, n in self._all("counts")]

    async def timed_out_tasks(self) -> int:
        self.flush()
        row = self._one("timed_out_tasks")
        return row[0] if row else 0

    # -- workers

    async def insert_worker(self, worker: str, hello: WorkerHello, lease_until: int) -> None:
        self._run("insert_worker", worker, text(hello), self.now, self.now, lease_until)
        if not hello.pull:  # those are functions, not handlers
            self._many("put_handler", [(spec.name, text(spec), self.now) for spec in hello.handlers])

    async def get_worker(self, worker: str) -> WorkerRow | None:
        row = self._one("get_worker", worker)
        return None if row is None else worker_of(row)

    async def lock_worker(self, worker: str) -> WorkerRow | None:
        return await self.get_worker(worker)

    async def lock_workers(self, workers: Iterable[str]) -> dict[str, WorkerRow]:
        return {worker: row for worker in workers if (row := await self.get_worker(worker)) is not None}

    async def list_workers(self) -> list[WorkerRow]:
        return [worker_of(row) for row in self._all("list_workers")]

    async def renew_workers(self, leases: Sequence[tuple[str, int]]) -> None:
        self._many("renew_worker", [(self.now, until, worker) for worker, until in leases])

    async def drain_worker(self, worker: str) -> None:
        self._run("drain_worker", worker)

    async def bury_worker(self, worker: str, why: str) -> None:
        self._run("bury_worker", self.now, why, worker)

    async def expired_workers(self, limit: int) -> list[str]:
        return [worker for (worker,) in self._all("expired_workers", self.now, limit)]

    async def forget_workers(self, before: int) -> None:
        self._run("forget_workers", before)

    async def handlers(self) -> list[tuple[HandlerSpec, int]]:
        return [(_spec(spec), seen_at) for _, spec, seen_at in self._all("handlers")]

    # -- hooks and answers

    async def insert_deliveries(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        self._many("insert_delivery", [(*row, self.now) for row in rows])

    async def take_deliveries(self, limit: int, until: int) -> list[DeliveryRow]:
        rows = self._all("due_deliveries", self.now, limit)
        self._many("lease_delivery", [(until, row[0]) for row in rows])
        return [
            DeliveryRow(id=id_, job=job, url=url, body=body, tries=tries, next_at=until, log=_tries(log))
            for id_, job, url, body, tries, log in rows
        ]

    async def note_delivery(self, row: DeliveryRow) -> None:
        self._run("note_delivery", row.tries, row.next_at, row.done_at, row.gave_up, text(row.log), row.id)

    async def resend_delivery(self, job: str, delivery: str) -> bool:
        return self._con.execute(self._sql["resend_delivery"], (self.now, delivery, job)).rowcount > 0

    async def deliveries_of(self, job: str) -> list[DeliveryRow]:
        return [
            DeliveryRow(
                id=id_, job=job, url=url, body=body, tries=tries, next_at=next_at, done_at=done_at, gave_up=bool(gave_up),
                log=_tries(log),
            )
            for id_, job, url, body, tries, next_at, done_at, gave_up, log in self._all("deliveries_of", job)
        ]  # fmt: skip

    async def get_answer(self, key: str) -> tuple[str, bytes] | None:
        row = self._one("get_answer", key)
        return None if row is None else (row[0], row[1])

    async def put_answer(self, key: str, fingerprint: str, body: bytes) -> None:
        self._run("put_answer", key, fingerprint, body, self.now)

    async def forget_answers(self, before: int, limit: int) -> None:
        self._run("forget_answers", before, limit)


_DELETIONS = (
    "delete_labels",
    "delete_dependencies",
    "delete_dependents",
    "delete_attempts",
    "delete_events",
    "delete_logs",
    "delete_deliveries",
    "delete_uniques_of",
    "delete_checkpoints",
    "delete_job",
)
