"""Long random walks of arrays on the real service and store, step by step beside the model."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw, json

from rota.core.errors import Conflict, NotFound
from rota.core.jobs import Failure, Free, HandlerSpec, Held, InputReport, Report, Submission, WorkerHello
from rota.core.retry import Backoff
from rota.core.states import Outcome
from rota.service.service import Service
from rota.store.protocol import Store
from tests.embedded import store_at

from .array_model import Input, ModelArray, Workers
from .model import BASE, FACTOR, LEASE, LIMIT, SECOND
from .test_model import START, Fixed, NoHooks, drive

STEPS = 250
FINAL = ("succeeded", "failed", "aborted", "canceled")
_MOSTLY_GOOD = (*(Outcome.SUCCEEDED,) * 6, *Outcome)


class Walk:
    """A service and its model, and a seeded generator that decides what happens next."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.now = START
        self.arrays: dict[str, ModelArray] = {}
        self.workers = Workers()
        self.leases: list[tuple[str, str, int]] = []  # every one there ever was
        self.boots = 0
        self.open()
        self.register()

    def open(self) -> None:
        self.store = self.new_store()
        drive(self.store.open())
        self.boots += 1
        self.service = Service(
            self.store, sender=NoHooks(), rng=Fixed(self.boots), monotonic=lambda: (self.now - START) / SECOND
        )

    def new_store(self) -> Store:
        return store_at(Path(self.folder.name) / "rota.db", clock=lambda: self.now, inline=True)

    def close(self) -> None:
        drive(self.store.close())
        self.folder.cleanup()

    # -- choices

    def worker(self) -> str:
        present = [worker for worker in self.workers.until if worker not in self.workers.gone]
        return self.rng.choice(present) if present else self.register()

    def array(self) -> ModelArray:
        alive = [array for array in self.arrays.values() if array.state not in FINAL]
        return self.rng.choice(alive if alive and self.rng.random() < 0.8 else list(self.arrays.values()))

    def lease(self) -> tuple[str, str, int]:
        """Choose a lease, four times out of five one that is held."""
        held = [lease for lease in self.leases if lease[2] in self.arrays[lease[1]].shards]
        return self.rng.choice(held if held and self.rng.random() < 0.8 else self.leases)

    # -- people

    def submit(self) -> None:
        rng, n = self.rng, self.rng.choice((1, 2, 6, 30))
        halt = rng.choice(
            (None, None, (rng.choice(("now", "soon")), rng.choice(("fail", "success", "done")), rng.randint(1, 4)))
        )
        retries = rng.choice((0, 0, 2))
        parallel = rng.choice((None, None, 1, 2))
        job = drive(self.service.jobs.submit(Submission(
            handler="h", inputs=Raw(json.encode(list(range(n)))), parallel=parallel, retries=retries,
            halt=None if halt is None else f"{halt[0]},{halt[1]}={halt[2]}",
            backoff=Backoff(base=BASE, factor=FACTOR, limit=LIMIT),
        )))  # fmt: skip
        self.arrays[job.id] = ModelArray(job.id, [Input() for _ in range(n)], parallel, halt, retries + 1)

    def abort(self) -> None:
        array = self.array()
        if array.abort():
            drive(self.service.jobs.abort(array.id))
        else:
            with pytest.raises(Conflict):
                drive(self.service.jobs.abort(array.id))

    def retry(self) -> None:
        old = self.array()
        good = [one.result == "succeeded" for one in old.inputs]
        if old.state not in FINAL or all(good):
            with pytest.raises(Conflict):
                drive(self.service.jobs.retry(old.id))
            return
        job = drive(self.service.jobs.retry(old.id))
        inputs = [Input(place="over", result="succeeded", stands=True) if ok else Input(place="ready") for ok in good]
        self.arrays[job.id] = ModelArray(job.id, inputs, old.parallel, old.halt, old.max_failures, base=old.id)

    # -- workers

    def register(self) -> str:
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], arrays=True, slots=9)
        worker: str = drive(self.service.work.register(hello)).worker
        self.workers.until[worker] = self.now + LEASE
        return worker

    def claim(self) -> None:
        worker, n = self.worker(), self.rng.randint(1, 4)
        late = self.workers.until[worker] <= self.now
        leases = drive(self.service.work.claim(worker, Free(process=n, asynchronous=0, total=n)))
        assert not (late and leases)
        for lease in leases:
            first = next(array for array in sorted(self.arrays) if self.arrays[array].next() is not None)
            assert lease.job == first, "the oldest array first"
            self.arrays[lease.job].cut(worker, lease.attempt, lease.first, len(lease.inputs))
            assert [int(bytes(raw)) for raw in lease.inputs] == list(
                range(lease.first, lease.first + len(lease.inputs))
            )
            self.leases.append((worker, lease.job, lease.attempt))
        if len(leases) < n and not late:
            assert all(array.next() is None for array in self.arrays.values()), "there was room, and more to cut"

    def tell(self) -> None:
        worker, job, attempt = self.lease()
        array = self.arrays[job]
        shard = array.shards.get(attempt)
        at = shard.told if shard is not None else self.rng.randrange(len(array.inputs))
        at += self.rng.choice((0, 0, 0, 0, 0, -1, 1, 3))
        ends = []
        for index in range(max(0, at), max(0, at) + self.rng.choice((1, 1, 2, 8))):
            if self.rng.random() < 0.9:
                outcome = self.rng.choice(_MOSTLY_GOOD)
                ends.append((index, outcome.value, self.rng.choice((None, 0.0, 5.0)), self.rng.random() < 0.1))
        ends += self.rng.sample(ends, len(ends) // 3)
        self.rng.shuffle(ends)
        reports = [
            InputReport(
                job=job, attempt=attempt, index=index, outcome=Outcome(outcome), retry_in_s=pause, refused=refused
            )
            for index, outcome, pause, refused in ends
        ]
        teller = worker if self.rng.random() < 0.95 else self.worker()
        drive(self.service.work.tell(teller, [], [], [], reports))
        array.tell(teller, attempt, ends, self.now)

    def tell_the_rest(self) -> None:
        worker, job, attempt = self.lease()
        shard = self.arrays[job].shards.get(attempt)
        if shard is not None:
            ends = [(index, "succeeded", None, False) for index in shard.untold]
            reports = [
                InputReport(job=job, attempt=attempt, index=at, outcome=Outcome.SUCCEEDED) for at in shard.untold
            ]
            drive(self.service.work.tell(worker, [], [], [], reports))
            self.arrays[job].tell(worker, attempt, ends, self.now)
            self.settle((worker, job, attempt))

    def settle(self, lease: tuple[str, str, int] | None = None) -> None:
        worker, job, attempt = lease or self.lease()
        outcome = self.rng.choice((*Outcome, *(Outcome.SUCCEEDED, Outcome.INTERRUPTED, Outcome.LOST) * 3))
        charged = self.rng.random() < 0.8
        report = Report(
            job=job, attempt=attempt, outcome=outcome, charged=charged, error=Failure(type="E", message="m")
        )
        (answer,) = drive(self.service.work.settle(worker, [report]))
        array = self.arrays[job]
        holds = attempt in array.shards
        if holds:
            array.end(attempt, outcome.value, charged=charged)
        assert (answer.accepted, answer.state) == (holds, array.state)

    def heartbeat(self) -> None:
        worker = self.worker()
        held = {(array.id, attempt) for array, attempt in self.workers.held(worker, self.arrays)}
        named = set(self.rng.sample(sorted(held), len(held) - min(len(held), self.rng.choice((0, 0, 0, 1, 9)))))
        orders = drive(
            self.service.work.heartbeat(worker, [Held(job=j, attempt=a) for j, a in sorted(named | {("nobody", 1)})])
        )
        assert [lost.job for lost in orders.lost] == ["nobody"]
        mine = [(self.arrays[job], attempt) for job, attempt in held]
        now = {(a.id, n) for a, n in mine if a.aborting or (a.halted and a.halt is not None and a.halt[0] == "now")}
        assert {(order.job, order.attempt) for order in orders.abort} == now
        soon = {(a.id, n) for a, n in mine if a.halted} - now
        assert {(order.job, order.attempt) for order in orders.halt} == soon
        self.workers.heartbeat(worker, named, self.arrays, self.now)

    def leave(self) -> None:
        worker = self.worker()
        drive(self.service.work.leave(worker))
        self.workers.leave(worker, self.arrays)
        with pytest.raises(NotFound):
            drive(self.service.work.heartbeat(worker, []))

    # -- time, upkeep, restarts

    def let_time_pass(self) -> None:
        self.now += round(self.rng.choice((0.5, 1.0, 3.0, 5.0, 14.9, 16.0)) * SECOND)
        for step in self.rng.sample(("promote", "rescue"), self.rng.choice((1, 2, 2))):
            drive(getattr(self.service.upkeep, step)())
            if step == "promote":
                for array in self.arrays.values():
                    array.promote(self.now)
            else:
                self.workers.rescue(self.arrays, self.now)

    def restart(self) -> None:
        drive(self.store.close())
        self.open()

    # -- what must hold

    def check(self) -> None:
        for array in self.arrays.values():
            job: Any = drive(self.service.jobs.get(array.id))
            assert (job.state, job.attempt) == (array.state, array.attempt)
            over, bad = array.count("succeeded", "failed", "aborted"), array.count("failed", "aborted")
            assert (job.array.done, job.array.failed, job.array.live) == (over, bad, len(array.shards))
            assert (job.array.halted is not None, job.array.base) == (array.halted, array.base)
            assert (job.abort_requested_at is not None, job.confirmed) == (array.aborting, array.confirmed)
            assert job.open == (array.state == "running" and array.next() is not None)
            lines = drive(self.service.jobs.results(array.id))
            assert {line.outcome.index: line.outcome.state.value for line in lines} == {
                at: one.result for at, one in enumerate(array.inputs) if one.result is not None
            }


def test_what_is_random_happens() -> None:
    """Every end of an array, and every way of an input, comes in a few walks."""
    seen: set[str] = set()
    for seed in range(8):
        walk = wander(seed)
        for array in walk.arrays.values():
            seen |= {array.state, "halted" if array.halted else "", "base" if array.base else ""}
            seen |= {f"input {one.result}" for one in array.inputs}
    assert seen >= {*FINAL, "halted", "base", "input succeeded", "input failed", "input aborted"}


@pytest.mark.parametrize(
    "seed", [*range(8, 18), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(18, 30))]
)
def test_a_long_walk_of_arrays(seed: int) -> None:
    wander(seed)


def wander(seed: int, make: Callable[[int], Walk] = Walk) -> Walk:
    walk = make(seed)
    names = (
        ["claim"] * 3
        + ["tell"] * 4
        + ["tell_the_rest"] * 3
        + ["settle", "heartbeat", "heartbeat", "let_time_pass", "retry"]
    )
    try:
        for _ in range(STEPS):
            name = walk.rng.choice(
                names if walk.rng.random() < 0.9 else ["submit", "abort", "restart", "leave", "register"]
            )
            if not walk.arrays or (name in ("tell", "tell_the_rest", "settle") and not walk.leases):
                name = "submit" if not walk.arrays else "claim"
            getattr(walk, name)()
            walk.check()
    finally:
        walk.close()
    return walk
