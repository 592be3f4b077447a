"""One simulated life of a cluster: some minutes of faults, then calm, in which all must come to an end."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from rota.core.errors import Conflict, InFlight
from rota.core.jobs import NO_INPUTS, Job, Submission
from rota.core.retry import Backoff
from rota.core.runs import Run, RunSubmission
from rota.core.states import FINAL
from rota.core.waits import After, AtLeast
from rota.service.jobs import Edit
from rota.service.service import Service

from .invariants import Invariants
from .shards import POISON
from .workers import SimulatedWorker
from .world import CALM, LEASE_S, SECOND, Broken, Odds, Server, World

ARRAYS = 0.1  # of all submissions
FAULTS_S = 70
CALM_S = 150
_WAITING = """SELECT (SELECT count(*) FROM rota_jobs WHERE finished_at IS NULL)
  + (SELECT count(*) FROM rota_runs WHERE finished_at IS NULL)"""
_STUCK = """SELECT id, state, attempt, worker, lease_until, run_at, abort_requested_at FROM rota_jobs WHERE finished_at IS NULL
UNION ALL SELECT id, state, stopping, NULL, looked_at, NULL, abort_requested_at FROM rota_runs WHERE finished_at IS NULL"""
_LIMIT = "INSERT INTO rota_limits (kind, name, concurrency) VALUES (?, ?, ?)"
_LEASED = """SELECT id, attempt, worker FROM rota_jobs WHERE state = 'running' AND inputs IS NULL
UNION ALL SELECT job, attempt, worker FROM rota_shards"""


class Failed(Exception):
    """A seed that broke an invariant; the text is its history."""


class Simulation:
    """The people, the faults and the calm after them."""

    def __init__(
        self, seed: int, *, odds: Odds | None = None, crash_at: int | None = None, limited: bool = False
    ) -> None:
        self.seed = seed
        self.quiet = odds is CALM
        rng = World(seed, servers=0, odds=CALM).rng  # what kind of cluster this seed has
        self.embedded = rng.random() < 0.25
        servers = 1 if self.embedded else rng.choice((1, 2, 2, 3))
        self.world = World(seed, servers=servers, odds=odds or Odds())
        self.world.crash_at = crash_at
        self.invariants = Invariants(self.world)
        self.world.on_crash.append(self._crashed)
        self.workers = [
            SimulatedWorker(
                self.world, self.invariants, f"w{n}", slots=self.world.rng.choice((1, 1, 2, 4)),
                queues=self.world.rng.choice(([], [], ["default"], ["other", "default"])) if n else [],
                owned=self.embedded,
            )
            for n in range(self.world.rng.choice((2, 3, 4)))
        ]  # fmt: skip
        self.keys = random.Random(seed) if limited else None  # of its own: other lives stay as they are
        if limited:
            self.world.checks += [self.invariants.check_limits, self.invariants.check_runs]
            self.world.connection.executemany(_LIMIT, [("queue", "other", 2), ("handler", "plain", 3), ("key", "k", 1)])
            self.world.connection.execute("INSERT INTO rota_queues (queue, weight) VALUES ('other', 3)")
        self.jobs: list[str] = []
        self.runs: list[str] = []
        self.refused: set[str] = set()
        self.storm = self.world.rng.uniform(10, FAULTS_S - 15)

    def run(self) -> World:
        """Live it. Raises Broken when an invariant does not hold."""
        world = self.world
        for n in range(world.rng.choice((3, 6, 10))):
            self._at_some_time(lambda n=n: self._submit(f"key{n}"))
        for action, most in (
            (self._abort, 6), (self._edit, 3), (self._retry, 3), (self._drain, 1),
            *(() if self.quiet else self._bad_luck()),
        ):  # fmt: skip
            for _ in range(world.rng.randint(0, most)):
                self._at_some_time(action)
        if self.keys is not None:
            for n in range(self.keys.choice((1, 2, 3))):
                self._at_some_time(lambda n=n: self._submit_run(f"run{n}"))
            for action in self.keys.choices((self._abort_run, self._retry_run), k=self.keys.randint(0, 4)):
                self._at_some_time(action)
        world.run_until(FAULTS_S * SECOND)
        self._calm_down()
        return world

    def _bad_luck(self) -> list[tuple[Any, int]]:
        return [(self._die, 2), (self._stall, 3), (self._jump, 4), (self._leave, 2), (self._outage, 1), (self._cut, 4)]

    def _at_some_time(self, action: Any) -> None:
        """Troubles seldom come alone: half of all that happens does so around the same moment."""
        rng = self.world.rng
        at = rng.gauss(self.storm, 8) if rng.random() < 0.5 else rng.uniform(0, FAULTS_S)
        self.world.after(min(max(at, 0.5), FAULTS_S - 5), action)

    def _calm_down(self) -> None:
        """3. Without faults all comes to an end: within two leases nothing runs but on a worker that is alive."""
        world = self.world
        world.note("calm")
        world.odds = CALM
        world.store_down = False
        for worker in self.workers:
            worker.calm = True
            worker.cut_off_until = 0
        world.run_until(world.now + round((2 * LEASE_S + 35) * SECOND))
        self._check_held()
        if world.offset < world.latest:  # what was put off to a time that the clock showed once
            world.jump((world.latest - world.offset) / SECOND)
        connection = world.connection
        if not world.run_until(world.now + CALM_S * SECOND, lambda: not connection.execute(_WAITING).fetchone()[0]):
            raise Broken(f"these never come to an end: {connection.execute(_STUCK).fetchall()}")

    def _check_held(self) -> None:
        held = {name: worker.name for worker in self.workers for name in worker.held}
        rows = self.world.connection.execute(_LEASED).fetchall()
        dead = [row for row in rows if (row[0], row[1]) not in held and row[2] not in {w.id for w in self.workers}]
        if dead:
            raise Broken(f"3. still with workers that are gone: {dead}")

    # -- people

    def _submit(self, key: str) -> None:
        rng = self.world.rng
        submissions = [self._submission() for _ in range(rng.choice((1, 1, 1, 2, 4)))]
        if len(submissions) > 1:
            first = After("first", rng.choice(("succeeded", "succeeded", "failed", "finished", "any")))
            after = [first, *submissions[-1].after]
            join = rng.choice(("all", "all", "any", AtLeast(len(after))))
            submissions[-1] = replace(self._submission(ref="last", after=after), join=join)
            submissions[0] = self._submission(ref="first")
        self._send(key, submissions)

    def _submission(self, ref: str | None = None, after: list[str | After] | None = None) -> Submission:
        rng = self.world.rng
        script = rng.random() < 0.15
        array = rng.random() < ARRAYS
        return Submission(
            inputs=_inputs(rng.choice((1, 2, 5, 12, 25)), rng.random() < 0.2) if array else NO_INPUTS,
            parallel=rng.choice((None, None, 1, 2)) if array else None,
            halt=rng.choice(
                (None, None, "now,fail=1", "soon,fail=1", "soon,fail=20%", "soon,success=2", "soon,success=3")
            )
            if array
            else None,
            handler=None if script else rng.choice(("plain", "plain", "busy")),
            script="echo {{x}}" if script else None,
            variables={"x": "1"} if script else None,
            data=Raw(b"null") if array and script else Raw(b'{"n": 1}'),
            queue=rng.choice(("default", "default", "other")),
            priority=rng.choice((0, 0, 5, -5)),
            owner=rng.choice(("default", "ana")),
            delay=rng.choice((None, None, 0.5, 5, 30)),
            timeout=rng.choice((None, None, 0.5, 4, 60)),
            grace=rng.choice((0, 0.5, 2)),
            retries=rng.choice((None, 0, 1, 3)),
            backoff=Backoff(base=rng.choice((0.0, 0.5)), factor=2, limit=4),
            after=after if after is not None else [rng.choice(self.jobs)] if self.jobs and rng.random() < 0.25 else [],
            ref=ref,
            limit_key=None if self.keys is None or array else self.keys.choice(("k", "k", "l", None)),
        )

    def _send(self, key: str, submissions: list[Submission]) -> None:
        """Submit with an Idempotency-Key, again and again until it is answered."""
        if key in self.invariants.of_key:
            return

        def answered(jobs: list[Job] | None, error: Exception | None) -> None:
            if jobs is not None:
                self.invariants.submitted(key, tuple(job.id for job in jobs))
                self.jobs += [job.id for job in jobs if job.id not in self.jobs]
            elif not isinstance(error, InFlight | ConnectionError) and error is not None and not _try_again(error):
                raise Broken(f"a good submission was refused: {error!r}")

        self.world.note("people: submit {} with {}", len(submissions), key)
        self.world.call(f"submit {key}", lambda s: s.jobs.submit_many(submissions, key=key), answered)
        self.world.after(self.world.rng.uniform(2, 6), lambda: self._send(key, submissions))

    def _one_of(self, those: str) -> str:
        """Choose a job: half the time one of those that make it worth while."""
        rng = self.world.rng
        found = [job for (job,) in self.world.connection.execute(f"SELECT id FROM rota_jobs WHERE {those} ORDER BY id")]
        return rng.choice(found if found and rng.random() < 0.5 else self.jobs)

    def _abort(self) -> None:
        if not self.jobs:
            return
        job = self._one_of("state = 'running'")
        self.world.note("people: abort {}", job)

        def answered(found: Job | None, _error: Exception | None) -> None:
            if found is not None and found.state not in FINAL and found.abort_requested_at is None:
                raise Broken(f"the abort of {job} was answered, and it is not on record")
            for worker in self.workers:
                if found is not None and found.worker in (worker.id, None) and self.world.rng.random() < 0.5:
                    worker.watch()

        self.world.call(f"abort {job}", lambda s: s.jobs.abort(job), answered)

    def _edit(self) -> None:
        if self.jobs:
            rng = self.world.rng
            job, edit = (
                rng.choice(self.jobs),
                rng.choice((Edit(priority=9), Edit(delay=0), Edit(delay=3.0), Edit(queue="other"))),
            )
            self.world.note("people: edit {}: {}", job, edit)
            self.world.call(f"edit {job}", lambda s: s.jobs.edit(job, edit), _whatever)

    def _retry(self) -> None:
        if self.jobs:
            job = self._one_of("finished_at IS NOT NULL")
            self.world.note("people: retry {}", job)
            self.world.call(f"retry {job}", lambda s: s.jobs.retry(job, key=f"retry {job}"), self._retried)

    def _retried(self, job: Job | None, error: Exception | None) -> None:
        if job is not None:
            self.invariants.submitted(f"retry {job.retry_of}", (job.id,))
        elif error is not None and not isinstance(error, Conflict | ConnectionError) and not _try_again(error):
            raise Broken(f"a retry was refused: {error!r}")

    def _submit_run(self, key: str) -> None:
        """Submit a run of a few jobs, each of which may wait for some of those before it."""
        assert self.keys is not None, "only some lives have runs"
        jobs: list[Submission] = []
        for n in range(self.keys.choice((1, 2, 4, 6))):
            before = self.keys.sample([job.ref or "" for job in jobs], self.keys.randint(0, min(n, 3)))
            on = self.keys.choice(("succeeded", "succeeded", "succeeded", "failed", "finished", "any"))
            join = self.keys.choice(("all", "all", "any")) if before else "all"
            job = self._submission(ref=f"j{n}", after=[After(ref, on) for ref in before])
            jobs.append(replace(job, owner=None, join=join))
        self._send_run(key, lambda s: s.runs.submit(RunSubmission(jobs=jobs), key=key))

    def _send_run(self, key: str, submit: Callable[[Service], Coroutine[Any, Any, Any]]) -> None:
        """Submit a run, or submit it again, until that is answered."""
        if key in self.invariants.of_key or key in self.refused:
            return

        def answered(made: tuple[Run, dict[str, str]] | None, error: Exception | None) -> None:
            if made is not None:
                run, jobs = made[0], tuple(job for _, job in sorted(made[1].items()))
                self.invariants.submitted(key, jobs)
                self.jobs += [job for job in jobs if job not in self.jobs]
                self.runs += [run.id] if run.id not in self.runs else []
            elif isinstance(error, Conflict) and not isinstance(error, InFlight):
                self.refused.add(key)  # a run that is not over, or has nothing to run again
            elif not isinstance(error, InFlight | ConnectionError) and error is not None and not _try_again(error):
                raise Broken(f"a good run was refused: {error!r}")

        self.world.note("people: submit a run with {}", key)
        self.world.call(f"submit {key}", submit, answered)
        assert self.keys is not None, "only some lives have runs"
        self.world.after(self.keys.uniform(2, 6), lambda: self._send_run(key, submit))

    def _abort_run(self) -> None:
        if self.runs and self.keys is not None:
            run = self.keys.choice(self.runs)
            self.world.note("people: abort run {}", run)

            def answered(found: Run | None, _error: Exception | None) -> None:
                if found is not None and found.abort_requested_at is None:
                    raise Broken(f"the abort of run {run} was answered, and it is not on record")

            self.world.call(f"abort {run}", lambda s: s.runs.abort(run), answered)

    def _retry_run(self) -> None:
        if self.runs and self.keys is not None:
            run = self.keys.choice(self.runs)
            key = f"retry {run}"
            self._send_run(key, lambda s: s.runs.retry(run, key=key))

    # -- bad luck

    def _drain(self) -> None:
        worker = self.world.rng.choice(self.workers).id
        if worker is not None:
            self.world.call(f"drain {worker}", lambda s: s.work.drain(worker), _whatever)

    def _die(self) -> None:
        self.world.rng.choice(self.workers).die()

    def _leave(self) -> None:
        self.world.rng.choice(self.workers).leave()

    def _stall(self) -> None:
        worker = self.world.rng.choice(self.workers)
        if not worker.stalled:
            worker.stall(
                self.world.rng.choice((0.5, 4, LEASE_S, LEASE_S + 1, 2 * LEASE_S)) * self.world.rng.uniform(0.9, 1.1)
            )

    def _cut(self) -> None:
        rng = self.world.rng
        rng.choice(self.workers).cut(rng.choice((3, 8, LEASE_S, 2 * LEASE_S)) * rng.uniform(0.8, 1.2))

    def _jump(self) -> None:
        rng = self.world.rng
        self.world.jump(rng.choice((0.5, 1.5, 3, 20, 3600, 4 * 3600)) * rng.choice((1, -1)) * rng.uniform(0.9, 1.1))

    def _outage(self) -> None:
        self.world.note("the store takes nothing")
        self.world.store_down = True

        def back() -> None:
            self.world.note("the store takes writes again")
            self.world.store_down = False

        self.world.after(self.world.rng.uniform(0.1, 25), back)

    def _crashed(self, _server: Server) -> None:
        if self.embedded:  # the only server's own workers die with it
            for worker in self.workers:
                worker.die()


def _inputs(n: int, poisoned: bool) -> Raw:
    inputs = [Raw(b"%d" % at) for at in range(n)]
    if poisoned:
        inputs[n // 2] = POISON
    return Raw(msgspec.json.encode(inputs))


def _try_again(error: Exception) -> bool:
    return getattr(error, "code", "") in ("unavailable", "in-flight")


def _whatever(_value: Any, _error: Exception | None) -> None:
    """People get an answer, or none; what must be true is checked in the store."""


def run(seed: int, *, odds: Odds | None = None, crash_at: int | None = None, limited: bool = False) -> World:
    """Run a seed, `limited` with limits, keys and runs. Raises Failed with its history when it breaks an invariant."""
    simulation = Simulation(seed, odds=odds, crash_at=crash_at, limited=limited)
    try:
        return simulation.run()
    except Broken as broken:
        again = f"python -m tests.simulation --seed {seed}" + ("" if crash_at is None else f" --crash-at {crash_at}")
        again += " --limited" if limited else ""
        text = f"seed {seed}: {broken}\n{simulation.world.tell_history()}\nseed {seed}: {broken}\nagain: {again}"
        raise Failed(text) from broken
    finally:
        simulation.world.connection.close()


def digest(world: World) -> str:
    """Return a digest of all that happened."""
    return hashlib.sha256(world.tell_history().encode()).hexdigest()
