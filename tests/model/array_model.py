"""What should become of arrays, written down a second time: every input on its own, no ranges and no counters.

How large a shard is, is the service's affair; the model says which inputs it may have.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .model import BASE, CRASHES, FACTOR, JITTER, LEASE, LIMIT, SECOND


@dataclass
class Input:
    failures: int = 0
    crashes: int = 0
    place: str = "new"  # new, ready (again), later, leased, over
    run_at: int = 0
    result: str | None = None
    stands: bool = False  # it succeeded in an earlier array


@dataclass
class ModelShard:
    worker: str
    first: int
    n: int
    told: int
    failures: int
    crashes: int
    lease_end: int | None = None

    @property
    def untold(self) -> range:
        return range(self.told, self.first + self.n)


@dataclass
class ModelArray:
    id: str
    inputs: list[Input]
    parallel: int | None
    halt: tuple[str, str, int] | None  # now or soon, what, how many
    max_failures: int
    state: str = "queued"
    attempt: int = 0
    aborting: bool = False
    proven: bool = True
    halted: bool = False
    confirmed: bool | None = None
    shards: dict[int, ModelShard] = field(default_factory=dict)
    base: str | None = None

    @property
    def stopped(self) -> bool:
        return self.aborting or self.halted

    def count(self, *results: str) -> int:
        return sum(i.result in results for i in self.inputs)

    # -- shards

    def next(self) -> int | None:
        """Return the input with which the next shard must begin; None when there is none to cut."""
        room = self.parallel is None or len(self.shards) < self.parallel
        if self.state not in ("queued", "running") or self.stopped or not room:
            return None
        for place in ("ready", "new"):
            for at, one in enumerate(self.inputs):
                if one.place == place:
                    return at
        return None

    def cut(self, worker: str, attempt: int, first: int, n: int) -> None:
        assert (attempt, first) == (self.attempt + 1, self.next()), (
            "the lowest comes first, what ran before first of all"
        )
        head = self.inputs[first]
        kind = (head.place, head.failures, head.crashes)
        for one in self.inputs[first : first + n]:
            assert (one.place, one.failures, one.crashes) == kind, "those of a shard have the same past"
            one.place = "leased"
        assert n >= 1
        self.state, self.attempt = "running", attempt
        self.shards[attempt] = ModelShard(worker, first, n, first, head.failures, head.crashes)

    def tell(self, worker: str, attempt: int, ends: list[tuple[int, str, float | None, bool]], now: int) -> None:
        shard = self.shards.get(attempt)
        if shard is None or shard.worker != worker:
            return
        stopped = self.stopped
        for at, outcome, retry_in_s, refused in sorted(ends, key=lambda end: end[0]):
            if at in shard.untold:
                for skipped in range(shard.told, at):
                    self.inputs[skipped].place = "ready"
                shard.told = at + 1
                self._settle(self.inputs[at], outcome, retry_in_s, now, refused=refused, stopped=stopped)
        self._look_at_rule()

    def end(self, attempt: int, outcome: str, *, charged: bool = True) -> None:
        shard = self.shards.pop(attempt)
        crashes = shard.crashes + (charged and outcome not in ("interrupted", "snoozed"))
        for at in shard.untold:
            one = self.inputs[at]
            one.place, one.crashes = "ready", crashes
            if crashes == CRASHES and not self.stopped:
                one.place, one.result = "over", "failed"
        self._look_at_rule()
        if self.aborting and outcome == "lost":
            self.proven = False
        self.finish()

    def finish(self) -> None:
        if self.shards or self.state != "running":
            return
        if self.aborting:
            self.state, self.confirmed = "aborted", self.proven
        elif self.halted or all(one.place == "over" for one in self.inputs):
            assert self.halt is None or self.halt[1] in ("fail", "success", "done")
            goal = self.halted and self.halt is not None and self.halt[1] == "success"
            self.state = "failed" if self.count("failed", "aborted") and not goal else "succeeded"

    def abort(self) -> bool:
        if self.state == "queued":
            self.state = "canceled"
        elif self.state == "running":
            self.aborting = True
            self.finish()
        else:
            return False
        return True

    def promote(self, now: int) -> None:
        for one in self.inputs:
            if one.place == "later" and one.run_at <= now:
                one.place = "ready"

    def _settle(
        self, one: Input, outcome: str, retry_in_s: float | None, now: int, *, refused: bool, stopped: bool
    ) -> None:
        if outcome == "succeeded":
            one.place, one.result = "over", "succeeded"
        elif stopped:
            one.place, one.result = "over", "aborted"
        elif outcome == "bad_result" or (outcome == "errored" and refused):
            one.place, one.result = "over", "failed"
        elif outcome in ("errored", "timed_out", "aborted"):
            one.failures += 1
            if one.failures >= self.max_failures:
                one.place, one.result = "over", "failed"
            else:
                self._pause(one, _back_off(one.failures) if retry_in_s is None else retry_in_s, now)
        elif outcome in ("interrupted", "snoozed"):
            self._pause(one, (retry_in_s or 0.0) if outcome == "snoozed" else 0.0, now)
        else:
            one.crashes += 1
            if one.crashes == CRASHES:
                one.place, one.result = "over", "failed"
            else:
                self._pause(one, 0.0 if one.crashes == 1 else _back_off(one.crashes - 1), now)

    def _pause(self, one: Input, pause_s: float, now: int) -> None:
        one.run_at = now + round(pause_s * SECOND)
        one.place = "later" if one.run_at > now else "ready"

    def _look_at_rule(self) -> None:
        if self.halt is None or self.stopped:
            return
        good, bad = self.count("succeeded"), self.count("failed", "aborted")
        self.halted = {"fail": bad, "success": good, "done": good + bad}[self.halt[1]] >= self.halt[2]


@dataclass
class Workers:
    """Leases: one a worker, and ends of their own for what a heartbeat did not name."""

    until: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def held(self, worker: str, arrays: dict[str, ModelArray]) -> list[tuple[ModelArray, int]]:
        return [(a, n) for a in arrays.values() for n, shard in a.shards.items() if shard.worker == worker]

    def heartbeat(self, worker: str, named: set[tuple[str, int]], arrays: dict[str, ModelArray], now: int) -> None:
        for array, attempt in self.held(worker, arrays):
            shard = array.shards[attempt]
            if (array.id, attempt) in named:
                shard.lease_end = None
            elif shard.lease_end is None:
                shard.lease_end = self.until[worker]
        self.until[worker] = now + LEASE

    def rescue(self, arrays: dict[str, ModelArray], now: int) -> None:
        for worker, until in self.until.items():
            if worker not in self.gone and until <= now:
                self.gone.add(worker)
                for array, attempt in self.held(worker, arrays):
                    end = array.shards[attempt].lease_end
                    if end is None or end <= now:
                        array.end(attempt, "lost")
        for array in arrays.values():
            for attempt, shard in list(array.shards.items()):
                if shard.lease_end is not None and shard.lease_end <= now:
                    array.end(attempt, "lost", charged=shard.worker in self.gone)

    def leave(self, worker: str, arrays: dict[str, ModelArray]) -> None:
        self.gone.add(worker)
        for array, attempt in self.held(worker, arrays):
            array.end(attempt, "interrupted")


def _back_off(failures: int) -> float:
    return min(LIMIT, BASE * FACTOR ** (failures - 1)) * (0.5 + 0.5 * JITTER)
