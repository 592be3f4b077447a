"""A worker as worker/queue.py describes it, without processes: what it runs is a plan with an end.

Its rules, which the real supervisor must keep too:

- Every call may be answered late, twice or never.
- A heartbeat names all that it holds: what runs, and what has ended and is not settled yet.
- Each lease is good for one lease's length from the sending of the last answered heartbeat that *named* it. Until one
  did, it counts from the last heartbeat that was answered before its claim was *sent*: a later one may have come to the
  service after the claim, and have said there that this worker does not hold it.
- What has a lease that is no longer good is killed, by this worker's own monotonic clock, before anything else is done;
  it stops a little earlier than that, by as much as the service lets the store's clock step without taking it for a jump.
- `NotFound` and `lost` mean: kill, report nothing.
- A report is sent after the end of what it reports, again and again, until it is answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Raw

from rota.core.errors import NotFound
from rota.core.jobs import (
    AbortOrder,
    Free,
    HandlerSpec,
    Held,
    Lease,
    LogChunk,
    Orders,
    Progress,
    ProgressNote,
    Proof,
    Report,
    Welcome,
    WorkerHello,
)  # fmt: skip
from rota.core.states import Outcome

from .shards import FAILURE, Name, Run, Shard
from .world import SECOND, World

if TYPE_CHECKING:
    from .invariants import Invariants

MARGIN_S = 2.0
_TROUBLE = (
    Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.ERRORED, Outcome.ERRORED, Outcome.OUT_OF_MEMORY,
    Outcome.SNOOZED, Outcome.INTERRUPTED, Outcome.BAD_RESULT, Outcome.TIMED_OUT,
)  # fmt: skip


class SimulatedWorker:
    """One machine that runs one worker after the other: each boot has an id of its own."""

    fences_itself = True  # tests of the simulation take this away

    def __init__(
        self, world: World, invariants: Invariants, name: str, *, slots: int, queues: list[str], owned: bool
    ) -> None:
        self.world = world
        self.invariants = invariants
        self.name = name
        self.slots = slots
        self.queues = queues
        self.owned = owned
        self.calm = False
        self.cut_off_until = 0
        self.stalled_until = 0
        self.boot = 0
        self.id: str | None = None
        self.lease = 0
        self.heartbeat_s = 0.0
        self.answered = 0  # when the last answered heartbeat, or the registration, was sent
        self.held: dict[Name, Run] = {}
        self.draining = False
        self.claiming: int | None = None
        self.start()

    # -- life

    def start(self) -> None:
        self.boot += 1
        self.id, self.draining, self.claiming = None, False, None
        self._register(self.boot)

    def die(self) -> None:
        """kill -9: everything is gone at once, and the machine starts another worker some time later."""
        self.world.note("worker {} dies", self.name)
        self._kill_all()
        self.stalled_until = 0
        self._start_again(10)

    def _start_again(self, most: float) -> None:
        self.boot += 1
        self.id = None
        boot = self.boot
        self.world.after(self.world.rng.uniform(0.1, most), lambda: self.start() if boot == self.boot else None)

    def stall(self, seconds: float) -> None:
        """The whole machine stands still; its monotonic clock goes on."""
        self.world.note("worker {} stalls for {:.3f} s", self.name, seconds)
        self.stalled_until = self.world.now + round(seconds * SECOND)
        self.world.after(seconds, lambda: self._awake(self.boot))

    @property
    def stalled(self) -> bool:
        return self.world.now < self.stalled_until

    def _awake(self, boot: int) -> None:
        if boot == self.boot and not self.stalled:
            self.world.note("worker {} goes on", self.name)
            self._fence()
            for run in self.held.values():
                self.invariants.runs(self, run)

    def _later(self, seconds: float, action: Any) -> None:
        """Do something in this boot, not while stalled, and never before looking whether the leases are still good."""
        boot = self.boot

        def act() -> None:
            if boot != self.boot:
                return
            if self.stalled:
                self.world.after((self.stalled_until - self.world.now) / SECOND, act)
                return
            self._fence()
            action()

        self.world.after(seconds, act)

    def _heard(self, action: Any) -> Any:
        """Wrap what handles a reply: in this boot, after a stall, after the look at the leases."""
        boot = self.boot

        def hear(value: Any, error: Exception | None) -> None:
            if boot == self.boot:
                self._later(0, lambda: action(value, error))

        return hear

    # -- leases

    def _fence(self) -> None:
        if not self.fences_itself:
            return
        for run in list(self.held.values()):
            if run.report is None and self.world.now > run.good_from + self.lease:
                self.world.note("worker {} kills {}: its lease was not renewed", self.name, run.name)
                self._kill(run)

    def _watch_lease(self, run: Run) -> None:
        """Come back when the lease of what runs is over."""
        if self.held.get(run.name) is run and run.report is None and self.fences_itself:
            left = run.good_from + self.lease + 1 - self.world.now
            self._later(max(left, 1) / SECOND, lambda: self._watch_lease(run))

    def _kill(self, run: Run) -> None:
        if self.held.pop(run.name, None) is not None:
            self.invariants.ends(self, run)

    def _kill_all(self) -> None:
        for run in list(self.held.values()):
            self._kill(run)

    def _unknown(self) -> None:
        self.world.note("worker {} is unknown: kills all, registers again", self.name)
        self._kill_all()
        self.start()

    # -- calls

    @property
    def cut_off(self) -> bool:
        return self.world.now < self.cut_off_until

    def cut(self, seconds: float) -> None:
        """Nothing of what this machine sends arrives, and nothing that is sent to it."""
        self.world.note("worker {} is cut off for {:.3f} s", self.name, seconds)
        self.cut_off_until = self.world.now + round(seconds * SECOND)

    def _call(self, what: str, make: Any, reply: Any, saw: Any = lambda _value: None) -> None:
        if not self.cut_off:
            self.world.call(
                f"{self.name}.{what}", make, lambda value, error: None if self.cut_off else reply(value, error), saw
            )

    def _register(self, boot: int) -> None:
        if boot != self.boot or self.id is not None:
            return
        specs = [HandlerSpec(name="plain", retries=2), HandlerSpec(name="busy", mode="async", timeout=6.0)]
        hello = WorkerHello(
            name=self.name, handlers=specs, scripts=not self.queues, slots=self.slots, async_slots=1, queues=self.queues,
            owned=self.owned, arrays=True,
        )  # fmt: skip
        sent = self.world.now

        def answered(welcome: Welcome | None, _error: Exception | None) -> None:
            if welcome is not None and self.id is None:
                self.answered = sent
                self._registered(welcome)

        self._call("register", lambda s: s.work.register(hello), self._heard(answered))
        self._later(self.world.rng.uniform(1, 3), lambda: self._register(boot))

    def _registered(self, welcome: Welcome) -> None:
        self.id = welcome.worker
        self.world.note("worker {} is {}", self.name, self.id)
        self.lease = round((welcome.lease_s - min(MARGIN_S, welcome.lease_s / 5)) * SECOND)
        self.heartbeat_s = welcome.heartbeat_s
        self._beat()
        self._claim()

    def _beat(self) -> None:
        sent = self.world.now
        held = [Held(job=job, attempt=attempt) for job, attempt in self.held]
        named = list(self.held.values())
        worker = self.id

        def answered(orders: Orders | None, error: Exception | None) -> None:
            if worker != self.id:
                return
            if isinstance(error, NotFound):
                self._unknown()
            elif orders is not None:
                self.answered = max(self.answered, sent)
                for run in named:
                    run.good_from = max(run.good_from, sent)
                self._obey(orders)

        assert worker is not None
        self._call("heartbeat", lambda s: s.work.heartbeat(worker, held), self._heard(answered))
        self._later(self.heartbeat_s * self.world.rng.uniform(0.8, 1.0), self._beat)

    def watch(self) -> None:
        """Ask for orders now: somebody gave a hint."""
        worker = self.id
        if worker is not None and not self.stalled:
            self._call(
                "watch", lambda s: s.work.watch(worker, 0.0),
                self._heard(lambda orders, _error: self._obey(orders) if orders and worker == self.id else None),
            )  # fmt: skip

    def _obey(self, orders: Orders) -> None:
        for order in orders.abort:
            run = self.held.get((order.job, order.attempt))
            if run is not None and run.report is None:
                self._abort(run, order)
        for held in orders.halt:
            run = self.held.get((held.job, held.attempt))
            if isinstance(run, Shard):
                run.halt(self)
        for lost in orders.lost:
            run = self.held.get((lost.job, lost.attempt))
            if run is not None:
                self.world.note("worker {} is told that {} is lost", self.name, run.name)
                self._kill(run)
        if orders.drain and not self.draining:
            self.draining = True
            self.world.note("worker {} drains", self.name)
            for run in list(self.held.values()):
                if isinstance(run, Shard):
                    run.halt(self)
            self._leave_when_empty()

    def _abort(self, run: Run, order: AbortOrder) -> None:
        if run.ending:
            return
        run.ending = True
        outcome = Outcome.ABORTED if order.why == "requested" else Outcome.TIMED_OUT
        took = self.world.rng.uniform(0, order.grace_s)
        if isinstance(run, Shard):
            shard = run
            shard.end = shard.end or Outcome.ABORTED
            self._later(took, lambda: shard.stop(self))
        else:
            self._later(took, lambda: self._end(run, outcome))

    def _claim(self) -> None:
        if self.draining or self.id is None:
            return
        sent = self.claiming = self.world.now
        good_from = self.answered
        worker = self.id
        busy = sum(1 for run in self.held.values() if run.lease.handler == "busy")
        free = Free(
            process=self.slots - (len(self.held) - busy), asynchronous=1 - busy, total=self.slots + 1 - len(self.held)
        )

        def answered(leases: list[Lease] | None, error: Exception | None) -> None:
            if worker != self.id or self.claiming != sent:  # given up already, or answered twice
                return
            self.claiming = None
            if isinstance(error, NotFound):
                self._unknown()
                return
            if leases and self.world.now <= good_from + self.lease:
                for lease in leases:
                    if lease.first is None:
                        self._begin(Run(lease=lease, good_from=good_from))
                    else:
                        self._begin_shard(Shard(lease=lease, good_from=good_from))
            self._later(self.world.rng.uniform(0.1, 2.0), self._claim)

        if free.total > 0 and (free.process > 0 or free.asynchronous > 0):
            self._call(
                "claim", lambda s: s.work.claim(worker, free), self._heard(answered),
                lambda leases: self.invariants.claimed(worker, leases),
            )  # fmt: skip
            self._later(self.world.rng.uniform(3, 25), lambda: self._claim() if self.claiming == sent else None)
        else:
            self.claiming = None
            self._later(self.world.rng.uniform(0.1, 1.0), self._claim)

    # -- attempts

    def _begin(self, run: Run) -> None:
        rng = self.world.rng
        self.held[run.name] = run
        self.world.note("worker {} begins {}", self.name, run.name)
        self.invariants.begins(self, run)
        self._watch_lease(run)
        took = rng.choice((0.001, 0.05, rng.uniform(0, 3), rng.uniform(0, 30 if not self.calm else 3)))
        outcome = Outcome.SUCCEEDED if self.calm else rng.choice(_TROUBLE)
        self._later(took, lambda: self._end(run, outcome))
        if run.lease.timeout_s is not None and rng.random() < 0.7:  # else the service has to remind
            self._later(run.lease.timeout_s, lambda: self._abort(run, _own_timeout(run)))
        if rng.random() < 0.2:
            self._later(took * rng.random(), lambda: self._tell(run))

    def _begin_shard(self, shard: Shard) -> None:
        if self.draining:
            shard.end = Outcome.INTERRUPTED
        self.held[shard.name] = shard
        self.world.note("worker {} begins {}", self.name, shard.name)
        self._watch_lease(shard)
        shard.go_on(self)

    def _end(self, run: Run, outcome: Outcome) -> None:
        if self.held.get(run.name) is not run or run.report is not None:
            return
        self.world.note("worker {} ends {}: {}", self.name, run.name, outcome.value)
        self.invariants.ends(self, run)
        good = outcome is Outcome.SUCCEEDED
        job, attempt = run.name
        run.report = Report(
            job=job, attempt=attempt, outcome=outcome, result=Raw(b"1") if good else None, error=None if good else FAILURE,
            retry_in_s=self.world.rng.choice((0.0, 2.0)) if outcome is Outcome.SNOOZED else None,
            refused=outcome is Outcome.ERRORED and self.world.rng.random() < 0.1,
            proof=Proof(processes=1) if outcome in (Outcome.ABORTED, Outcome.TIMED_OUT) else None,
        )  # fmt: skip
        self._settle()

    def _settle(self) -> None:
        runs = [run for run in self.held.values() if run.report is not None]
        if not runs or self.id is None:
            return
        worker = self.id
        reports = [run.report for run in runs if run.report is not None]

        def answered(answers: Any, _error: Exception | None) -> None:
            if answers is not None and worker == self.id:
                for run in runs:
                    if self.held.get(run.name) is run:
                        del self.held[run.name]

        self._call(
            "settle", lambda s: s.work.settle(worker, reports), self._heard(answered),
            self.invariants.settled,
        )  # fmt: skip
        self._later(self.world.rng.uniform(0.5, 4), self._settle)

    def _tell(self, run: Run) -> None:
        if self.held.get(run.name) is run and run.report is None and self.id is not None:
            worker, (job, attempt) = self.id, run.name
            logs = [
                LogChunk(job=job, attempt=attempt, n=n, stream="stdout", text=f"{job} {attempt} {n}\n") for n in (0, 1)
            ]
            note = ProgressNote(job=job, attempt=attempt, progress=Progress(0.5, "half"))
            self._call("tell", lambda s: s.work.tell(worker, logs, [note], [], []), lambda _value, _error: None)

    # -- the end

    def leave(self) -> None:
        """SIGTERM: end what runs, give it back, go."""
        if self.id is not None and not self.stalled:
            self.world.note("worker {} leaves", self.name)
            self._kill_all()
            self.draining = True
            self._leave(self.id)

    def _leave_when_empty(self) -> None:
        if self.held:
            self._later(0.5, self._leave_when_empty)
        elif self.id is not None:
            self._leave(self.id)

    def _leave(self, worker: str) -> None:
        if worker != self.id:
            return
        self.claiming = None  # whatever an earlier claim still brings goes back with the rest

        def answered(_value: Any, error: Exception | None) -> None:
            if error is None and worker == self.id:
                self._kill_all()
                self._start_again(5)

        self._call("leave", lambda s: s.work.leave(worker), self._heard(answered))
        self._later(2.0, lambda: self._leave(worker))


def _own_timeout(run: Run) -> AbortOrder:
    return AbortOrder(job=run.name[0], attempt=run.name[1], grace_s=run.lease.grace_s, why="timed_out")
