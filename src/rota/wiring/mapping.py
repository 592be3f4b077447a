"""`rota map`: an array of commands on a store of this machine, and a worker of its own for it in this process.

The array is in a queue that nobody else serves, so its commands run here, in the caller's folder and environment. There
is no server; what answers other processes is loaded when one asks (see ownership.py). Where the settings name a server,
the array is submitted there instead, and the server's workers run it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec
from msgspec import Raw, Struct

from rota.client.submission import inputs_of
from rota.client.views import Result
from rota.core.checkpoints import CheckpointNote
from rota.core.errors import Conflict
from rota.core.jobs import (
    Free,
    Held,
    HookCall,
    InputReport,
    Lease,
    LogChunk,
    Orders,
    ProgressNote,
    Report,
    Settled,
    Submission,
    Welcome,
    WorkerHello,
)
from rota.core.states import Outcome
from rota.settings import Settings
from rota.wiring.ownership import Link, Standing
from rota.worker.pool import Pool
from rota.worker.supervisor import Supervisor

LABEL = "rota.map"  # of a run: what it ran, and where
RESUMES = "rota.map.resumes"  # of a run that goes on with others: the first of them
_POLL_S = 30.0
_ROOM_S = 8.0  # less than a worker waits for an answer
_PAGE = 500


class Plan(Struct, kw_only=True):
    """What is to be run: `slots` commands at once in this process, or on a server at most `parallel`.

    `resume` says which inputs of earlier runs of the same command in the same folder are left out.
    "all": those that are over; "succeeded": those that succeeded; None: none.
    """

    command: str
    inputs: Raw | Sequence[str]  # a JSON list as it is sent; where some may be left out, the texts
    slots: int
    parallel: int | None = None
    halt: str | None = None
    timeout: str | None = None
    retries: int | None = None
    keep_order: bool = False
    resume: str | None = None


class Shown(Protocol):
    """Who is told of results."""

    def put(self, results: Sequence[Result]) -> None:
        """Take results; each comes once."""
        ...

    async def room(self) -> None:
        """Wait until more may come."""
        ...


def digest(command: str, folder: str) -> str:
    """Return the label by which runs of the same command in the same folder find each other."""
    return hashlib.sha256(f"{folder}\0{command}".encode(errors="surrogateescape")).hexdigest()[:32]


class Run:
    """One run. `begun` hears how many inputs there are to run, and of the array that has them."""

    def __init__(self, plan: Plan, settings: Settings, shown: Shown, begun: Callable[[int, str | None], None]) -> None:
        self._plan = plan
        self._link = Link(settings)
        self._shown = shown
        self._begun = begun
        self._here = settings.server is None
        self._queue = f"map.{uuid.uuid4().hex[:16]}" if self._here else "default"
        self._job: str | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._supervisor: Supervisor | None = None

    async def run(self) -> Standing | None:
        """Run all inputs to their end, and return where the array stands then; None when there was nothing to run.

        Raises Invalid, TooLarge, Conflict (an earlier run that is to be resumed goes on), StoreInUse, Unavailable.
        """
        await self._link.open()
        try:
            submission, count = await self._submission()
            if not count:
                return None
            self._begun(count, None)
            return await (self._work(submission, count) if self._here else self._watch(submission, count))
        finally:
            await self._link.close()

    async def remaining(self) -> list[str]:
        """Return the inputs that `run` would run, where the plan has texts."""
        await self._link.open()
        try:
            assert not isinstance(self._plan.inputs, Raw), "texts are what can be left out"
            return list((await self._left(self._plan.inputs))[1])
        finally:
            await self._link.close()

    def stop(self) -> bool:
        """Abort the array: what runs is ended, and `run` returns with the proof. Inputs that are over stay over.

        Returns whether there is an array to abort.
        """
        job = self._job
        if self._stopping is None and job is not None:
            self._stopping = asyncio.create_task(self._link.do(lambda side: side.abort(job)))
        return job is not None

    async def _work(self, submission: Submission, count: int) -> Standing:
        pool = Pool(
            [], slots=self._plan.slots, scripts=True, on_output=self._on_output, inherit=True,
            keep_fds=self._link.lock_fds(),
        )  # fmt: skip
        starting = asyncio.create_task(pool.start())
        worker: asyncio.Task[None] | None = None
        try:
            key = uuid.uuid4().hex
            job = self._job = await self._link.do(lambda side: side.submit(submission, key))
            self._begun(count, job)
            await starting
            tap = _Tap(self._link, self._shown, job, count, ordered=self._plan.keep_order)
            self._supervisor = Supervisor(tap, pool, self._hello(), drain_s=0.0)
            worker = asyncio.create_task(self._supervisor.run())
            standing = await self._until_over(job, worker)
            await tap.rest(standing.done)
            self._supervisor.request_drain()
            await worker
            return standing
        finally:
            await self._dismiss(worker)
            starting.cancel()
            with suppress(BaseException):
                await starting
            await pool.close()

    async def _until_over(self, job: str, worker: asyncio.Task[None]) -> Standing:
        looking = asyncio.create_task(self._look_until_over(job))
        try:
            await asyncio.wait((looking, worker), return_when=asyncio.FIRST_COMPLETED)
            if not looking.done():
                worker.result()  # it ends by itself only with an error
            return await looking
        finally:
            looking.cancel()

    async def _look_until_over(self, job: str) -> Standing:
        while True:
            standing = await self._link.do(lambda side: side.look(job, _POLL_S))
            if standing.over:
                return standing

    async def _dismiss(self, worker: asyncio.Task[None] | None) -> None:
        """Have the worker kill what it runs, unless it has left: this run was ended at once, or has failed."""
        if worker is None or worker.done() or self._supervisor is None:
            return
        self._supervisor.request_stop_now()
        with suppress(asyncio.CancelledError):
            await worker

    def _hello(self) -> WorkerHello:
        slots = self._plan.slots
        host, pid = socket.gethostname(), os.getpid()
        return WorkerHello(
            arrays=True,
            name=f"map-{host}-{pid}", scripts=True, queues=[self._queue], slots=slots, max_jobs=slots, pid=pid,
            host=host, owned=self._link.owns,
        )  # fmt: skip

    def _on_output(self, item: LogChunk | ProgressNote | HookCall | CheckpointNote) -> None:
        if self._supervisor is not None:
            self._supervisor.on_output(item)

    async def _watch(self, submission: Submission, count: int) -> Standing:
        """Have the server's workers run the array, and pass on what becomes of it."""
        key = uuid.uuid4().hex
        job = self._job = await self._link.do(lambda side: side.submit(submission, key))
        self._begun(count, job)
        async for line in self._link.follow(job):
            await self._shown.room()
            self._shown.put([line])
        return await self._look_until_over(job)

    # What is to be run

    async def _submission(self) -> tuple[Submission, int]:
        plan = self._plan
        labels, inputs = {LABEL: self._mark()}, plan.inputs
        if not isinstance(inputs, Raw):
            earlier, left = await self._left(inputs)
            inputs, count = inputs_of(left)
            labels |= {RESUMES: earlier[-1].id} if earlier else {}
        else:
            count = len(msgspec.json.decode(inputs, type=list[Raw]))
        submission = Submission(
            command=plan.command, inputs=inputs, queue=self._queue, labels=labels, halt=plan.halt, timeout=plan.timeout,
            retries=plan.retries, parallel=plan.parallel,
        )  # fmt: skip
        return submission, count

    def _mark(self) -> str:
        return digest(self._plan.command, os.getcwd() if self._here else "")

    async def _left(self, inputs: Sequence[str]) -> tuple[list[Standing], Iterator[str]]:
        """Return the runs that are resumed, the newest first, and the inputs that they have left."""
        earlier = await self._earlier(self._mark())
        over = await self._over(earlier, {"succeeded"} if self._plan.resume == "succeeded" else {"succeeded", "failed"})
        return earlier, left_of(inputs, over)

    async def _earlier(self, mark: str) -> list[Standing]:
        """Return the last run of this command that was begun afresh, and those that resumed it, the newest first.

        Those whose process has died are canceled: this run takes over. Raises Conflict when one goes on.
        """
        found: list[Standing] = []
        cursor: str | None = None
        while True:
            page, cursor = await self._link.do(lambda side, cursor=cursor: side.find({LABEL: mark}, cursor))  # type: ignore[misc]
            for run in page:
                found.append(run if run.over else await self._take_over(run))
                if RESUMES not in run.labels:
                    return found
            if cursor is None:
                return found

    async def _take_over(self, run: Standing) -> Standing:
        """Abort a run whose process has died, and return how it stands then. Raises Conflict when it lives."""
        if not self._here or await self._link.do(lambda side: side.is_served(run.queue)):
            raise Conflict(f"the run to be resumed, job {run.id}, goes on; wait for its end, or stop it there")
        await self._link.do(lambda side: side.abort(run.id))
        return await self._look_until_over(run.id)

    async def _over(self, runs: Iterable[Standing], states: set[str]) -> Counter[str]:
        """Count the inputs of earlier runs that ended in one of these states."""
        over: Counter[str] = Counter()
        for run in runs:
            after = -1
            while page := await self._link.do(lambda side, run=run, after=after: side.results(run.id, after, _PAGE)):  # type: ignore[misc]
                over.update(line.input for line in page if line.state in states and isinstance(line.input, str))
                after = page[-1].index
        return over


def left_of(inputs: Iterable[str], over: Counter[str]) -> Iterator[str]:
    """Give the inputs that are not over: of one that is there three times, and over twice, the third."""
    left = over.copy()
    for text in inputs:
        if left[text] > 0:
            left[text] -= 1
        else:
            yield text


class _Tap:
    """The work queue of the run's own worker. What it has stored of results is passed on, each input's once.

    Whether an input that did not succeed is over, or runs again, only the service knows: the store is asked.
    """

    def __init__(self, link: Link, shown: Shown, job: str, count: int, *, ordered: bool) -> None:
        self._link = link
        self._shown = shown
        self._job = job
        self._seen = bytearray(count)
        self._next = 0
        self._ordered = ordered
        self._inputs: dict[int, tuple[int, list[Raw]]] = {}  # by attempt: the number of a shard's first input, and all

    async def register(self, hello: WorkerHello) -> Welcome:
        """Make the worker known."""
        return await self._link.ask(lambda queue: queue.register(hello))

    async def claim(self, worker: str, free: Free, wait_s: float) -> list[Lease]:
        """Take shards, and remember their inputs."""
        leases = await self._link.ask(lambda queue: queue.claim(worker, free, wait_s))
        for lease in leases:
            self._inputs[lease.attempt] = (lease.first or 0, lease.inputs)
        return leases

    async def heartbeat(self, worker: str, held: list[Held]) -> Orders:
        """Renew leases, and hear the orders."""
        return await self._link.ask(lambda queue: queue.heartbeat(worker, held))

    async def watch(self, worker: str, wait_s: float) -> Orders:
        """Wait for orders."""
        return await self._link.ask(lambda queue: queue.watch(worker, wait_s))

    async def settle(self, worker: str, reports: list[Report]) -> list[Settled]:
        """Record how shards ended."""
        answer = await self._link.ask(lambda queue: queue.settle(worker, reports))
        for report in reports:
            self._inputs.pop(report.attempt, None)
        return answer

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
        """Store output and ends of inputs, then pass them on."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._shown.room(), _ROOM_S)
        await self._link.ask(lambda queue: queue.tell(worker, logs, progress, hooks, results, checkpoints=checkpoints))
        if results:
            await self._stored(results)

    async def leave(self, worker: str) -> None:
        """Forget the worker."""
        await self._link.ask(lambda queue: queue.leave(worker))

    async def rest(self, done: int) -> None:
        """Pass on what is left when the array is over, with `done` inputs that are."""
        while self._seen.count(1) < done and self._next < len(self._seen):
            page = await self._page(self._next - 1, _PAGE)
            self._show([line for line in page if not self._seen[line.index]])
            if not page:
                return
            self._next = page[-1].index + 1

    async def _stored(self, reports: list[InputReport]) -> None:
        if self._ordered:
            await self._in_order({report.index for report in reports})
            return
        lines: list[Result] = []
        unsure: list[int] = []
        for report in reports:
            if self._seen[report.index]:
                continue
            if report.outcome is Outcome.SUCCEEDED and (value := self._input_of(report)) is not None:
                lines.append(_line(report, value))
            else:
                unsure.append(report.index)
        self._show(lines)
        await self._ask_for(sorted(set(unsure)))

    async def _ask_for(self, wanted: list[int]) -> None:
        while wanted:
            page = await self._page(wanted[0] - 1, len(wanted))
            self._show([line for line in page if not self._seen[line.index]])
            last = page[-1].index if page else wanted[-1]
            wanted = [index for index in wanted if index > last]

    async def _in_order(self, told: set[int]) -> None:
        """Pass on what is stored up to the first input that is not over."""
        while self._next in told:
            page = await self._page(self._next - 1, _PAGE)
            fit = [line for at, line in enumerate(page, self._next) if line.index == at]
            if not fit:
                return
            self._show(fit)
            self._next += len(fit)
            if len(fit) == _PAGE:
                told.add(self._next)

    async def _page(self, after: int, limit: int) -> list[Result]:
        return await self._link.do(lambda side: side.results(self._job, after, min(limit, _PAGE)))

    def _show(self, lines: list[Result]) -> None:
        for line in lines:
            self._seen[line.index] = 1
        if lines:
            self._shown.put(lines)

    def _input_of(self, report: InputReport) -> Raw | None:
        first, inputs = self._inputs.get(report.attempt, (0, []))
        at = report.index - first
        return inputs[at] if 0 <= at < len(inputs) else None


def _line(report: InputReport, value: Raw) -> Result:
    return Result(
        index=report.index,
        input=msgspec.json.decode(value),
        state="succeeded",
        outcome=report.outcome.value,
        attempt=report.attempt,
        exit_code=report.exit_code,
        duration=report.duration_s,
        stdout=report.stdout,
        stderr=report.stderr,
        result=msgspec.json.decode(report.result),
    )
