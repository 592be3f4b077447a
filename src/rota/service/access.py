"""The service as one caller sees it: for a user there are only its owner's jobs, for a worker only its own workers.

Edges use these, never `Jobs`, `Work` and `PullWorkers` themselves. A job's owner never changes, nor does the token that
has registered a worker, so that what is checked first still holds when the work is done. What is another's is answered as
what does not exist: nobody can find out which ids there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from rota.core.access import IMAGES, SCRIPTS, SECRETS, Caller, Role
from rota.core.checkpoints import CheckpointNote, Kept
from rota.core.errors import Forbidden, NotFound
from rota.core.jobs import (
    Attempt,
    Event,
    Free,
    Held,
    HookCall,
    InputReport,
    Job,
    Lease,
    LogChunk,
    Orders,
    ProgressNote,
    Report,
    RunOptions,
    Settled,
    Submission,
    Welcome,
    WorkerHello,
)
from rota.core.states import Outcome
from rota.service.dry_runs import DryRun
from rota.service.explain import Explanation
from rota.service.inputs import InputLine
from rota.service.jobs import Edit, Jobs
from rota.service.pull import PullWorkers, Taken
from rota.service.work import Work
from rota.store.protocol import DeliveryRow, Query
from rota.tracing import Submitting

_NO_OPTIONS = RunOptions()


class JobsFor:
    """`Jobs`, for one caller; each method does what its namesake does."""

    def __init__(self, jobs: Jobs, caller: Caller, traceparent: str | None = None) -> None:
        self._jobs = jobs
        self._caller = caller
        self._traceparent = traceparent  # the span in which the caller asks

    async def submit(self, submission: Submission, *, key: str | None = None, api: str | None = None) -> Job:
        """Submit a job. Raises Forbidden too."""
        own = self.own(submission)
        with Submitting(self._traceparent) as span:
            job = await self._jobs.submit(own, key=key, api=api, caller=self._caller, traceparent=span.traceparent)
            span.submitted([job])
        return job

    async def submit_many(self, submissions: Sequence[Submission], *, key: str | None = None) -> list[Job]:
        """Submit jobs, all or none. Raises Forbidden too."""
        own = [self.own(submission, f"[{at}].") for at, submission in enumerate(submissions)]
        with Submitting(self._traceparent) as span:
            jobs = await self._jobs.submit_many(own, key=key, caller=self._caller, traceparent=span.traceparent)
            span.submitted(jobs)
        return jobs

    async def dry_run(self, submissions: Sequence[Submission], *, bulk: bool, key: str | None = None) -> DryRun:
        """Say what would become of submissions. Raises Forbidden too."""
        own = [self.own(submission, f"[{at}]." if bulk else "") for at, submission in enumerate(submissions)]
        return await self._jobs.dry_run(own, bulk=bulk, key=key, caller=self._caller)

    def own(self, submission: Submission, where: str = "") -> Submission:
        """Return a submission as the caller's own. Raises Forbidden when it is for somebody else, or may not be at all."""
        return own_submission(self._caller, submission, where)

    def check_owner(self, owner: str | None, field: str) -> None:
        """Raise Forbidden when somebody else's jobs are asked for by name."""
        check_owner(self._caller, owner, field)

    async def get(self, job: str) -> Job:
        """Return a job."""
        found = await self._jobs.get(job)
        if not self._caller.sees(found.owner):
            raise missing(job)
        return found

    async def checkpoint(self, job: str) -> Kept:
        """Return what an attempt has left for the next one."""
        await self.check(job)
        return await self._jobs.checkpoint(job)

    async def wait(self, job: str, wait_s: float) -> Job:
        """Return a job when it is over, or after `wait_s` seconds."""
        await self.check(job)
        return await self._jobs.wait(job, wait_s)

    async def find(self, query: Query) -> tuple[list[Job], str | None]:
        """Return a page of jobs. Raises Forbidden when another owner's are asked for."""
        return await self._jobs.find(self._narrow(query))

    async def find_each(self, queries: Sequence[Query]) -> list[tuple[list[Job], str | None]]:
        """Return a page for each query, all of one moment."""
        return await self._jobs.find_each([self._narrow(query) for query in queries])

    async def attempts(self, job: str) -> list[Attempt]:
        """Return a job's tries."""
        await self.check(job)
        return await self._jobs.attempts(job)

    async def events(self, job: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """Return a job's history."""
        await self.check(job)
        return await self._jobs.events(job, after=after, limit=limit)

    async def logs(
        self, job: str, *, attempt: int | None = None, after: tuple[int, int] | None = None, limit: int = 1000
    ) -> list[LogChunk]:
        """Return output."""
        await self.check(job)
        return await self._jobs.logs(job, attempt=attempt, after=after, limit=limit)

    async def results(self, job: str, *, after: int = -1, limit: int = 1000, bad: bool = False) -> list[InputLine]:
        """Return what became of an array's inputs."""
        await self.check(job)
        return await self._jobs.results(job, after=after, limit=limit, bad=bad)

    async def deliveries(self, job: str) -> list[DeliveryRow]:
        """Return the calls of a job's hook."""
        await self.check(job)
        return await self._jobs.deliveries(job)

    async def resend(self, job: str, delivery: str) -> list[DeliveryRow]:
        """Make a call of a job's hook again."""
        await self.check(job)
        return await self._jobs.resend(job, delivery)

    async def inputs(self, job: str) -> Raw:
        """Return an array's inputs."""
        await self.check(job)
        return await self._jobs.inputs(job)

    async def explain(self, job: str) -> Explanation:
        """Say why a job does not run."""
        await self.check(job)
        return await self._jobs.explain(job, self._caller)

    async def abort(self, job: str, *, only_waiting: bool = False) -> Job:
        """Stop a job."""
        await self.check(job)
        return await self._jobs.abort(job, by=self._caller.by, only_waiting=only_waiting)

    async def retry(self, job: str, *, key: str | None = None) -> Job:
        """Run a job again. Raises Forbidden too: what ran once may not be allowed now."""
        old = await self.get(job)
        check_kind_of(self._caller, old)
        with Submitting(self._traceparent) as span:
            again = await self._jobs.retry(job, key=key, caller=self._caller, traceparent=span.traceparent)
            span.submitted([again])
        return again

    async def edit(self, job: str, edit: Edit) -> Job:
        """Change a job that has not started."""
        await self.check(job)
        return await self._jobs.edit(job, edit, by=self._caller.by)

    async def check(self, job: str) -> None:
        """Raise NotFound unless there is such a job for the caller."""
        if self._caller.owner is not None and not self._caller.sees(await self._jobs.owner_of(job)):
            raise missing(job)

    def _narrow(self, query: Query) -> Query:
        self.check_owner(query.owner, "owner")
        return query if self._caller.owner is None else replace(query, owner=self._caller.owner)


class WorkFor:
    """`Work`, for one caller. A worker's token is one with the workers that it has registered; others do not exist for it."""

    def __init__(self, work: Work, caller: Caller) -> None:
        self._work = work
        self._caller = caller

    async def register(self, hello: WorkerHello) -> Welcome:
        """Make a worker known. Raises Forbidden for a queue that is not the token's."""
        return await self._work.register(self._own(hello))

    async def claim(self, worker: str, free: Free, wait_s: float = 0.0) -> list[Lease]:
        """Lease jobs."""
        await self._check(worker)
        return await self._work.claim(worker, free, wait_s)

    async def heartbeat(self, worker: str, held: list[Held]) -> Orders:
        """Renew leases."""
        await self._check(worker)
        return await self._work.heartbeat(worker, held)

    async def watch(self, worker: str, wait_s: float) -> Orders:
        """Wait for orders."""
        await self._check(worker)
        return await self._work.watch(worker, wait_s)

    async def settle(self, worker: str, reports: list[Report]) -> list[Settled]:
        """Record how attempts ended. Of jobs that are not this worker's nothing is told to a worker's token."""
        await self._check(worker)
        settled = await self._work.settle(worker, reports)
        if self._caller.role is not Role.WORKER:
            return settled
        return [each if each.accepted else replace(each, state=None) for each in settled]

    async def tell(
        self,
        worker: str,
        logs: list[LogChunk],
        progress: list[ProgressNote],
        hooks: list[HookCall],
        results: list[InputReport],
        *,
        checkpoints: Sequence[CheckpointNote] = (),
    ) -> None:
        """Store output."""
        await self._check(worker)
        await self._work.tell(worker, logs, progress, hooks, results, checkpoints=checkpoints)

    async def leave(self, worker: str) -> None:
        """Forget a worker."""
        await self._check(worker)
        await self._work.leave(worker)

    def _own(self, hello: WorkerHello) -> WorkerHello:
        caller = self._caller
        if caller.token is None:
            return replace(hello, token=None) if hello.token else hello
        queues = hello.queues or list(caller.queues)
        if caller.queues and (foreign := set(queues) - set(caller.queues)):
            raise Forbidden(f"queues: this token is for {', '.join(caller.queues)}, not for {min(foreign)!r}")
        # `owned` would have its jobs called lost with the server's next start: only the server's own workers die with it.
        return replace(hello, queues=queues, token=caller.token, owned=False)

    async def _check(self, worker: str) -> None:
        if self._caller.role is Role.WORKER and await self._work.token_of(worker) != self._caller.token:
            raise NotFound(f"there is no worker {worker!r}; register again")


class PullFor:
    """`PullWorkers`, for one caller: its tasks are the caller's jobs, its workers the caller's own."""

    def __init__(self, pull: PullWorkers, jobs: JobsFor, caller: Caller) -> None:
        self._pull = pull
        self._jobs = jobs
        self._caller = caller

    async def register(self, worker: str, functions: list[str], slots: int | None) -> None:
        """Make a worker known. Raises Forbidden when another token has one of this name."""
        await self._pull.register(worker, functions, slots, caller=self._caller)

    async def heartbeat(self, worker: str) -> list[str]:
        """Renew a worker's leases."""
        await self._check(worker)
        return await self._pull.heartbeat(worker)

    async def unregister(self, worker: str) -> None:
        """Forget a worker."""
        await self._check(worker)
        await self._pull.unregister(worker)

    async def take(self, worker: str, wait_s: float) -> Taken:
        """Lease a task, or wait for one. Raises Forbidden when another token has a worker of this name."""
        return await self._pull.take(worker, wait_s, caller=self._caller)

    async def deliver(self, worker: str, task: Job) -> None:
        """Note that the worker was sent this task."""
        await self._pull.deliver(worker, task)

    async def give_back(self, worker: str, task: Job) -> None:
        """Put back a task that could not be sent."""
        await self._pull.give_back(worker, task)

    async def report(self, task: str, outcome: Outcome, **said: Any) -> Job:
        """Record how a task ended; a worker's token can end what its own workers hold, and sees no other."""
        if self._caller.role is Role.WORKER:
            holder, attempt, token = await self._pull.holder_of(task)
            if token != self._caller.token:
                raise NotFound(f"there is no task {task!r}")
            # So that it is still the same one's when it is ended.
            said["worker"] = said.get("worker") or holder
            said["attempt"] = attempt if said.get("attempt") is None else said["attempt"]
        return await self._pull.report(task, outcome, **said)

    async def add(self, task: Submission) -> Job:
        """Submit a task."""
        return await self._pull.add(self._jobs.own(task), caller=self._caller)

    async def cancel(self, task: str) -> Job:
        """Cancel a task."""
        try:
            await self._jobs.check(task)
        except NotFound:
            raise NotFound(f"there is no task {task!r}") from None
        return await self._pull.cancel(task, by=self._caller.by)

    async def _check(self, worker: str) -> None:
        if self._caller.role is Role.WORKER:
            row = await self._pull.row_of(worker)
            if row is None or row.hello.token != self._caller.token:
                raise NotFound(f"there is no worker {worker!r}: register it")


def own_submission(caller: Caller, submission: Submission, where: str) -> Submission:
    """Return a submission as the caller's own. Raises Forbidden when it is for somebody else, or may not be at all."""
    check_submission(caller, submission, where)
    if submission.owner is None and caller.owner is not None:
        return replace(submission, owner=caller.owner)
    check_owner(caller, submission.owner, where + "owner")
    return submission


def check_submission(caller: Caller, s: Submission, where: str) -> None:
    """Raise Forbidden when the caller may not submit jobs of this kind."""
    _check_kind(caller, s.script is not None or s.command is not None, s.image is not None, bool(s.secrets), where)


def check_kind_of(caller: Caller, job: Job) -> None:
    """Raise Forbidden when the caller may not submit a job like this one."""
    secrets = bool((job.options or _NO_OPTIONS).secrets)
    _check_kind(caller, job.kind in ("script", "command"), job.kind == "image", secrets, "")


def check_owner(caller: Caller, owner: str | None, field: str) -> None:
    """Raise Forbidden when what is somebody else's is asked for by name."""
    if owner is not None and not caller.sees(owner):
        raise Forbidden(f"{field}: this token is for the jobs of {caller.owner!r}")


def _check_kind(caller: Caller, script: bool, image: bool, secrets: bool, where: str) -> None:
    for asked, permission in ((script, SCRIPTS), (image, IMAGES), (secrets, SECRETS)):
        if asked and permission not in caller.allow:
            raise Forbidden(f"{where}{permission} are not allowed to {_who(caller)}")


def missing(job: str) -> NotFound:
    """Return the error for a job that there is not, or not for this caller."""
    return NotFound(f"there is no job {job!r}")


def _who(caller: Caller) -> str:
    return "this token" if caller.token is not None else "callers without a token"
