"""The executor as the supervisor sees it: a lease goes in, a report comes out when its process tree is gone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from msgspec import Raw

from rota.core.checkpoints import CheckpointNote
from rota.core.inputs import BadInput, has_placeholder
from rota.core.jobs import (
    HandlerSpec,
    HookCall,
    Lease,
    LogChunk,
    Progress,
    ProgressNote,
    Proof,
    Report,
)
from rota.core.states import Outcome
from rota.worker import frames, identity, verdict
from rota.worker.capture import capture_of
from rota.worker.endings import Endings
from rota.worker.frames import Done, Dropped, Exited, Hooked, Left, Moved, Recall, RunScript, Said
from rota.worker.handle import ChildHandle, ChildKind, Running, Told
from rota.worker.nursery import AppError, Nursery
from rota.worker.oom import OomWatch
from rota.worker.orders import bounds_of, order_of, ulimits_of
from rota.worker.stock import Stock
from rota.worker.verdict import refusal

__all__ = ["AppError", "Pool"]

_LOOK_S = 0.01  # how often the output of inputs is looked at while they run
_MUCH = 32 << 10  # bytes between two looks: half of what a pipe holds
_NO_PROOF = Proof()

Output = LogChunk | ProgressNote | HookCall | CheckpointNote


class Pool:
    """Runs attempts in children: sync handlers one in each, async handlers all in one, scripts one in each.

    `slots` bounds how many warm children of a kind are kept, not how many attempts run: whoever calls `run` counts.
    One that runs an input of a script or command is given the next one of its shard while it does, which takes the way to
    here and back out of the time between two inputs.

    A child is replaced after `recycle_jobs` attempts, or when it has grown by `recycle_bytes`. `keep_fds` stay open
    until all processes of the pool have ended, whatever ends them. With `inherit` scripts and commands have this process's
    environment and working folder, instead of a clean one and one of their own; `run_as` is the user as whom all jobs run
    (raises identity.BadUser). The pool owns its process's children: nothing else may start processes in sessions of their
    own beside it.
    """

    def __init__(
        self,
        apps: Sequence[str],
        *,
        slots: int,
        scripts: bool,
        on_output: Callable[[Output], None],
        recycle_jobs: int = 10_000,
        recycle_bytes: int = 512 << 20,
        keep_fds: Sequence[int] = (),
        inherit: bool = False,
        run_as: str | None = None,
    ) -> None:
        self._scripts = scripts
        self._tell = on_output
        user = None if run_as is None else identity.find(run_as)
        self._nursery = Nursery(self, apps, recycle_jobs, recycle_bytes, keep_fds, inherit=inherit, user=user)
        self._numbers = itertools.count(1)
        self._kinds: dict[str, ChildKind] = {}
        self._running: dict[tuple[str, int], Running] = {}  # those whose `run` was called
        self._ahead: dict[tuple[str, int], Running] = {}  # inputs that a child has whose `run` was not
        self._places: set[int] = set()  # of commands that run, for `{%}`
        self._look: asyncio.TimerHandle | None = None
        self._stock = Stock(self._nursery, slots, self._do)
        self._endings = Endings(self._nursery, self._stock, self._do, self._next_begins)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> list[HandlerSpec]:
        """Start the processes, import the handlers and return them; also after `close`. Raises AppError."""
        self._loop = asyncio.get_running_loop()
        self._oom = OomWatch()
        try:
            handlers = await self._nursery.open()
        except BaseException:
            await self.close()
            raise
        self.declared = self._nursery.declared  # the schedules of the apps
        self._kinds = {spec.name: "async" if spec.mode == "async" else "process" for spec in handlers}
        return handlers

    async def run(self, lease: Lease, following: Lease | None = None) -> Report:
        """Run one attempt to the proven end of its tree; enforces its timeout. Never raises for what a job does.

        `following` is the next input of its shard: see `executor.Executor.run`.
        """
        key = (lease.job, lease.attempt)
        if (run := self._ahead.pop(key, None)) is not None:
            run.following = following
            return await self._run(key, run)
        kind = self._kind(lease)
        if kind is None:
            what = f"a handler named {lease.handler!r}" if lease.kind == "handler" else f"{lease.kind}s"
            return refusal(lease, "UnknownHandler", f"this worker does not offer {what}")
        number = next(self._numbers)
        slot = self._take_place(lease)
        try:
            order = order_of(number, lease, slot)
        except BadInput as wrong:
            self._places.discard(slot)
            return refusal(lease, "BadInput", str(wrong))
        run = Running(lease, number, order, capture_of(lease, self._tell, self._loop), self._loop.create_future())
        run.following = None if slot else following
        try:
            return await self._run(key, run, kind)
        finally:
            self._places.discard(slot)

    def begin(self, lease: Lease, done: Callable[[Report], None]) -> bool:
        """Begin an attempt of an async handler, if its child is there; nobody waits for such a one (see `Executor.begin`)."""
        if lease.index is not None or lease.kind != "handler" or self._kinds.get(lease.handler or "") != "async":
            return False
        child = self._stock.free("async")
        if child is None or child.ending:
            return False
        number = next(self._numbers)
        capture = capture_of(lease, self._tell, self._loop)
        run = Running(lease, number, order_of(number, lease, 0), capture, Told(partial(self._over, done)))
        self._running[lease.job, lease.attempt] = run
        self._send(child, run)
        self._begins(child, run)
        return True

    def holds(self, job: str, attempt: int) -> bool:
        """Say whether an input of a shard has begun, or may have, whose `run` is still to be called."""
        run = self._ahead.get((job, attempt))
        return run is not None and run.begun

    def recall(self, job: str, attempt: int) -> None:
        """Begin no following input any more; where one may have begun, its `run` says whether it did: if not, INTERRUPTED."""
        key = (job, attempt)
        if (run := self._running.get(key)) is not None:
            run.following = None
        ahead = self._ahead.get(key)
        if ahead is not None and not ahead.begun and ahead.child is not None:
            ahead.child.send(Recall(ahead.number))

    def stop(self, job: str, attempt: int, grace_s: float, outcome: Outcome) -> None:
        """Start to end an attempt; its `run` returns what really happened, else `outcome`. Unknown: no effect."""
        for runs in (self._running, self._ahead):
            if (run := runs.get((job, attempt))) is not None:
                self._stop(run, grace_s, outcome)

    def leased_until(self, at: float | None) -> None:
        """Have the keeper kill everything at `at` (seconds of CLOCK_BOOTTIME), whatever has become of this process by then."""
        self._nursery.leased_until(at)

    def guard(self, engine: str, name: str) -> None:
        """Have the keeper remove a container, on the engine at that socket, when this process cannot."""
        self._nursery.guard(engine, name)

    def unguard(self, name: str) -> None:
        """Have the keeper forget a container that is gone."""
        self._nursery.unguard(name)

    async def kill_all(self) -> None:
        """End everything that runs now, without grace; returns when it is gone. All `run` return reports of loss."""
        for run in self._running.values():
            if run.child is None:
                run.finish(verdict.report_lost(run, "killed before it began", None, charged=False))
        await self._nursery.kill_all()

    async def close(self) -> None:
        """End all processes. Idempotent."""
        for run in self._running.values():
            if run.child is None:
                run.finish(verdict.report_lost(run, "killed before it began", None, charged=False))
        await self._nursery.close()
        for task in list(self._tasks):
            task.cancel()

    # --- to a child

    def _kind(self, lease: Lease) -> ChildKind | None:
        if lease.kind == "handler":
            return self._kinds.get(lease.handler or "")
        return "script" if self._scripts and lease.kind in ("script", "command") else None

    def _take_place(self, lease: Lease) -> int:
        """Return the lowest number from 1 that no running command has, for one that asks; else 0."""
        if lease.kind != "command" or not has_placeholder(lease.script or "", "{%}"):
            return 0
        place = next(n for n in itertools.count(1) if n not in self._places)
        self._places.add(place)
        return place

    async def _run(self, key: tuple[str, int], run: Running, kind: ChildKind | None = None) -> Report:
        """Bring an attempt to its end; of `kind` is the child to be begun in, unless one has it."""
        self._running[key] = run
        try:
            if kind is not None:
                await self._begin_in(kind, run)
            if run.following is not None and run.child is not None:
                self._hand_over(run.child, run, run.following)
            assert isinstance(run.report, asyncio.Future), "it was made by `run`"
            return await run.report
        except asyncio.CancelledError:
            self.stop(*key, 0.0, Outcome.INTERRUPTED)
            self._ahead.pop(key, None)
            raise
        finally:
            del self._running[key]

    def _over(self, done: Callable[[Report], None], report: Report) -> None:
        del self._running[report.job, report.attempt]
        done(report)

    async def _begin_in(self, kind: ChildKind, run: Running) -> None:
        child = self._stock.free(kind)
        if child is None:
            child = await self._stock.newborn(kind, run)
        if child is not None and (bounds := bounds_of(run.lease)) != child.bounds:
            child = await self._stock.bounded(child, run, bounds)
        if child is not None:
            self._send(child, run)
            self._begins(child, run)

    def _hand_over(self, child: ChildHandle, run: Running, following: Lease) -> None:
        """Give a child its next input, to be begun when the one that it runs now is over.

        Not where it is over already, nor where the kernel's kills in the child's control group are laid to inputs: those
        of two could not be told apart.
        """
        if child.kind != "script" or child.ending or child.oom is not None or list(child.runs) != [run.number]:
            return
        try:
            order = order_of(number := next(self._numbers), following, 0)
        except BadInput:
            return  # its own `run` says so
        ahead = Running(
            following, number, order, capture_of(following, self._tell, self._loop), self._loop.create_future()
        )
        self._ahead[following.job, following.attempt] = ahead
        self._send(child, ahead)

    def _send(self, child: ChildHandle, run: Running) -> None:
        lane = child.take(run)
        if isinstance(run.order, RunScript):
            run.order.lane = lane
            self._prepare(child, run.order, run.lease)
        child.send(run.order)

    def _begins(self, child: ChildHandle, run: Running) -> None:
        """Note that an attempt begins, as far as can be known here: its time counts from now."""
        lease = run.lease
        run.begun = True
        if lease.timeout_s is not None:
            run.timer = self._loop.call_later(lease.timeout_s, self._stop, run, lease.grace_s, Outcome.TIMED_OUT)
        if lease.index is None or child.kind == "async":
            child.watch()
        else:
            child.look_away()
            if self._look is None:
                self._look = self._loop.call_later(_LOOK_S, self._look_at_inputs)

    def _next_begins(self, child: ChildHandle) -> None:
        """Note that a child goes on with what it holds, if it holds something."""
        if child.kind == "script":
            for run in child.runs.values():
                if not run.begun:
                    self._begins(child, run)

    def _prepare(self, child: ChildHandle, order: RunScript, lease: Lease) -> None:
        if not order.command and order.text == child.script:
            order.text = None  # it has it
        elif not order.command:
            child.script = order.text
        if lease.options is not None:
            memory_held, processes_held = child.held
            order.ulimits = ulimits_of(lease, memory_held=memory_held, processes_held=processes_held)
        if child.oom is not None:
            child.oom.struck()  # what came before is not this one's

    def _look_at_inputs(self) -> None:
        """Read what inputs have written that take longer, and watch those that write much."""
        self._look = None
        for run in (*self._running.values(), *self._ahead.values()):
            if run.begun and run.lease.index is not None and run.child is not None and run.child.kind != "async":
                if run.child.drain() >= _MUCH:
                    run.child.watch()
                self._look = self._look or self._loop.call_later(_LOOK_S, self._look_at_inputs)

    # --- what children say

    def heard(self, child: ChildHandle, message: frames.FromChild) -> None:
        """Take a message of a child."""
        run = child.runs.get(message.run)
        if run is None:
            return
        match message:
            case Done() | Exited():
                if run.done is None:
                    self._ended(child, run, message)
            case Dropped():
                self._dropped(child, run)
            case Said(stream=stream, text=text):
                run.capture.feed(stream, text)
            case Moved(fraction=fraction, message=text) if run.lease.index is None:
                progress = Progress(fraction=fraction, message=text)
                self._tell(ProgressNote(job=run.lease.job, attempt=run.lease.attempt, progress=progress))
            case Hooked(n=n, data=data):
                n += (run.lease.index or 0) << 20  # in an array each input counts from 0
                self._tell(HookCall(job=run.lease.job, attempt=run.lease.attempt, n=n, data=Raw(data)))
            case Left(data=data) if run.lease.index is None:
                self._tell(CheckpointNote(job=run.lease.job, attempt=run.lease.attempt, value=Raw(data)))

    def hung_up(self, child: ChildHandle) -> None:
        """Hear that a child has died, or closed its channel, and can be told nothing any more."""
        if not child.ending:
            self._nursery.end(child, 0.0)

    def gone(self, child: ChildHandle, status: int | None, proof: Proof) -> None:
        """Hear that a child and all below it are gone, and report what it ran."""
        self._stock.lose(child)
        killed = status is not None and status & 0x7F == 9
        oom = child.oom or self._oom
        struck = killed and bool(child.runs) and not child.killed and not child.stopped and oom.struck()
        for run in list(child.runs.values()):
            if run.begun:
                run.finish(verdict.last_word(child, run, status, proof, struck=struck))
            else:
                self._not_begun(run)
            if run.ended is not None:
                run.ended.set()
        child.runs.clear()

    def _not_begun(self, run: Running) -> None:
        """Forget that an input was handed over: its `run` begins it afresh."""
        key = (run.lease.job, run.lease.attempt)
        if self._ahead.get(key) is run:
            del self._ahead[key]

    def _dropped(self, child: ChildHandle, run: Running) -> None:
        """Hear that what was recalled has not begun."""
        if run.stopped_as is not None or not child.forget(run):
            return  # the end of the child is its own
        self._not_begun(run)
        run.finish(verdict.report_interrupted(run, None))
        self._stock.release(child, worn=False)

    def _ended(self, child: ChildHandle, run: Running, message: Done | Exited) -> None:
        """Take the end of a handler or script: its report goes out when nothing of it is left."""
        run.done = message
        if run.ended is not None:
            run.ended.set()
        run.out_of_memory = (
            child.oom is not None and isinstance(message, Exited) and message.status != 0 and child.oom.struck()
        )
        if not message.left and not message.aborting:
            self._next_begins(child)
        if child.ending or run.stopped_as is not None:
            return  # the ladder is at work, and its end is the attempt's
        if message.aborting:  # a SIGTERM that was not ours: the child runs nothing else
            self._nursery.end(child, 0.0)
        elif message.left:
            self._do(self._endings.sweep(child, run))
        else:
            self._endings.finish(child, run, None)

    # --- stopping

    def _stop(self, run: Running, grace_s: float, outcome: Outcome) -> None:
        if run.child is not None and run.child.kind == "script":
            run.child.hear()  # it may be over: then the next one runs there
        if run.done is not None or run.report.done():
            return
        if run.stopped_as is not None:
            self._hurry(run, grace_s)
            return
        run.stopped_as = outcome
        run.stopped_at = self._loop.time()
        child = run.child
        if child is None:
            run.finish(verdict.report_stopped(run, _NO_PROOF))
        elif child.kind == "async":
            self._do(self._endings.stop_async(child, run, grace_s))
        elif not child.ending:
            child.stopped = True
            self._nursery.end(child, grace_s)
            if not self._stock.has_idle(child.kind):
                self._do(self._stock.spare(child.kind))

    def _hurry(self, run: Running, grace_s: float) -> None:
        """End the grace of an attempt that is being stopped: its lease is lost, and no time is left."""
        if grace_s > 0 or run.child is None:
            return
        if run.child.kind == "async":
            self._endings.end_async(run.child)
        else:
            self._nursery.hurry(run.child)

    def _do(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
