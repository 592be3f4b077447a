"""One registration of a worker: from the server's welcome until the worker has drained, or its leases are no longer its own.

Loops, none of which can hold up another: two that claim (one for each kind of slot that is free; together they never ask
for more than is free), one each that heartbeats, watches for orders, settles, tells output, and looks at the clock. Each
is a step that is taken again and again: an error costs it a pause, and never ends it.

Fencing (invariant 2). Before anything is sent and before a claimed job is started, and at least once a second, the
worker's own clock is asked whether the leases are still ours for certain (see `holdings`). If not, everything that runs
is killed, and nothing else happens under this registration. So a worker that was stopped, or cut off, for longer than its
lease ends what it runs before anything else, and while it is cut off before the server gives its jobs to another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from rota import log
from rota.core.errors import NotFound, RotaError
from rota.core.jobs import AbortOrder, Free, Held, Lease, Orders, Report, Welcome, WorkerHello
from rota.core.states import Outcome
from rota.worker.attempts import Attempts, Ends, outcome_of
from rota.worker.contact import Contact
from rota.worker.end import End
from rota.worker.executor import Executor
from rota.worker.holdings import Holding, Holdings, Stage
from rota.worker.loops import Over, cancel, repeat, wait_for
from rota.worker.output import Output
from rota.worker.queue import Key, WorkQueue
from rota.worker.reporting import Reports
from rota.worker.shards import Shard

T = TypeVar("T")

ANSWER_S = 10.0  # how long the answer to a call may take that is not asked to wait
POLL_S = 30.0  # how long a claim or a watch waits at the server
_LOOK_S = 1.0  # how often the clock is asked while jobs run: also a sleep of the whole machine is noticed within this
_STUCK_S = 0.25  # how long a job that was claimed ahead waits for a slot
_PACE_S = 0.01  # how long the end of a short job may wait for others, while more short jobs wait for its slot
_LAST_S = 1.0  # how long the ends of what was killed may take to be heard of
_log = log.get("worker.registration")


class Registration:
    """What a worker does between two registrations. `since` is when the registration was sent, on `clock` (monotonic)."""

    def __init__(
        self,
        queue: WorkQueue,
        executor: Executor,
        *,
        contact: Contact,
        hello: WorkerHello,
        welcome: Welcome,
        since: float,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.id = welcome.worker
        self.reports = Reports()
        self.output = Output(clock)
        self._queue = queue
        self._executor = executor
        self._contact = contact
        self._clock = clock
        self._jitter = jitter
        self._heartbeat_s = welcome.heartbeat_s
        self._enough_s = min(welcome.heartbeat_s, welcome.lease_s / 4)  # what must be left of a lease to start its job
        self._held = Holdings(hello, welcome.lease_s)
        self._renewed_at = since
        self._asked: list[Free] = []  # what open claims ask for
        self._early: dict[Key, AbortOrder] = {}  # aborts of what no claim has brought yet
        self._more = False  # the last claim brought all that it asked for
        self._draining = False
        self._leased_until: float | None = None  # what the executor was told
        self._tells_lease = False  # it is about to be
        self._waiting: dict[bool, deque[Holding]] = {False: deque(), True: deque()}  # for a slot; by `asynchronous`
        self._look_now = asyncio.Event()
        self._room = asyncio.Event()
        self._reported = asyncio.Event()
        self._calm = asyncio.Event()  # little waits for a slot
        self._beat_now = asyncio.Event()
        self._attempts = Attempts(
            executor,
            self._held,
            clock=clock,
            wanted=lambda holding: holding.stage is not Stage.LOST and not self._end.done(),
            ended=self._all_ended,
            forget=lambda holding: self._held.forget(holding.key),
            broken=lambda: self._finish(End.BROKEN),
        )
        self._interrupters: list[asyncio.Task[None]] = []
        self._claims: list[asyncio.Task[None]] = []
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    @property
    def running(self) -> int:
        """Return how many attempts have a slot."""
        return self._held.running()

    async def run(self) -> End:
        """Work until the end, and say which. Unless it is DRAINED, nothing that was started runs any more then."""
        self._claims = [
            asyncio.create_task(self._repeat("claim for processes", lambda: self._claim(asynchronous=False))),
            asyncio.create_task(self._repeat("claim for async", lambda: self._claim(asynchronous=True))),
        ]
        loops = [
            asyncio.create_task(self._repeat(name, step))
            for name, step in (
                ("fence", self._look_at_clock),
                ("heartbeat", self._heartbeat),
                ("watch", self._watch),
                ("tell", self._tell),
                ("settle", self._settle),
            )
        ]
        try:
            end = await self._end
            if end is not End.DRAINED:
                await self._executor.kill_all()
            self._executor.leased_until(None)
            if end is End.FENCED:  # what was killed is known to be lost: that can be told at once
                await self._attempts.wait(_LAST_S)
            return end
        finally:
            self._finish(End.STOPPED)
            await cancel([*self._claims, *loops, *self._interrupters])

    def drain(self, patience_s: float | None) -> None:
        """Claim no more and end when nothing is held; after `patience_s` interrupt what still runs (None: never)."""
        self._draining = True
        for claim in self._claims:  # an open one would take what is given back; what it takes now goes back as we leave
            claim.cancel()
        for holding in self._held:
            if holding.stage is Stage.WAITING:
                self._give_back(holding)
            elif holding.shard is not None:  # it could go on for long; the rest is others' to run, now
                holding.shard.end(Outcome.INTERRUPTED)
        if patience_s is not None:
            self._interrupters.append(asyncio.create_task(self._interrupt_after(patience_s)))
        self._end_if_drained()

    def stop(self) -> None:
        """Kill what runs, at once."""
        self._finish(End.STOPPED)

    # Claiming

    async def _claim(self, *, asynchronous: bool) -> bool:
        """Claim for what is free, as soon as this kind of slot is free and no open claim asks for it.

        While there is more to do than was asked for, short jobs are claimed ahead; such a claim does not wait for jobs.
        """
        while (free := self._to_ask(asynchronous=asynchronous)) is None:
            self._room.clear()
            await self._room.wait()
        wait_s = 0.0 if self._is_ahead() else POLL_S
        self._asked.append(free)
        promised_since, sent_at = self._renewed_at, self._clock()
        try:
            leases = await self._ask(lambda: self._queue.claim(self.id, free, wait_s), wait_s + ANSWER_S)
            self._check_clock()
            now = self._clock()
            for lease in leases:
                self._accept(lease, promised_since, now)
            self._start_waiting()
            self._give_back_stuck()
        finally:
            self._more = False
            self._asked.remove(free)
            self._room.set()
        self._more = len(leases) >= free.total
        return bool(leases) or self._clock() - sent_at >= wait_s / 2  # nothing, at once: not to be asked in a circle

    def _is_ahead(self) -> bool:
        return self._more and self._held.ahead() > 0

    def _is_busy(self) -> bool:
        return self._held.is_busy(len(self._waiting[False]))

    def _to_ask(self, *, asynchronous: bool) -> Free | None:
        if self._draining:
            return None
        free = self._held.free(self._held.ahead() if self._more else 0)
        room = free.total - sum(asked.total for asked in self._asked)
        process = 0 if any(asked.process for asked in self._asked) or self._is_busy() else min(free.process, room)
        tasks = 0 if any(asked.asynchronous for asked in self._asked) else min(free.asynchronous, room)
        if (tasks if asynchronous else process) <= 0:
            return None
        return Free(process=process, asynchronous=tasks, total=min(room, process + tasks))

    def _accept(self, lease: Lease, since: float, now: float) -> None:
        """Hold a lease until there is a slot for it."""
        if self._held.get((lease.job, lease.attempt)) is not None:
            return
        holding = self._held.take(lease, since, now)
        holding.order = self._early.pop(holding.key, None)
        if self._draining:
            self._give_back(holding)
        elif holding.order is not None:
            self._start(holding)
        else:
            self._waiting[holding.asynchronous].append(holding)
        if now - since >= self._heartbeat_s:
            self._beat_now.set()

    # Attempts

    def _start_waiting(self) -> None:
        """Start what there are slots for; but what may be over soon only after a heartbeat has confirmed it."""
        if self._end.done() or self._draining:
            return
        now = self._clock()
        for line in self._waiting.values():
            while line and (line[0].stage is not Stage.WAITING or self._held.has_slot(line[0])):
                holding = line[0]
                if holding.stage is Stage.WAITING:  # it may have been aborted, lost or given back
                    if self._held.left_s(holding, now) < self._enough_s:
                        self._beat_now.set()
                        break
                    self._start(holding)
                line.popleft()
            if line:
                self._look_now.set()
        if not self._is_busy():
            self._calm.set()

    def _give_back_stuck(self) -> None:
        """Return what was claimed ahead and waits behind slower jobs than were expected, shards at once: others may run it."""
        latest = self._clock() - _STUCK_S
        waiting = [h for line in self._waiting.values() for h in line if h.stage is Stage.WAITING]
        for holding in waiting:
            if (holding.is_shard or holding.taken_at <= latest) and not self._held.has_slot(holding):
                self._held.misjudged()
                self._give_back(holding)

    def _start(self, holding: Holding) -> None:
        self._held.started(holding)
        if holding.is_shard:
            holding.shard = Shard(
                holding.lease,
                self._executor,
                self.output,
                clock=self._clock,
                ours=lambda now: self._is_ours(holding, now),
                on_survivors=self._survived,
            )
        self._attempts.start(holding)
        if not self._tells_lease:  # when the job is on its way: it waits for nothing
            self._tells_lease = True
            asyncio.get_running_loop().call_soon(self._tell_lease)

    def _all_ended(self, ends: Ends) -> None:
        """Keep reports for the server, and go on with what waits for a slot."""
        for holding, report in ends:
            self._ended(holding, report)
        self._start_waiting()

    def _ended(self, holding: Holding, report: Report) -> None:
        if holding.shard is None and report.proof is not None and report.proof.survivors:
            self._survived(report)
        if holding.stage is Stage.LOST or (self._end.done() and self._end.result() is not End.FENCED):
            self._forget([holding.key])
            return
        self._held.finished(holding)
        self._room.set()
        self.reports.add(report)
        if self.output.is_pending(holding.key):
            self.output.urge()
        else:
            self._reported.set()

    def _survived(self, report: Report) -> None:
        """Take no more jobs: processes have outlived SIGKILL, and nobody knows what they still do."""
        assert report.proof is not None
        key = (report.job, report.attempt)
        _log.error("survivors", job=key[0], attempt=key[1], pids=report.proof.survivors, trace=self._held.trace_of(key))
        self.drain(None)

    def _give_back(self, holding: Holding) -> None:
        """Return an attempt to the queue that no process has seen."""
        lease = holding.lease
        self._all_ended([(holding, Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.INTERRUPTED))])

    async def _interrupt_after(self, patience_s: float) -> None:
        await asyncio.sleep(patience_s)
        if self.running:
            _log.warning("interrupting", running=self.running)
        for holding in self._held:
            if holding.stage is Stage.RUNNING:
                lease = holding.lease
                self._executor.stop(lease.job, lease.attempt, lease.grace_s, Outcome.INTERRUPTED)

    # Orders

    async def _heartbeat(self) -> bool:
        """Name everything that is held, when it is time; then obey."""
        while (pause_s := self._next_beat_at() - self._clock()) > 0 and not self._beat_now.is_set():
            await wait_for(self._beat_now, pause_s)
        self._beat_now.clear()
        held, sent_at = self._held.named(), self._clock()
        repeated = set(self._early)  # a heartbeat tells all aborts that there are, again
        orders = await self._ask(lambda: self._queue.heartbeat(self.id, held), self._heartbeat_s)
        self._renewed_at = sent_at
        self._held.renew(held, sent_at)
        self._check_clock()
        self._tell_lease()
        for key in repeated:
            self._early.pop(key, None)
        self._obey(orders)
        self._start_waiting()
        return True

    def _next_beat_at(self) -> float:
        oldest = self._held.oldest()
        return (self._renewed_at if oldest is None else min(oldest, self._renewed_at)) + self._heartbeat_s

    async def _watch(self) -> bool:
        """Hear of orders at once. A hint: every heartbeat says them too."""
        sent_at = self._clock()
        orders = await self._ask(lambda: self._queue.watch(self.id, POLL_S), POLL_S + ANSWER_S)
        self._check_clock()
        self._obey(orders)
        return bool(orders.abort or orders.halt or orders.lost) or self._clock() - sent_at >= POLL_S / 2

    def _obey(self, orders: Orders) -> None:
        for order in orders.abort:
            self._abort(order)
        for halted in orders.halt:
            self._halt(halted)
        for lost in orders.lost:
            self._lose(lost)
        if orders.drain and not self._draining:
            _log.info("draining", running=self.running, patience="")
            self.drain(None)

    def _abort(self, order: AbortOrder) -> None:
        key = (order.job, order.attempt)
        holding = self._held.get(key)
        if holding is None:
            self._early[key] = order
            return
        if holding.stage in (Stage.FINISHED, Stage.LOST):
            return
        if holding.order is None:
            _log.info("abort_ordered", job=order.job, attempt=order.attempt, why=order.why, trace=holding.trace)
        holding.order = order
        if holding.stage is Stage.WAITING:
            self._start(holding)
        if holding.shard is not None:
            holding.shard.end(outcome_of(order))
        self._executor.stop(order.job, order.attempt, order.grace_s, outcome_of(order))

    def _halt(self, halted: Held) -> None:
        """Let a shard end with the input that runs."""
        holding = self._held.get((halted.job, halted.attempt))
        if holding is None:
            return
        if holding.stage is Stage.WAITING:
            self._give_back(holding)
        elif holding.shard is not None:
            holding.shard.end(Outcome.INTERRUPTED)

    def _lose(self, lost: Held) -> None:
        key = (lost.job, lost.attempt)
        holding = self._held.get(key)
        if holding is None or holding.stage is Stage.LOST:
            return
        if holding.stage is Stage.RUNNING:
            _log.warning("lease_lost", job=lost.job, attempt=lost.attempt, trace=holding.trace)
            self._held.lost(holding)  # its slot is taken until its tree has ended
            if holding.shard is not None:
                holding.shard.end(Outcome.LOST)
            self._executor.stop(lost.job, lost.attempt, 0.0, Outcome.LOST)
        else:
            self._forget([key])

    # Telling

    async def _tell(self) -> bool:
        """Send what attempts have written, when it is time."""
        while (pause_s := self.output.due_in_s()) != 0:
            self.output.changed.clear()
            await wait_for(self.output.changed, pause_s)
        batch = self.output.batch()
        try:
            await self._ask(lambda: batch.tell(self._queue, self.id), ANSWER_S)
        except NotFound:
            raise
        except RotaError as refusal:
            if dropped := self.output.refused(str(refusal)):
                _log.error("output_refused", attempts=len(dropped), error=str(refusal))
        else:
            self.output.told()
        self._reported.set()
        return True

    async def _settle(self) -> bool:
        """Send all reports whose output has been told; of short jobs, with more waiting, several at about their next claim."""
        while not (batch := self.reports.batch(self.output.is_pending)):
            self._reported.clear()
            await self._reported.wait()
        if self._is_busy():
            self._calm.clear()
            await wait_for(self._calm, _PACE_S)
            batch = self.reports.batch(self.output.is_pending)
        try:
            answers = await self._ask(lambda: self._queue.settle(self.id, batch), ANSWER_S)
        except NotFound:
            raise
        except RotaError as refusal:
            for report in self.reports.refused(batch, str(refusal)):
                key = (report.job, report.attempt)
                trace = self._held.trace_of(key)
                _log.error("report_refused", job=key[0], attempt=key[1], error=str(refusal), trace=trace)
                self._forget([key])
            return True
        for answer in answers:
            if not answer.accepted:
                _log.debug("report_stale", job=answer.job, attempt=answer.attempt, state=answer.state)
        self._forget((report.job, report.attempt) for report in batch)
        return True

    def _forget(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.reports.forget(key)
            self._held.forget(key)
        self._room.set()
        self._start_waiting()
        self._end_if_drained()

    # Time, errors and the end

    async def _look_at_clock(self) -> bool:
        self._check_clock()
        fence_at = self._held.fence_at(self._clock())
        left_s = _LOOK_S if fence_at is None else fence_at - self._clock()
        self._give_back_stuck()
        self._look_now.clear()
        if any(self._waiting.values()):
            await asyncio.sleep(min(left_s, _STUCK_S, self._enough_s))
        else:
            await wait_for(self._look_now, min(left_s, _LOOK_S, self._enough_s))
        return True

    def _check_clock(self) -> None:
        """Raise Over when nothing may be done any more under this registration; notice that by the clock."""
        now = self._clock()
        fence_at = self._held.fence_at(now)
        if fence_at is not None and now >= fence_at:
            self._finish(End.FENCED)
        if self._end.done():
            raise Over

    def _is_ours(self, holding: Holding, now: float) -> bool:
        """Say whether a lease is ours for certain; if it is not, nothing is, under this registration."""
        if self._held.left_s(holding, now) > 0:
            return True
        self._finish(End.FENCED)
        return False

    def _tell_lease(self) -> None:
        """Have the executor kill what runs a little after we ought to have done so ourselves."""
        self._tells_lease = False
        fence_at = self._held.fence_at(self._clock())
        if fence_at != self._leased_until:
            self._leased_until = fence_at
            self._executor.leased_until(None if fence_at is None else fence_at + self._held.margin_s / 2)

    async def _ask(self, verb: Callable[[], Awaitable[T]], within_s: float) -> T:
        self._check_clock()
        return await self._contact.ask(verb(), within_s)

    async def _repeat(self, name: str, step: Callable[[], Awaitable[bool]]) -> None:
        try:
            await repeat(name, step, longest_pause_s=self._heartbeat_s / 4, jitter=self._jitter)
        except NotFound:
            self._finish(End.UNKNOWN)

    def _end_if_drained(self) -> None:
        if self._draining and not len(self._held):
            self._finish(End.DRAINED)

    def _finish(self, end: End) -> None:
        if not self._end.done():
            self._end.set_result(end)
            for holding in self._held:
                if holding.shard is not None:
                    holding.shard.end(Outcome.LOST)
