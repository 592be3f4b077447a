"""What should become of jobs, written down a second time, as plainly as possible: no store, no batches, no events.

It shares the words with the program and nothing else; above all not `core.settling`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SECOND = 1_000_000
LEASE = 15 * SECOND
SLACK = SECOND // 2
CRASHES = 5
BASE, FACTOR, LIMIT, JITTER = 4.0, 2.0, 16.0, 0.5
WAITING = ("blocked", "scheduled", "queued")
FINAL = ("succeeded", "failed", "aborted", "canceled")
DEFAULTS = {"h": (None, 0), "again": (6.0, 2)}  # what the handlers say: timeout, retries


@dataclass
class ModelJob:
    id: str
    handler: str
    queue: str
    priority: int
    run_at: int
    state: str = ""
    after: tuple[str, ...] = ()
    timeout_s: float | None = None
    retries: int | None = None
    grace_s: float = 1.0
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    max_failures: int | None = None
    worker: str | None = None
    deadline: int | None = None
    lease_end: int | None = None
    aborting: bool = False
    confirmed: bool | None = None
    reason: str | None = None
    owner: str = "default"


@dataclass
class ModelWorker:
    id: str
    queues: tuple[str, ...]
    lease_until: int
    gone: bool = False
    draining: bool = False


@dataclass
class Model:
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    workers: dict[str, ModelWorker] = field(default_factory=dict)
    turns: dict[tuple[str, int, str], int] = field(default_factory=dict)  # when owners are due, by queue and priority
    clocks: dict[tuple[str, int], int] = field(default_factory=dict)

    # -- people

    def submit(self, job: ModelJob, now: int) -> None:
        self.jobs[job.id] = job
        states = [self.jobs[after].state for after in job.after]
        job.max_failures = None if job.retries is None else job.retries + 1
        if any(state in ("failed", "aborted", "canceled") for state in states):
            job.state, job.reason = "canceled", "dependency"
        elif any(state != "succeeded" for state in states):
            job.state = "blocked"
        else:
            self._wait(job, now)

    def abort(self, job: ModelJob) -> bool:
        if job.state in FINAL:
            return False
        if job.state == "running":
            job.aborting = True
        else:
            self._cancel(job, "requested")
        return True

    def edit(self, job: ModelJob, now: int, *, priority: int | None, delay: float | None, queue: str | None) -> bool:
        if job.state not in WAITING:
            return False
        job.priority = job.priority if priority is None else priority
        job.queue = queue or job.queue
        if delay is not None:
            job.run_at = now + round(delay * SECOND)
        if job.state != "blocked":
            self._wait(job, now)
        return True

    # -- workers

    def claim(self, worker: ModelWorker, n: int, now: int) -> list[tuple[str, int]]:
        if worker.lease_until <= now or worker.draining:
            return []
        ready = [
            j for j in self.jobs.values() if j.state == "queued" and (not worker.queues or j.queue in worker.queues)
        ]
        chosen = []
        while ready and len(chosen) < n:
            chosen.append(self._next(ready))
            ready.remove(chosen[-1])
        for job in chosen:
            timeout, retries = DEFAULTS[job.handler]
            job.state, job.worker, job.lease_end = "running", worker.id, None
            job.attempt += 1
            job.timeout_s = timeout if job.timeout_s is None else job.timeout_s
            job.max_failures = retries + 1 if job.max_failures is None else job.max_failures
            job.deadline = None if job.timeout_s is None else now + round(job.timeout_s * SECOND)
        return [(job.id, job.attempt) for job in chosen]

    def _next(self, ready: list[ModelJob]) -> ModelJob:
        """Return whose turn it is: priority, then the owner that is due first, then age; every start costs the same."""
        top = max(job.priority for job in ready)
        firsts: list[tuple[int, ModelJob]] = []  # of each queue: how far ahead of its clock, and the job
        for queue in {job.queue for job in ready if job.priority == top}:
            clock = self.clocks.get((queue, top), 0)
            heads: dict[str, ModelJob] = {}
            for job in sorted((j for j in ready if (j.queue, j.priority) == (queue, top)), key=_age):
                heads.setdefault(job.owner, job)
            ahead = {owner: max(0, self.turns.get((queue, top, owner), 0) - clock) for owner in heads}
            first = min(heads.values(), key=lambda job: (ahead[job.owner], _age(job)))
            firsts.append((ahead[first.owner], first))
        least = {owner: min(a for a, job in firsts if job.owner == owner) for owner in {job.owner for _, job in firsts}}
        ahead_by, job = min(firsts, key=lambda each: (least[each[1].owner], _age(each[1])))
        clock = self.clocks.get((job.queue, top), 0) + ahead_by
        self.clocks[job.queue, top] = clock
        self.turns[job.queue, top, job.owner] = clock + 1
        return job

    def heartbeat(self, worker: ModelWorker, named: set[tuple[str, int]], now: int) -> set[tuple[str, int]]:
        """Return what is lost."""
        held = self.held(worker)
        for job in held:
            if (job.id, job.attempt) in named:
                job.lease_end = None
            elif job.lease_end is None:
                job.lease_end = worker.lease_until
        worker.lease_until = now + LEASE
        return named - {(job.id, job.attempt) for job in held}

    def held(self, worker: ModelWorker) -> list[ModelJob]:
        return [j for j in self.jobs.values() if j.state == "running" and j.worker == worker.id]

    def settle(
        self,
        job: ModelJob,
        outcome: str,
        now: int,
        *,
        retry_in_s: float | None = None,
        refused: bool = False,
        charged: bool = True,
    ) -> None:
        job.worker, job.deadline, job.lease_end = None, None, None
        if job.aborting:
            job.confirmed = outcome != "lost"
            self._end(job, "aborted", "requested", now)
        elif outcome == "succeeded":
            self._end(job, "succeeded", None, now)
        elif outcome == "bad_result" or (outcome == "errored" and refused):
            job.failures += 1
            self._end(job, "failed", "bad_result" if outcome == "bad_result" else "refused", now)
        elif outcome in ("errored", "timed_out", "aborted"):
            job.failures += 1
            if job.failures >= (job.max_failures or 1):
                self._end(job, "failed", "timed_out" if outcome == "timed_out" else "error", now)
            else:
                self._pause(job, self._back_off(job.failures) if retry_in_s is None else retry_in_s, now)
        elif outcome == "interrupted" or (outcome == "lost" and not charged):
            job.state = "queued"
        elif outcome == "snoozed":
            self._pause(job, retry_in_s or 0.0, now)
        else:
            assert outcome in ("lost", "out_of_memory")
            job.crashes += 1
            if job.crashes == CRASHES:
                self._end(job, "failed", outcome, now)
            elif job.crashes == 1:
                job.state = "queued"
            else:
                self._pause(job, self._back_off(job.crashes - 1), now)

    def leave(self, worker: ModelWorker, now: int) -> None:
        if not worker.gone:
            worker.gone = True
            for job in self.held(worker):
                self.settle(job, "interrupted", now)

    # -- upkeep

    def promote(self, now: int) -> None:
        for job in self.jobs.values():
            if job.state == "scheduled" and job.run_at <= now:
                job.state = "queued"

    def rescue(self, now: int) -> None:
        for worker in self.workers.values():
            if not worker.gone and worker.lease_until <= now:
                worker.gone = True
                for job in self.held(worker):
                    if job.lease_end is None or job.lease_end <= now:
                        self.settle(job, "lost", now)
        for job in list(self.jobs.values()):
            if job.state == "running" and job.lease_end is not None and job.lease_end <= now:
                assert job.worker is not None
                self.settle(job, "lost", now, charged=self.workers[job.worker].gone)

    def end_overdue(self, now: int) -> None:
        for job in list(self.jobs.values()):
            if job.deadline is not None and now > job.deadline + SLACK + round(job.grace_s * SECOND) + LEASE:
                self.settle(job, "lost" if job.aborting else "timed_out", now)

    # -- what follows

    def _wait(self, job: ModelJob, now: int) -> None:
        job.state = "scheduled" if job.run_at > now else "queued"

    def _back_off(self, failures: int) -> float:
        return min(LIMIT, BASE * FACTOR ** (failures - 1)) * (0.5 + 0.5 * JITTER)

    def _pause(self, job: ModelJob, pause_s: float, now: int) -> None:
        job.run_at = now + round(pause_s * SECOND)
        self._wait(job, now)

    def _end(self, job: ModelJob, state: str, reason: str | None, now: int) -> None:
        job.state, job.reason = state, reason
        for other in self.jobs.values():
            if other.state == "blocked" and job.id in other.after:
                if state != "succeeded":
                    self._cancel(other, "dependency")
                elif all(self.jobs[after].state == "succeeded" for after in other.after):
                    self._wait(other, now)

    def _cancel(self, job: ModelJob, reason: str) -> None:
        self._end(job, "canceled", reason, 0)


def _age(job: ModelJob) -> tuple[int, str]:
    return job.run_at, job.id
