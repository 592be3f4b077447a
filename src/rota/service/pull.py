"""API C: workers in any language, which pull the tasks of functions that they know. A task is a job of kind `pull`.

Such a worker names nothing in its heartbeats, so the service names for it all that its row holds; but for two kinds of
leases, which get an end of their own (`lease_until`) and come back by rescue when nothing else happens:

- a task that was claimed and whose answer is not known to be written yet. Else a server that dies in between would
  leave it with a worker that never heard of it, and that keeps it alive with every heartbeat;
- a task whose cancellation was asked for: its worker has one lease to confirm the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Raw, Struct, structs

from rota.core.access import LOCAL, Caller, Role
from rota.core.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from rota.core.jobs import NULL, PULL_LANE, Failure, HandlerSpec, Job, Report, Submission, WorkerHello
from rota.core.retry import Backoff
from rota.core.settling import settle
from rota.core.states import FINAL, Outcome, State
from rota.core.times import SECOND
from rota.service.admission import MAX_DATA, PULL_API, check_name
from rota.service.changes import Ended, end_attempts
from rota.service.claiming import Claim, Claimer, Claiming
from rota.service.jobs import Jobs
from rota.service.observer import Observer
from rota.service.offers import Offer
from rota.service.signals import Effects, Signals
from rota.service.work import Work
from rota.store.protocol import NewEvent, RunningRow, Store, Tx, WorkerRow

DEFAULT_PULL_LEASE_S = 10.0
DEFAULT_RETRIES = 3
MAX_SLOTS = 10_000
MAX_FUNCTIONS = 10_000
_ROW = "pull:"  # begins the ids of these workers' rows; no other id has a colon
_ALL_LANES = frozenset({PULL_LANE})
_AT_ONCE = Backoff(base=0.0)  # what clients of this API are used to; `max_retries` bounds it


class Taken(Struct, frozen=True):
    """What a worker gets when it asks for a task: one or none, and which of its tasks it must stop."""

    task: Job | None
    canceled: list[str]


class PullWorker(Struct, frozen=True):
    """A worker that is present, and what it holds."""

    name: str
    row: WorkerRow
    running: list[RunningRow]


class Overview(Struct, frozen=True):
    """Counts of tasks by state; how many of the failed ones timed out, and of the running ones are canceled already."""

    tasks: dict[State, int]
    timed_out: int
    canceled: int
    workers: list[PullWorker]


class _Seen(Struct, frozen=True):
    """What one look found: the lanes that the worker serves, whether it must be told of something now, and has room."""

    lanes: frozenset[str]
    taken: Taken
    news: bool
    room: bool


_LEFT = _Seen(frozenset(), Taken(None, []), news=True, room=False)


class PullWorkers:
    """Every method names workers as their clients do. `lease_s` is how long a silent one keeps its tasks."""

    def __init__(
        self,
        store: Store,
        signals: Signals,
        observer: Observer,
        jobs: Jobs,
        work: Work,
        *,
        claiming: Claiming,
        lease_s: float,
        jitter: Callable[[], float],
    ) -> None:
        self._store = store
        self._signals = signals
        self._observer = observer
        self._jobs = jobs
        self._work = work
        self._claiming = claiming
        self._lease_s = lease_s
        self._lease = round(lease_s * SECOND)
        self._jitter = jitter

    async def register(self, worker: str, functions: list[str], slots: int | None, *, caller: Caller = LOCAL) -> None:
        """Make a worker known, or known anew: what it holds it keeps. No functions means all, no slots any number.

        Raises Forbidden when another token has one of this name.
        """
        check_name("worker_id", worker, "")
        if slots is not None and not 1 <= slots <= MAX_SLOTS:
            raise Invalid("slots", f"are between 1 and {MAX_SLOTS}")
        if len(functions) > MAX_FUNCTIONS:
            raise Invalid("functions", f"are at most {MAX_FUNCTIONS}")
        for at, function in enumerate(functions):
            check_name(f"functions[{at}]", function, "")
        hello = _owned(self._hello(worker, functions, slots), caller)

        async def write(tx: Tx) -> None:
            _check_free(await tx.get_worker(_id(worker)), caller)
            await tx.insert_worker(_id(worker), hello, tx.now + self._lease)

        await self._store.write(write)
        self._signals.hint(Effects([_id(worker)]))

    async def heartbeat(self, worker: str) -> list[str]:
        """Renew a worker's leases, and return which of its tasks it must stop. Raises NotFound."""

        async def write(tx: Tx) -> list[str]:
            row = await tx.lock_worker(_id(worker))
            if row is None or row.gone_at is not None:
                raise NotFound(
                    f"there is no worker {worker!r}{f' any more ({row.gone_why})' if row else ''}: register it"
                )
            return [r.job for r in await self._renew(tx, row, await tx.running_of(row.id))]

        return await self._store.write(write)

    async def unregister(self, worker: str) -> None:
        """Forget a worker; what it holds goes back to the queue at once, uncharged. Raises NotFound if it never was there."""
        if await self._store.read(lambda tx: tx.get_worker(_id(worker))) is None:
            raise NotFound(f"there is no worker {worker!r}")
        await self._work.leave(_id(worker))
        self._signals.hint(Effects([_id(worker)]))

    async def add(self, task: Submission, *, caller: Caller = LOCAL) -> Job:
        """Submit a task: its handler names the function, its data are the keyword arguments.

        Raises Invalid, TooLarge; NotFound for one of `after` that is no task of this API.
        """

        names = [after if isinstance(after, str) else after.job for after in task.after]

        async def look(tx: Tx) -> list[str]:
            known = await tx.lock_jobs(names)
            seen = {id_ for id_, job in known.items() if job.api == PULL_API and caller.sees(job.owner)}
            return [after for after in names if after not in seen]

        if task.after and (missing := await self._store.read(look)):
            raise NotFound(f"there is no task {missing[0]!r}")
        retries = DEFAULT_RETRIES if task.retries is None else task.retries
        task = structs.replace(task, retries=retries, backoff=_AT_ONCE)
        return await self._jobs.submit(task, api=PULL_API, caller=caller)

    async def take(self, worker: str, wait_s: float, *, caller: Caller = LOCAL) -> Taken:
        """Lease the first task in order that a worker knows, or wait for one; meanwhile its leases are renewed.

        A worker that is not registered is now, for all functions (or as it was before it was lost). Returns early, without
        a task, when one of its tasks is canceled. What is returned is the caller's to `deliver` or to `give_back`; a call
        that is canceled while a task is being leased returns it all the same. Raises Forbidden as `register` does.
        """
        check_name("worker_id", worker, "")
        until = asyncio.get_running_loop().time() + wait_s
        seen = await _whole(self._look(worker, caller, anew=True))
        while not self._is_answer(seen, until):
            seen = await self._wait(worker, caller, seen, until)
        return seen.taken

    def _is_answer(self, seen: _Seen, until: float) -> bool:
        late = asyncio.get_running_loop().time() >= until or self._signals.closed
        return late or seen.news or seen.taken.task is not None

    async def _wait(self, worker: str, caller: Caller, served: _Seen, until: float) -> _Seen:
        """Look again and again until that gives an answer, or the worker serves other lanes, or has room or none."""
        rooms = ((served.lanes, int(served.room)),)
        with (
            self._signals.claimant(rooms, frozenset()) as waiter,
            self._signals.on("orders", _id(worker), waiter),
        ):
            while True:
                seen = await _whole(self._look(worker, caller, anew=False))
                if self._is_answer(seen, until) or (seen.lanes, seen.room) != (served.lanes, served.room):
                    if seen.taken.task is None:
                        waiter.wake()  # what it was woken for, somebody else must look at
                    return seen
                await waiter.wait(min(until - asyncio.get_running_loop().time(), self._lease_s / 2))

    async def deliver(self, worker: str, task: Job) -> None:
        """Note that the worker was sent this task: from now on its heartbeats keep it."""

        async def write(tx: Tx) -> None:
            if await tx.holds(_id(worker), task.id, task.attempt):
                await tx.unname_leases([(task.id, task.attempt, None)])

        await self._store.write(write)

    async def give_back(self, worker: str, task: Job) -> None:
        """Put back a task that could not be sent to the worker, uncharged."""
        report = Report(job=task.id, attempt=task.attempt, outcome=Outcome.INTERRUPTED)
        await self._work.settle(_id(worker), [report])

    async def report(
        self,
        task: str,
        outcome: Outcome,
        *,
        result: Raw = NULL,
        error: str | None = None,
        worker: str | None = None,
        attempt: int | None = None,
    ) -> Job:
        """Record how a task ended, as its holder says (`worker`, when it is given), and return what became of it.

        Raises NotFound; Conflict, and changes nothing, when the task is not held so, or was canceled: then only ABORTED
        ends it. An ABORTED that nobody asked for is the worker's own wish: the task ends so, and is not tried again.
        """
        if len(memoryview(result)) > MAX_DATA:
            raise TooLarge("result", MAX_DATA, f"result: at most {MAX_DATA} bytes of JSON")
        failure = Failure(type=outcome.value, message=error) if error and outcome is not Outcome.SUCCEEDED else None
        effects = Effects()

        async def write(tx: Tx) -> Job:
            effects.begin()
            job = _task((await tx.lock_jobs([task])).get(task), task)
            _check_holder(job, worker, attempt)
            if outcome is Outcome.ABORTED and job.abort_requested_at is None:
                await tx.request_aborts([job])
                await tx.append_events(
                    [NewEvent(task, job.owner, "abort_requested", State.RUNNING, job.attempt, job.worker)]
                )
                job.abort_requested_at = tx.now
            elif outcome is not Outcome.ABORTED and job.abort_requested_at is not None:
                raise Conflict(f"task {task} was canceled: stop it, and report CANCELED", job.state)
            report = Report(job=task, attempt=job.attempt, outcome=outcome, result=result, error=failure)
            await end_attempts(tx, [Ended(job, report, settle(job, report, tx.now, self._jitter()))], effects)
            assert job.worker is not None, "a running job has one"
            effects.orders.add(job.worker)  # it has room again
            return _task(await tx.get_job(task), task)

        ended = await self._store.write(write)
        self._signals.publish(effects)
        return ended

    async def row_of(self, worker: str) -> WorkerRow | None:
        """Return a worker, present or gone."""
        return await self._store.read(lambda tx: tx.get_worker(_id(worker)))

    async def holder_of(self, task: str) -> tuple[str, int, str | None]:
        """Return the worker that holds a task, in which attempt, and the token that registered it. Raises NotFound."""

        async def look(tx: Tx) -> tuple[str, int, str | None]:
            job = _task((await tx.lock_jobs([task])).get(task), task)
            row = None if job.worker is None else await tx.get_worker(job.worker)
            if row is None or not row.hello.pull:
                raise NotFound(f"there is no task {task!r}")
            return client_name(row.id), job.attempt, row.hello.token

        return await self._store.read(look)

    async def cancel(self, task: str, *, by: str | None = None) -> Job:
        """Cancel a task: a pending one never runs, a running one's worker is told. Raises NotFound, Conflict."""
        job = _task(await self._store.read(lambda tx: tx.get_job(task)), task)
        if job.state in FINAL or job.abort_requested_at is not None:
            raise Conflict(f"task {task} is over, or canceled already", job.state)
        return await self._jobs.abort(task, by=by)

    async def overview(self) -> Overview:
        """Count tasks and list workers, at a cost that does not grow with the number of tasks."""

        async def look(tx: Tx) -> Overview:
            tasks = dict.fromkeys(State, 0)
            for count in await tx.counts():
                if count.lane.startswith(PULL_LANE):
                    tasks[count.state] += count.n
            rows = [row for row in await tx.list_workers() if row.gone_at is None and row.hello.pull]
            workers = [PullWorker(client_name(row.id), row, await tx.running_of(row.id)) for row in rows]
            canceled = sum(r.abort_requested_at is not None for worker in workers for r in worker.running)
            return Overview(tasks, await tx.timed_out_tasks(), canceled, workers)

        return await self._store.read(look)

    async def _look(self, worker: str, caller: Caller, *, anew: bool) -> _Seen:
        """Renew a worker's leases, lease it a task if there is one and room for it, and see what it must be told.

        One that is not there is registered `anew`; or else has left while it waited.
        """

        async def write(tx: Tx) -> tuple[_Seen, Claim]:
            claim = Claim(began.owed)
            row = await tx.lock_worker(_id(worker))
            _check_free(row, caller)
            if row is None or row.gone_at is not None:
                if not anew:
                    return _LEFT, claim
                hello = _owned(row.hello if row is not None else self._hello(worker, [], None), caller)
                await tx.insert_worker(_id(worker), hello, tx.now + self._lease)
                row = await tx.lock_worker(_id(worker))
                assert row is not None, "it was just written"
            running = await tx.running_of(row.id)
            canceled = await self._renew(tx, row, running)
            most = row.hello.max_jobs
            room = not row.draining and (most is None or len(running) - len(canceled) < most)
            offer = Offer(row.hello)
            task = None
            if room:
                claim = await self._claiming.take(tx, began, Claimer(row.id, offer, 1, 1, 0), Effects())
            for claimed in claim.jobs:
                task = await tx.get_job(claimed.lease.job)
                assert task is not None, "it was just claimed"
                await tx.append_events([NewEvent(task.id, task.owner, "started", State.RUNNING, task.attempt, row.id)])
                await tx.unname_leases([(task.id, task.attempt, tx.now + self._lease)])
            # Every answer since the last one has named those that were canceled before it.
            news = any(r.abort_requested_at is not None and r.abort_requested_at >= row.beat_at for r in canceled)
            return _Seen(frozenset(offer.specs), Taken(task, [r.job for r in canceled]), news, room), claim

        looks = 0
        while True:
            looks += 1
            began, claim = self._claiming.begin(), None
            try:
                seen, claim = await self._store.write(write)
            finally:
                self._claiming.end(began, claim)
            if not await self._claiming.again(claim, looks):
                break
        if claim.jobs and (task := seen.taken.task) is not None and task.started_at is not None:
            effects = Effects()
            effects.started = [(task.queue, (task.started_at - claim.jobs[0].ready_at) / SECOND)]
            self._observer.started([wait_s for _, wait_s in effects.started])
            self._signals.publish(effects)
            if task.deadline_at is not None:
                self._signals.wake_upkeep(task.deadline_at)
        return seen

    async def _renew(self, tx: Tx, row: WorkerRow, running: list[RunningRow]) -> list[RunningRow]:
        """Renew a worker's leases, but not those of canceled tasks, which it returns."""
        canceled = [(r, r.abort_requested_at) for r in running if r.abort_requested_at is not None]
        ends = [(r.job, r.attempt, asked_at + self._lease) for r, asked_at in canceled if r.lease_until is None]
        await tx.unname_leases(ends)
        await tx.renew_workers([(row.id, tx.now + self._lease)])
        return [r for r, _ in canceled]

    def _hello(self, worker: str, functions: list[str], slots: int | None) -> WorkerHello:
        specs = [HandlerSpec(name=function) for function in dict.fromkeys(functions)]
        return WorkerHello(
            name=worker, handlers=specs, slots=slots or 1, max_jobs=slots, pull=True, lease=self._lease_s
        )  # fmt: skip


def _owned(hello: WorkerHello, caller: Caller) -> WorkerHello:
    """Return a worker as this caller's, which takes the tasks of the caller's queues."""
    return structs.replace(hello, token=caller.token, queues=list(caller.queues))


def _check_free(row: WorkerRow | None, caller: Caller) -> None:
    """Raise Forbidden when a worker's token is used for a worker that is there, and is another token's."""
    if caller.role is Role.WORKER and row is not None and row.gone_at is None and row.hello.token != caller.token:
        raise Forbidden(f"the worker {client_name(row.id)!r} is another token's")


def _id(worker: str) -> str:
    return _ROW + worker


def client_name(worker: str) -> str:
    """Return what clients call the worker of a row."""
    return worker.removeprefix(_ROW)


def _task(job: Job | None, task: str) -> Job:
    """Return a job that is a task of this API. Raises NotFound."""
    if job is None or job.api != PULL_API:
        raise NotFound(f"there is no task {task!r}")
    return job


def _check_holder(job: Job, worker: str | None, attempt: int | None) -> None:
    """Raise Conflict unless this worker (None: whoever it is) holds the task, in this attempt (None: whichever it is)."""
    if job.state is not State.RUNNING or job.worker is None:
        raise Conflict(f"nobody holds task {job.id}: it is {'over' if job.state in FINAL else 'pending'}", job.state)
    if worker is not None and job.worker != _id(worker):
        raise Conflict(f"worker {worker!r} does not hold task {job.id}", job.state)
    if attempt is not None and job.attempt != attempt:
        raise Conflict(f"task {job.id} is in attempt {job.attempt}, not {attempt}", job.state)


async def _whole(work: Coroutine[Any, Any, _Seen]) -> _Seen:
    """Do all of a look even if the caller is canceled meanwhile: then raise, but for one that has leased a task."""
    look = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(look)
    except asyncio.CancelledError:
        await asyncio.wait((look,))
        if look.cancelled() or look.exception() is not None or look.result().taken.task is None:
            raise
        return look.result()
