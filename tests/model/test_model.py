"""Random operations against the real service on the real store, step by step beside the model."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rota.core.errors import Conflict, NotFound
from rota.core.fairness import TurnName
from rota.core.jobs import Failure, Free, HandlerSpec, Held, Report, Submission, WorkerHello
from rota.core.retry import Backoff
from rota.core.states import TRANSITIONS, Outcome, State
from rota.service.jobs import Edit
from rota.service.service import Service
from rota.store.protocol import Store, Tx
from tests.embedded import store_at

from .model import BASE, DEFAULTS, FACTOR, JITTER, LEASE, LIMIT, SECOND, Model, ModelJob, ModelWorker

START = 1_750_000_000 * SECOND
SPECS = [HandlerSpec(name=name, timeout=timeout, retries=retries) for name, (timeout, retries) in DEFAULTS.items()]
picks = st.integers(0, 10**6)


class Fixed(random.Random):
    """Makes ids like any other, and always the same jitter."""

    def random(self) -> float:
        return JITTER


def drive(coroutine: Any) -> Any:
    """Run a coroutine that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


class NoHooks:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        raise AssertionError("no job has a hook")


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.now = START
        self.model = Model()
        self.leases: list[tuple[str, str, int]] = []  # every one there ever was
        self.unheard: set[tuple[str, int]] = set()  # of these, what its worker does not know
        self.store: Store | None = None
        self.boots = 0
        self._open()

    def _open(self) -> None:
        self.store = self.new_store()
        drive(self.store.open())
        self.boots += 1
        rng = Fixed(self.boots)
        self.service = Service(self.store, sender=NoHooks(), rng=rng, monotonic=lambda: (self.now - START) / SECOND)

    def new_store(self) -> Store:
        return store_at(Path(self.folder.name) / "rota.db", clock=lambda: self.now, inline=True)

    def teardown(self) -> None:
        assert self.store is not None
        drive(self.store.close())
        self.folder.cleanup()

    # -- choices

    def job(self, pick: int) -> ModelJob:
        """Choose a job, one that is not over if there is one, three times out of four."""
        jobs = list(self.model.jobs.values())
        alive = [job for job in jobs if job.state in ("running", "queued", "scheduled", "blocked")]
        chosen = alive if alive and pick % 4 else jobs
        return chosen[pick // 4 % len(chosen)]

    def worker(self, pick: int) -> ModelWorker:
        present = [worker for worker in self.model.workers.values() if not worker.gone]
        return present[pick % len(present)]

    has_jobs = precondition(lambda self: self.model.jobs)
    has_leases = precondition(lambda self: self.leases)
    has_workers = precondition(lambda self: any(not worker.gone for worker in self.model.workers.values()))

    # -- people

    def _submission(self, handler: str, fields: dict[str, Any]) -> Submission:
        return Submission(handler=handler, backoff=Backoff(base=BASE, factor=FACTOR, limit=LIMIT), grace=1.0, **fields)

    @rule(
        handler=st.sampled_from(sorted(DEFAULTS)),
        delay=st.sampled_from([None, None, 3.0]),
        priority=st.sampled_from([0, 0, 1, -1]),
        queue=st.sampled_from(["default", "default", "q"]),
        after=st.lists(picks, max_size=3),
        retries=st.sampled_from([None, 0, 2]),
        timeout=st.sampled_from([None, 2.0, 40.0]),
        chain=st.sampled_from([1, 1, 2, 3]),
        owner=st.sampled_from(["default", "default", "ana", "bo"]),
    )
    def submit(
        self,
        handler: str,
        delay: float | None,
        priority: int,
        queue: str,
        after: list[int],
        retries: int | None,
        timeout: float | None,
        chain: int,
        owner: str = "default",
    ) -> None:
        """Submit one, or a chain of jobs, the last of which is named first."""
        wanted = tuple(dict.fromkeys(self.job(pick).id for pick in after)) if self.model.jobs else ()
        fields = {"priority": priority, "queue": queue, "retries": retries, "timeout": timeout, "delay": delay}
        fields["owner"] = owner
        bulk = [
            self._submission(
                handler, {**fields, "ref": f"r{n}", "after": [*wanted, *([f"r{n + 1}"] if n < chain - 1 else [])]}
            )
            for n in range(chain)
        ]
        if chain == 1:
            jobs = [drive(self.service.jobs.submit(self._submission(handler, {**fields, "after": list(wanted)})))]
        else:
            jobs = drive(self.service.jobs.submit_many(bulk))
        for n in reversed(range(chain)):
            waits = (*wanted, *((jobs[n + 1].id,) if n < chain - 1 else ()))
            made = ModelJob(
                id=jobs[n].id, handler=handler, queue=queue, priority=priority, after=waits, retries=retries, timeout_s=timeout,
                run_at=self.now + round((delay or 0) * SECOND), owner=owner,
            )  # fmt: skip
            self.model.submit(made, self.now)

    @has_jobs
    @rule(pick=picks)
    def abort(self, pick: int) -> None:
        job = self.job(pick)
        if self.model.abort(job):
            drive(self.service.jobs.abort(job.id))
        else:
            with pytest.raises(Conflict):
                drive(self.service.jobs.abort(job.id))

    @has_jobs
    @rule(
        pick=picks,
        priority=st.sampled_from([None, 5, -5]),
        delay=st.sampled_from([None, 0.0, 4.0]),
        queue=st.sampled_from([None, "q"]),
    )
    def edit(self, pick: int, priority: int | None, delay: float | None, queue: str | None) -> None:
        job = self.job(pick)
        given = {"priority": priority, "delay": delay, "queue": queue}
        edit = Edit(**{name: value for name, value in given.items() if value is not None})
        if self.model.edit(job, self.now, priority=priority, delay=delay, queue=queue):
            drive(self.service.jobs.edit(job.id, edit))
        else:
            with pytest.raises(Conflict):
                drive(self.service.jobs.edit(job.id, edit))

    @has_jobs
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        old = self.job(pick)
        if old.state not in ("succeeded", "failed", "aborted", "canceled"):
            with pytest.raises(Conflict):
                drive(self.service.jobs.retry(old.id))
            return
        new = drive(self.service.jobs.retry(old.id))
        assert new.retry_of == old.id
        retries = None if old.max_failures is None else old.max_failures - 1
        made = ModelJob(
            id=new.id,
            handler=old.handler,
            queue=old.queue,
            priority=old.priority,
            run_at=self.now,
            timeout_s=old.timeout_s,
            retries=retries,
            owner=old.owner,
        )
        self.model.submit(made, self.now)

    # -- workers

    @initialize()
    def first_workers(self) -> None:
        self.register(())
        self.register(("default",))

    @rule(queues=st.sampled_from([(), ("default",), ("q",)]))
    def register(self, queues: tuple[str, ...]) -> None:
        hello = WorkerHello(name="w", handlers=SPECS, queues=list(queues), slots=9)
        id_ = drive(self.service.work.register(hello)).worker
        self.model.workers[id_] = ModelWorker(id_, queues, self.now + LEASE)

    @has_workers
    @rule(pick=picks, n=st.integers(0, 4), unheard=st.sampled_from([False, False, True]))
    def claim(self, pick: int, n: int, unheard: bool = False) -> None:
        """Claim; the worker never hears of what it got when the reply is lost."""
        worker = self.worker(pick)
        leases = drive(self.service.work.claim(worker.id, Free(process=n, asynchronous=0, total=n)))
        assert [(lease.job, lease.attempt) for lease in leases] == self.model.claim(worker, n, self.now)
        self.leases += [(worker.id, lease.job, lease.attempt) for lease in leases]
        self.unheard |= {(lease.job, lease.attempt) for lease in leases if unheard}

    @has_leases
    @rule(
        pick=picks,
        outcome=st.sampled_from(Outcome),
        retry_in_s=st.sampled_from([None, 0.0, 5.0]),
        refused=st.booleans(),
        old=st.booleans(),
    )
    def settle(self, pick: int, outcome: Outcome, retry_in_s: float | None, refused: bool, old: bool) -> None:
        running = [lease for lease in self.leases if self._holds(*lease)]
        leases = self.leases if old or not running else running
        self._settle(leases[pick % len(leases)], outcome, retry_in_s, refused=refused)

    def _settle(
        self, lease: tuple[str, str, int], outcome: Outcome, retry_in_s: float | None, *, refused: bool
    ) -> None:
        worker, name, attempt = lease
        job = self.model.jobs[name]
        holds = self._holds(worker, name, attempt)
        report = Report(
            job=name,
            attempt=attempt,
            outcome=outcome,
            error=Failure(type="E", message="m"),
            refused=refused,
            retry_in_s=retry_in_s,
        )
        (answer,) = drive(self.service.work.settle(worker, [report]))
        if holds:
            self.model.settle(job, outcome.value, self.now, retry_in_s=retry_in_s, refused=refused)
        assert (answer.accepted, answer.state) == (holds, job.state)

    def _holds(self, worker: str, name: str, attempt: int) -> bool:
        job = self.model.jobs[name]
        return (job.state, job.worker, job.attempt) == ("running", worker, attempt)

    @has_workers
    @rule(pick=picks, forget=st.sampled_from([0, 0, 0, 1, 2]))
    def heartbeat(self, pick: int, forget: int) -> None:
        """Name all that is held, but for `forget`, and something that is not."""
        worker = self.worker(pick)
        named = {(job.id, job.attempt) for job in self.model.held(worker)[forget:]} - self.unheard | {("nobody", 1)}
        orders = drive(
            self.service.work.heartbeat(worker.id, [Held(job=job, attempt=attempt) for job, attempt in named])
        )
        aborting = {job.id for job in self.model.held(worker) if job.aborting}
        assert {order.job for order in orders.abort if order.why == "requested"} == aborting
        assert orders.drain == worker.draining
        assert {(lost.job, lost.attempt) for lost in orders.lost} == self.model.heartbeat(worker, named, self.now)

    @has_workers
    @rule(pick=picks)
    def drain(self, pick: int) -> None:
        worker = self.worker(pick)
        drive(self.service.work.drain(worker.id))
        worker.draining = True

    @has_workers
    @rule(pick=picks)
    def leave(self, pick: int) -> None:
        worker = self.worker(pick)
        drive(self.service.work.leave(worker.id))
        self.model.leave(worker, self.now)
        with pytest.raises(NotFound):
            drive(self.service.work.heartbeat(worker.id, []))

    # -- time, upkeep, restarts

    @rule(seconds=st.sampled_from([0.000001, 1.0, 3.0, 6.0, 16.0, 60.0]))
    def advance(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    @rule(step=st.sampled_from(["promote", "rescue", "end_overdue"]))
    def upkeep(self, step: str) -> None:
        drive(getattr(self.service.upkeep, step)())
        getattr(self.model, step)(self.now)

    @rule()
    def tidy_turns(self) -> None:
        drive(self.service.turns.step())

    @rule(seconds=st.sampled_from([0.5, 2.5, 5.0, 14.9, 15.0, 22.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.advance(seconds)
        for step in ("promote", "end_overdue", "rescue"):
            self.upkeep(step)

    @has_workers
    @rule(
        pick=picks,
        outcome=st.sampled_from([Outcome.OUT_OF_MEMORY, Outcome.LOST, Outcome.ERRORED, Outcome.SUCCEEDED]),
        times=st.integers(1, 6),
    )
    def work_for_a_while(self, pick: int, outcome: Outcome, times: int) -> None:
        """Claim what there is and end all of it in the same way, again and again."""
        worker = self.worker(pick)
        for _ in range(times):
            self.heartbeat(pick, 0)
            self.claim(pick, 3)
            for lease in [lease for lease in self.leases if self._holds(*lease) and lease[0] == worker.id]:
                self._settle(lease, outcome, None, refused=False)
            self.advance(13.0)
            self.upkeep("promote")

    @has_workers
    @rule(pick=picks, beats=st.integers(1, 8), forget=st.sampled_from([0, 1, 9]))
    def beat_for_a_while(self, pick: int, beats: int, forget: int) -> None:
        worker = self.worker(pick)
        for _ in range(beats):
            if not worker.gone:
                present = [w for w in self.model.workers.values() if not w.gone]
                self.heartbeat(present.index(worker), forget)
            self.let_time_pass(4.0)

    @rule()
    def restart(self) -> None:
        """All that is not in the store is forgotten."""
        assert self.store is not None
        drive(self.store.close())
        self._open()

    # -- what must hold

    @invariant()
    def the_rows_are_as_the_model_says(self) -> None:
        for job in self.model.jobs.values():
            row = drive(self.service.jobs.get(job.id))
            assert (row.state, row.attempt, row.failures, row.crashes) == (
                job.state,
                job.attempt,
                job.failures,
                job.crashes,
            )
            assert (row.priority, row.queue, row.run_at) == (job.priority, job.queue, job.run_at)
            assert (row.reason, row.confirmed, row.after) == (job.reason, job.confirmed, list(job.after))
            assert (row.abort_requested_at is not None) == job.aborting
            assert row.state is not State.RUNNING or row.worker == job.worker

    @invariant()
    def the_counters_agree_with_the_rows(self) -> None:
        async def look(tx: Tx) -> Counter[tuple[str, str, str]]:
            return Counter({(c.queue, c.lane, c.state.value): c.n for c in await tx.counts()})

        assert self.store is not None
        assert drive(self.store.read(look)) == Counter((j.queue, j.handler, j.state) for j in self.model.jobs.values())

    @invariant()
    def no_ready_job_is_without_its_row_of_turns(self) -> None:
        assert self.store is not None
        missing, _ = drive(self.store.read(lambda tx: tx.missing_turns(TurnName("", 0, "", ""), 1000)))
        assert missing == []

    @invariant()
    def the_events_tell_the_story_of_the_rows(self) -> None:
        for job in self.model.jobs.values():
            events = drive(self.service.jobs.events(job.id))
            states = [event.state for event in events]
            assert events[0].kind == "submitted"
            assert states[-1] == job.state
            assert all(a is b or b in TRANSITIONS[a] for a, b in pairwise(states))
            assert sum(event.kind == "started" for event in events) == job.attempt
            assert [event.seq for event in events] == sorted({event.seq for event in events})
            attempts = drive(self.service.jobs.attempts(job.id))
            assert [attempt.attempt for attempt in attempts] == list(range(1, job.attempt + 1))
            assert sum(attempt.outcome is None for attempt in attempts) == (job.state == "running")


class LongMachine(Machine):
    """The same, in more examples."""


def examples(n: int) -> settings:
    return settings(
        max_examples=n,
        stateful_step_count=40,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )


TestModel = Machine.TestCase
TestModel.settings = examples(60)
TestModelLong = pytest.mark.long(LongMachine.TestCase)
TestModelLong.settings = examples(120)
