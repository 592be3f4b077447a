"""What must hold after every step, whatever went wrong before: DESIGN.md, section 4, numbers 1 to 5 and 8."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from rota.core.jobs import Lease, Settled
from rota.core.states import FINAL, TRANSITIONS, State
from rota.core.waits import meets
from rota.store.events import spread

from .arrays import ArrayInvariants, Row
from .world import Broken, World

if TYPE_CHECKING:
    from .shards import Name, Run
    from .workers import SimulatedWorker

_COLUMNS = [
    "id",
    "state",
    "attempt",
    "worker",
    "queue",
    "lane",
    "run_at",
    "failures",
    "crashes",
    "max_failures",
    "started_at",
    "finished_at",
    "lease_until",
    "deadline_at",
    "result",
    "error",
    "reason",
    "abort_requested_at",
    "confirmed",
    "priority",
    "waiting_for",
    "submitted_at",
    "retry_of",
    "inputs",
    "open",
]
_ROWS = f"SELECT {', '.join(_COLUMNS)} FROM rota_jobs ORDER BY id"
_AT = {name: at for at, name in enumerate(_COLUMNS)}
_STATE, _ATTEMPT, _QUEUE, _LANE, _ABORT = (
    _AT[name] for name in ("state", "attempt", "queue", "lane", "abort_requested_at")
)
_CONFIRMED, _INPUTS, _OPEN = _AT["confirmed"], _AT["inputs"], _AT["open"]
_EVENTS = (
    "SELECT seq, at, job, owner, kind, state, attempt, by, why, others FROM rota_events WHERE seq > ? ORDER BY seq"
)
_AFTER = (
    "SELECT j.id, j.state, d.condition, w.least FROM rota_dependencies d JOIN rota_jobs j ON j.id = d.after "
    "JOIN rota_jobs w ON w.id = d.job WHERE d.job = ?"
)
# A plain success has no row of its own: it stands in its job's.
_TRIES = """SELECT count(*), coalesce(max(attempt), 0) FROM (SELECT attempt FROM rota_attempts WHERE job = ?1
  UNION SELECT attempt FROM rota_jobs WHERE id = ?1 AND state = 'succeeded' AND worker IS NOT NULL AND inputs IS NULL)"""
_EARLY = (
    "SELECT id, gone_at, lease_until FROM rota_workers WHERE gone_why = 'its lease ran out' AND lease_until > gone_at"
)
_HIDDEN = """SELECT id FROM rota_jobs j WHERE (state = 'queued' OR open = 1) AND substr(lane, 1, 5) <> 'held:' AND NOT EXISTS (
  SELECT 1 FROM rota_turns t WHERE t.queue = j.queue AND t.priority = j.priority AND t.owner = j.owner AND t.lane = j.lane
  AND t.state <> 'empty')"""
# What runs of each queue, handler and key that has a limit, and the limit; of an array each shard.
_USES = """SELECT l.kind, l.name, l.concurrency, coalesce(sum(CASE WHEN j.inputs IS NULL THEN 1 ELSE a.live END), 0)
FROM rota_limits l JOIN rota_jobs j ON j.state = 'running'
  AND CASE l.kind WHEN 'queue' THEN j.queue = l.name WHEN 'handler' THEN j.handler = l.name ELSE j.limit_key = l.name END
LEFT JOIN rota_arrays a ON a.job = j.id GROUP BY l.kind, l.name"""
_RUNS = "SELECT id, state, jobs, finished_at, abort_requested_at FROM rota_runs"
_COUNTED = "SELECT run, state, n FROM rota_run_counts WHERE n <> 0"
_IN_RUNS = """SELECT run, CASE WHEN state = 'canceled' AND reason = 'requested' THEN reason ELSE state END, count(*)
FROM rota_jobs WHERE run IS NOT NULL GROUP BY 1, 2"""
_COUNTS = "SELECT queue, lane, state, n FROM rota_counts WHERE n <> 0"


class Invariants:
    """Compares the store with what it was, after every commit, and with what really runs on the workers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rows: dict[str, Row] = {}
        self.seq = 0
        self.acknowledged: set[str] = set()
        self.of_key: dict[str, tuple[str, ...]] = {}
        self.leases: dict[Name, str] = {}
        self.accepted: set[Name] = set()
        self.executing: defaultdict[str, dict[tuple[str, int, int], SimulatedWorker]] = defaultdict(dict)
        self.arrays = ArrayInvariants(world.connection)
        self.runs_over: dict[str, Row] = {}
        world.checks.append(self.check)

    # -- what servers answered

    def submitted(self, key: str, jobs: tuple[str, ...]) -> None:
        """1. What was acknowledged is there, and a key is answered with the same jobs for ever."""
        if self.of_key.setdefault(key, jobs) != jobs:
            raise Broken(f"the key {key} was answered with {self.of_key[key]} and then with {jobs}")
        self.acknowledged.update(jobs)
        if missing := self.acknowledged - self.rows.keys():
            raise Broken(f"acknowledged, and not in the store: {sorted(missing)}")

    def claimed(self, worker: str, leases: list[Lease]) -> None:
        """2. An attempt is handed out once."""
        for lease in leases:
            name = (lease.job, lease.attempt)
            if name in self.leases:
                raise Broken(f"{name} was leased to {self.leases[name]} and to {worker}")
            self.leases[name] = worker

    def settled(self, answers: list[Settled]) -> None:
        """2. The end of an attempt is accepted once, whoever tells it and however often."""
        for answer in answers:
            name = (answer.job, answer.attempt)
            if answer.accepted and name in self.accepted:
                raise Broken(f"the end of {name} was accepted twice")
            if answer.accepted:
                self.accepted.add(name)

    # -- what workers do

    def begins(self, worker: SimulatedWorker, run: Run) -> None:
        """Note that an attempt, or the next input of a shard, begins to run."""
        what = run.executes
        assert what is not None
        self.executing[what][worker.name, worker.boot, run.lease.attempt] = worker
        self.runs(worker, run)
        if run.lease.first is not None:
            self.arrays.begins(worker, run.lease.job, run.lease.attempt, what)

    def runs(self, worker: SimulatedWorker, run: Run) -> None:
        """2. Nobody else runs this now; a machine that stands still runs nothing, and looks at its leases first."""
        what, me = run.executes, (worker.name, worker.boot, run.lease.attempt)
        others = [
            f"{other} (attempt {attempt})"
            for (other, boot, attempt), at in self.executing[what].items()
            if (other, boot, attempt) != me and not at.stalled
        ] if what is not None else []  # fmt: skip
        if others:
            raise Broken(f"{worker.name} runs {what} (attempt {run.lease.attempt}) beside {', '.join(others)}")

    def ends(self, worker: SimulatedWorker, run: Run) -> None:
        """Note that what ran has ended, whatever the reason."""
        if run.executes is not None:
            self.executing[run.executes].pop((worker.name, worker.boot, run.lease.attempt), None)
        self.arrays.ends(worker, run.lease.job, run.lease.attempt)

    # -- after every commit

    def check(self) -> None:
        execute = self.world.connection.execute
        before, self.rows = self.rows, {row[0]: row for row in execute(_ROWS)}
        events: defaultdict[str, list[Row]] = defaultdict(list)
        for told in spread(execute(_EVENTS, (self.seq,)), self.seq, sys.maxsize):
            event = (told.seq, told.at, told.job, told.kind, told.state.value, told.attempt)
            events[told.job].append(event)
            self.world.note("store: {} attempt {}: {}, {}", event[2], event[5], event[3], event[4])
            self.seq = event[0]
        for job, row in self.rows.items():
            old = before.get(job)
            if row != old or job in events:
                self._changed(job, old, row, events.get(job, []))
        if early := execute(_EARLY).fetchall():
            raise Broken(f"3. given up for lost while their leases lasted: {early}")
        if gone := before.keys() - self.rows.keys():
            raise Broken(f"gone from the store: {sorted(gone)}")
        self.arrays.check({job: row for job, row in self.rows.items() if row[_INPUTS] is not None})
        if hidden := execute(_HIDDEN).fetchall():
            raise Broken(f"10. ready, and not in turn: {hidden}")
        counted = Counter((row[_QUEUE], row[_LANE].removeprefix("held:"), row[_STATE]) for row in self.rows.values())
        counted.update((row[_QUEUE], row[_LANE], "open") for row in self.rows.values() if row[_OPEN])
        kept = {(queue, lane, state): n for queue, lane, state, n in execute(_COUNTS)}
        if counted != kept:
            raise Broken(f"8. the counters say {kept}, the rows {dict(counted)}")

    def check_limits(self) -> None:
        """Of what has a limit no more runs than that, from when it was set: nothing ran before."""
        for kind, name, most, n in self.world.connection.execute(_USES):
            if n > most:
                raise Broken(f"{n} run of {kind} {name}, and {most} may")

    def check_runs(self) -> None:
        """8. A run is over when all of its jobs are, is what they have come to, stays so; and its counters agree with them."""
        execute = self.world.connection.execute
        counts: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for run, state, n in execute(_IN_RUNS):
            counts[run][state] = n
        kept: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for run, state, n in execute(_COUNTED):
            kept[run][state] = n
        if counts != kept:
            raise Broken(f"8. the counters of runs say {dict(kept)}, their jobs {dict(counts)}")
        for row in execute(_RUNS):
            run, state, jobs, finished_at, asked = row
            if sum(counts[run].values()) != jobs:
                raise Broken(f"{run} has {jobs} jobs, and these are there: {counts[run]}")
            if finished_at is None:
                continue
            if self.runs_over.setdefault(run, row) != row:
                raise Broken(f"{run} was over and changed: {self.runs_over[run]} -> {row}")
            if state != (should := _come_to(counts[run], asked=asked is not None)):
                raise Broken(f"{run} is {state}, and should be {should}: {counts[run]}")

    def _changed(self, job: str, old: Row | None, row: Row, events: list[Row]) -> None:
        was, state = old and State(old[_STATE]), State(row[_STATE])
        if was in FINAL and row != old:
            raise Broken(f"{job} was {was} and changed: {old} -> {row}")
        if was is not state and (was is not None and state not in TRANSITIONS[was]):
            raise Broken(f"{job}: {was} -> {state} is no transition")
        self._story(job, was, row, events)
        attempts = old[_ATTEMPT] if old else 0
        if row[_INPUTS] is not None:
            aborted = old is not None and old[_ABORT] is not None
            self.arrays.changed(job, attempts, row[_ATTEMPT], state, aborted=aborted)
        else:
            self._tried(job, was, state, attempts, row[_ATTEMPT])
        begins = state is State.RUNNING and was is not State.RUNNING
        waits = self.world.connection.execute(_AFTER, (job,)).fetchall() if begins else []
        met = sum(State(stands) in FINAL and meets(on, State(stands)) for _, stands, on, _ in waits)
        if waits and met < (waits[0][3] or len(waits)):
            raise Broken(f"5. {job} was started when of {waits} only {met} had come about")
        if (
            old is not None
            and old[_ABORT] is not None
            and (row[_ABORT] != old[_ABORT] or state not in (State.RUNNING, State.ABORTED))
        ):
            raise Broken(f"the abort of {job} was forgotten: {was} -> {state}")
        if was is State.RUNNING and state is not State.RUNNING and row[_INPUTS] is None:
            self._not_running(job, attempts, state, row)
        elif was is State.RUNNING and state is State.ABORTED:
            self.arrays.aborted(job, confirmed=row[_CONFIRMED])

    def _tried(self, job: str, was: State | None, state: State, before: int, attempt: int) -> None:
        """2, 8. A claim raises the attempt by one, and every attempt that is over is written."""
        if attempt != before + (state is State.RUNNING and was is not State.RUNNING):
            raise Broken(f"2. {job}: attempt {before} -> {attempt} while {was} -> {state}")
        tries, last = self.world.connection.execute(_TRIES, (job,)).fetchone()
        over = attempt - (state is State.RUNNING)
        if (tries, last) != (over, over):
            raise Broken(f"8. {job} has had {over} attempts, and {tries} are written, the last {last}")

    def _not_running(self, job: str, attempt: int, state: State, row: Row) -> None:
        """2, 4. When an attempt is over in the store it is over on its worker."""
        still = [name for name, at in self.executing[job].items() if name[2] == attempt and not at.stalled]
        if still:
            raise Broken(f"{job} became {state} while attempt {attempt} still ran on {still}")
        if state is State.ABORTED and row[_CONFIRMED] and any(name[2] == attempt for name in self.executing[job]):
            raise Broken(f"4. {job} is aborted and confirmed, and its worker had not seen the end")

    def _story(self, job: str, was: State | None, row: Row, events: list[Row]) -> None:
        """8. The events since the last commit lead from what the row was to what it is."""
        state = was
        for _, at, _, kind, to, attempt in events:
            if at != self.world.clock():
                raise Broken(f"8. the event {kind} of {job} is of {at}, its transaction of {self.world.clock()}")
            new = State(to)
            if state is not None and new is not state and new not in TRANSITIONS[state]:
                raise Broken(f"8. the events of {job} tell {state} -> {new}")
            state = new
            if attempt > row[_ATTEMPT]:
                raise Broken(f"8. an event of {job} tells of attempt {attempt}, the row of {row[_ATTEMPT]}")
        if state is None or state != row[_STATE]:
            raise Broken(f"8. the events of {job} end with {state}, its row is {row[_STATE]}")
        shards = row[_INPUTS] is not None and row[_STATE] == State.RUNNING  # several are cut at once
        if was is not None and was != row[_STATE] and events[-1][5] != row[_ATTEMPT] and not shards:
            raise Broken(f"8. the event of {job} names attempt {events[-1][5]}, the row {row[_ATTEMPT]}")
        if was is None and events[0][3] != "submitted":
            raise Broken(f"8. the story of {job} begins with {events[0][3]}")


def _come_to(counts: dict[str, int], *, asked: bool) -> str:
    """Return what a run with so many jobs in each state has come to, who was canceled by hand as `requested`."""
    there = {state for state, n in counts.items() if n}
    if there & {"blocked", "scheduled", "queued", "running"}:
        return "running"
    if asked:
        return "aborted" if there & {"succeeded", "failed", "aborted"} else "canceled"
    if bad := there & {"failed", "aborted"}:
        return "failed" if "failed" in bad else "aborted"
    return "canceled" if "requested" in there or "succeeded" not in there else "succeeded"
