"""A shard on a simulated worker. Its rules, which the real one must keep too:

- Its inputs run one after another, each only while the shard's lease is good.
- Their ends are told in order, in batches, each again and again until it is answered, before the next.
- The shard's own report comes after all of them; what has not run by then is given back with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from rota.core.jobs import Failure, InputReport, Lease, Proof, Report
from rota.core.states import Outcome

if TYPE_CHECKING:
    from .workers import SimulatedWorker

Name = tuple[str, int]
FAILURE = Failure(type="Simulated", message="as planned")
POISON = Raw(b'"poison"')  # an input that takes its worker along
_TROUBLE = (
    *(Outcome.SUCCEEDED,) * 8, Outcome.ERRORED, Outcome.ERRORED, Outcome.OUT_OF_MEMORY, Outcome.SNOOZED, Outcome.LOST,
    Outcome.INTERRUPTED, Outcome.BAD_RESULT, Outcome.TIMED_OUT, Outcome.ABORTED,
)  # fmt: skip


@dataclass
class Run:
    """An attempt that this worker holds; `report` is there once it has ended and until that is settled."""

    lease: Lease
    good_from: int
    report: Report | None = None
    ending: bool = False

    @property
    def name(self) -> Name:
        return self.lease.job, self.lease.attempt

    @property
    def executes(self) -> str | None:
        """What runs now: the job."""
        return self.lease.job if self.report is None else None


@dataclass
class Shard(Run):
    """A shard that this worker holds. `untold` are ends of inputs that no answer came for, `batch` those under way."""

    at: int = 0  # of the lease's inputs, the next one
    running: int | None = None  # the number of the input that runs
    end: Outcome | None = None  # why no other input is started
    untold: list[InputReport] = field(default_factory=list)
    batch: list[InputReport] | None = None

    @property
    def executes(self) -> str | None:
        """What runs now: one input, or between two of them nothing."""
        return None if self.running is None else f"{self.lease.job}[{self.running}]"

    def go_on(self, worker: SimulatedWorker) -> None:
        """Start the next input, or tell the end of the shard once all that is over was told."""
        if worker.held.get(self.name) is not self or self.report is not None or self.running is not None:
            return
        if self.end is None and self.at == len(self.lease.inputs):
            self.end = Outcome.SUCCEEDED
        if self.end is None:
            self._begin(worker)
        elif not self.untold:
            self._over(worker, self.end)

    def stop(self, worker: SimulatedWorker) -> None:
        """End what runs: its input is not over, and the shard is aborted."""
        if worker.held.get(self.name) is not self or self.report is not None:
            return
        self.end = Outcome.ABORTED
        if self.running is not None:
            worker.world.note("worker {} stops input {} of {}", worker.name, self.running, self.name)
            worker.invariants.ends(worker, self)
            self.running = None
        self.go_on(worker)

    def halt(self, worker: SimulatedWorker) -> None:
        """Start no other input."""
        if self.end is None:
            worker.world.note("worker {} halts {}", worker.name, self.name)
            self.end = Outcome.INTERRUPTED
            self.go_on(worker)

    def _begin(self, worker: SimulatedWorker) -> None:
        rng, calm = worker.world.rng, worker.calm
        raw = self.lease.inputs[self.at]
        assert self.lease.first is not None
        index = self.lease.first + self.at
        self.at += 1
        if not calm and rng.random() < 0.01:  # it cannot be run, and is given back without a word
            self.go_on(worker)
            return
        self.running = index
        worker.invariants.begins(worker, self)
        took = rng.choice((0.001, 0.05, rng.uniform(0, 0.5), rng.uniform(0, 0.5 if calm else 8)))
        if raw == POISON and not calm and rng.random() < 0.7:
            worker._later(took, lambda: worker.die() if self._runs(worker, index) else None)
            return
        outcome = Outcome.SUCCEEDED if calm else rng.choice(_TROUBLE)
        worker._later(took, lambda: self._ended(worker, index, outcome, took))

    def _runs(self, worker: SimulatedWorker, index: int) -> bool:
        return worker.held.get(self.name) is self and self.running == index

    def _ended(self, worker: SimulatedWorker, index: int, outcome: Outcome, took: float) -> None:
        if not self._runs(worker, index):
            return
        worker.invariants.ends(worker, self)
        self.running = None
        good = outcome is Outcome.SUCCEEDED
        job, attempt = self.name
        worker.invariants.arrays.ended[job, attempt] = index + 1
        self.untold.append(InputReport(
            job=job, attempt=attempt, index=index, outcome=outcome, duration_s=took,
            result=Raw(b"%d" % index) if good else Raw(b"null"), error=None if good else FAILURE,
            retry_in_s=worker.world.rng.choice((0.0, 2.0)) if outcome is Outcome.SNOOZED else None,
            refused=outcome is Outcome.ERRORED and worker.world.rng.random() < 0.1,
        ))  # fmt: skip
        self._tell(worker)
        self.go_on(worker)

    def _tell(self, worker: SimulatedWorker) -> None:
        if self.batch is None and self.untold:
            self.batch = list(self.untold)
            self._send(worker, self.batch)

    def _send(self, worker: SimulatedWorker, batch: list[InputReport]) -> None:
        if self.batch is not batch or worker.held.get(self.name) is not self or worker.id is None:
            return
        id_ = worker.id

        def answered(_value: Any, error: Exception | None) -> None:
            if error is None and self.batch is batch:
                del self.untold[: len(batch)]
                self.batch = None
                if worker.world.rng.random() < 0.3:
                    worker.watch()
                self._tell(worker)
                self.go_on(worker)

        def call() -> None:
            worker._call("tell", lambda s: s.work.tell(id_, [], [], [], batch), worker._heard(answered))

        call()
        worker._later(worker.world.rng.uniform(0.5, 4), lambda: self._send(worker, batch))
        # And now and then a copy that comes when nobody thinks of it any more.
        if not worker.calm and worker.world.rng.random() < 0.25:
            worker.world.after(worker.world.rng.uniform(0.2, 10), call)

    def _over(self, worker: SimulatedWorker, outcome: Outcome) -> None:
        worker.world.note("worker {} ends {}: {}", worker.name, self.name, outcome.value)
        job, attempt = self.name
        proof = Proof(processes=1) if outcome is Outcome.ABORTED else None
        self.report = Report(job=job, attempt=attempt, outcome=outcome, proof=proof)
        worker._settle()
