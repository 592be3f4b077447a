"""What goes on by itself: fire schedules, promote what is due, remind and fence what is overdue, rescue, deliver, prune.

Every server does all of it; there is no leader. Each step takes its rows in a transaction that checks them again, so
two servers that do the same step at once do it once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import Struct

from rota.core.jobs import Event, Failure, Job, Report
from rota.core.limits import Pool
from rota.core.settling import release, settle
from rota.core.states import FINAL, Outcome, State
from rota.core.times import SECOND
from rota.service import arrays, audit, changes
from rota.service.audit import Audit
from rota.service.changes import Ended, end_attempts
from rota.service.firing import ScheduleUpkeep
from rota.service.heartbeats import TIMEOUT_SLACK
from rota.service.hooks import Hooks
from rota.service.keys import KeyUpkeep
from rota.service.observer import Observer, Step, Stopwatch
from rota.service.owners import Usage
from rota.service.runs import RunUpkeep
from rota.service.series import Counting
from rota.service.signals import Effects, Signals
from rota.service.tokens import Tokens
from rota.service.turns import TurnUpkeep
from rota.service.work import Work, end_lost, lost_report
from rota.store.protocol import NewEvent, Overdue, Store, Tx, Wakeups, WorkerRow

_BATCH = 500
_LOOK_S = 1.0  # how long upkeep sleeps at most: one look a second when nothing happens
# A step of the store's clock that is taken for a jump. A lease may have been given when the clock was as much behind, and
# be judged when it is as much ahead: twice this is no more than workers stop before their lease ends.
_JUMP_S = 1.0
_ANSWERS_KEPT = 24 * 3600 * SECOND
_UPLOADS_KEPT = 3600 * SECOND  # of arrays whose server died before all inputs were written
_MANY = 1_000_000  # jobs: all who wait for them shall look
_GONE_WORKERS_KEPT = 3600 * SECOND
_IDLE_TURNS_KEPT = 3600 * SECOND  # what an owner that is idle is charged for beyond the clock
_ORDERS = frozenset({"abort_requested", "halted"})  # events that a worker must hear of

_Steps = dict[Step, tuple[int | None, Callable[[], Awaitable[object]]]]


class _Seen(Struct):
    """What a look at the store has shown; `offset` is by how much its clock is ahead of the monotonic one."""

    now: int
    offset: int
    wakeups: Wakeups
    lanes: list[tuple[str, str]]
    tokens: int
    limited: frozenset[Pool]
    events: list[Event] | None


class Upkeep:
    """The steps, and the loop that runs them. `monotonic` gives seconds; `retention_s` is how long jobs that are over stay."""

    def __init__(
        self,
        store: Store,
        signals: Signals,
        observer: Observer,
        work: Work,
        hooks: Hooks,
        *,
        tokens: Tokens,
        audit: Audit,
        schedules: ScheduleUpkeep,
        counting: Counting,
        runs: RunUpkeep,
        turns: TurnUpkeep,
        keys: KeyUpkeep,
        usage: Usage,
        lease_s: float,
        retention_s: float,
        jitter: Callable[[], float],
        monotonic: Callable[[], float],
        stopwatch: Stopwatch,
        failed: Callable[[Step, Exception], None] = lambda _step, _error: None,
    ) -> None:
        self._store = store
        self._signals = signals
        self._observer = observer
        self._work = work
        self._hooks = hooks
        self._tokens = tokens
        self._audit = audit
        self._schedules = schedules
        self._counting = counting
        self._runs = runs
        self._turns = turns
        self._keys = keys
        self._usage = usage
        self._lease = round(lease_s * SECOND)
        self._retention = round(retention_s * SECOND)
        self._jitter = jitter
        self._monotonic = monotonic
        self._stopwatch = stopwatch
        self._failed = failed
        self._held_at = 0  # since when every worker has had one lease to be heard of
        self._clock_offset: int | None = None  # store less monotonic, when rescue was last held back
        self._jump = round(min(_JUMP_S, lease_s / 10) * SECOND)
        self._prune_at = 0.0
        self._follow_at = 0.0
        self._last: int | None = None  # the last event of a shared store that was looked at

    async def begin(self) -> None:
        """Take stock after a start: workers that died with the former owner of the store run nothing, for certain.

        All others get one lease to be heard of, however old their last heartbeat is: nobody could hear it.
        """
        for row in await self._store.read(lambda tx: tx.list_workers()):
            if self._store.exclusive and row.hello.owned and row.gone_at is None:
                await self._work.release(row.id, Outcome.LOST, "its server died", at_once=True)
        self._clock_offset = None  # the first round holds the rescue back

    async def run(self) -> None:
        """Go round until canceled."""
        with self._signals.on("upkeep") as waiter:
            while True:
                await waiter.wait(await self.round())

    async def round(self) -> float:
        """Look once at what has come due, do it, and return for how many seconds there is nothing to do."""
        self._signals.upkeep_at = None
        try:
            seen = await self._stopwatch.read("look", self._look)
            now = seen.now
            await self._tokens.seen(now, seen.tokens)
            self._counting.seen(now)
            if self._jumped(seen.offset):
                await self._hold_rescue(now)
        except Exception as error:  # the store is away: its leases could not be renewed either
            self._failed("look", error)
            self._clock_offset = None
            return _LOOK_S
        self._signals.lanes, self._signals.limited = seen.lanes, seen.limited
        self._signals.keyed = any(kind == "key" for kind, _ in seen.limited)
        for lane in seen.lanes:  # a job may have come by another road than this server, and woken nobody
            self._signals.ready(*lane, 1 if self._store.exclusive else _MANY)
        if seen.events is not None:
            self._follow(seen.events)
        pause = _LOOK_S
        for name, (at, step) in self._steps(seen).items():
            if at is None:
                continue
            if at > now:
                pause = min(pause, (at - now) / SECOND)
                continue
            try:
                if await step():
                    pause = 0.0
                elif name == "overdue":  # its worker has so long to end it before it is reminded
                    pause = min(pause, TIMEOUT_SLACK / SECOND)
            except Exception as error:  # one step that fails (a full disk) must not stop the others, nor the loop
                self._failed(name, error)
        return pause

    def _steps(self, seen: _Seen) -> _Steps:
        """Return what a round does, in order: each step's name, when it comes due, if anything tells, and the step."""
        now, next_ = seen.now, seen.wakeups
        rescuable = now >= self._held_at + self._lease
        return {
            "zones": (now if self._schedules.zones_due else None, self._schedules.look_at_zones),
            "free": (now if next_.waits else None, self._schedules.free),
            "fire": (next_.slot, self._schedules.fire),
            "tell": (now if next_.told else None, self.count_told),
            "promote": (next_.due, self.promote),
            "overdue": (next_.deadline, self.end_overdue),
            "keys": (self._keys.due_at(now, held=next_.held), self._keys.step),
            "runs": (self._runs.due_at(now), self._runs.step),
            "rescue": (next_.lease if rescuable else None, self.rescue),
            "deliver": (next_.delivery, self._hooks.step),
            "turns": (now if self._turns.due(seen.lanes) else None, self._turns.step),
            "usage": (now if self._usage.due else None, self._usage.flush),
            "audit": (now if self._audit.due else None, self._audit.flush),
            "series": (now if self._counting.due else None, self._counting.flush),
            "prune": (now if self._monotonic() >= self._prune_at else None, self.prune),
        }

    async def promote(self) -> int:
        """scheduled -> queued, for jobs whose time has come."""
        effects = Effects()

        async def write(tx: Tx) -> int:
            effects.begin()
            jobs = list((await tx.lock_jobs(await tx.due_jobs(_BATCH))).values())
            due = [(job, release(job, tx.now)) for job in jobs if job.state is State.SCHEDULED and job.run_at <= tx.now]
            if due:
                await tx.move_jobs(due)
                await tx.append_events(
                    [NewEvent(job.id, job.owner, "queued", State.QUEUED, job.attempt) for job, _ in due]
                )
            for job, _ in due:
                effects.ready[job.queue, job.lane] += 1
            return len(due) + await arrays.promote_ranges(tx, _BATCH, effects)

        promoted = await self._store.write(write)
        if promoted:
            self._signals.publish(effects)
        return promoted

    async def count_told(self) -> int:
        """blocked -> scheduled | queued | canceled, for jobs that somebody else held when what they waited for ended."""
        effects = Effects()

        async def write(tx: Tx) -> int:
            effects.begin()
            return await changes.count_told(tx, _BATCH, effects)

        counted = await self._stopwatch.write("tell", write)
        self._signals.publish(effects)
        return counted

    async def end_overdue(self) -> int:
        """Remind workers of what is overdue; fence an attempt that its worker does not end for a grace and a lease.

        A pulled task is over at its deadline: its worker has no clock to be relied on, and is not waited for.
        """
        effects = Effects()

        async def write(tx: Tx) -> int:
            effects.begin()
            overdue = await tx.overdue_jobs(tx.now, _BATCH)
            effects.orders.update(o.worker for o in overdue if o.deadline_at + TIMEOUT_SLACK <= tx.now)
            late = {o.job: o for o in overdue if tx.now > self._fence_at(o) and self._is_steady(tx.now)}
            effects.orders.update(o.worker for o in late.values())
            ended = []
            for job in (await tx.lock_jobs(late)).values():
                canceled = job.kind == "pull" and job.abort_requested_at is not None  # it ends with its lease
                if job.state is State.RUNNING and job.attempt == late[job.id].attempt and not canceled:
                    # An abort that nobody has seen come to its end must not count as confirmed.
                    outcome = Outcome.TIMED_OUT if job.abort_requested_at is None else Outcome.LOST
                    report = Report(job=job.id, attempt=job.attempt, outcome=outcome, error=_overdue(job))
                    ended.append(Ended(job, report, settle(job, report, tx.now, self._jitter())))
            await end_attempts(tx, ended, effects)
            return len(ended)

        fenced = await self._store.write(write)
        if fenced or effects.orders:
            self._signals.publish(effects)
        return fenced

    async def rescue(self) -> int:
        """End the attempts of workers whose lease has run out, and leases that no heartbeat named."""
        expired = await self._store.read(lambda tx: tx.expired_workers(_BATCH))
        rescued = 0
        for worker in expired:
            rescued += await self._work.release(
                worker, Outcome.LOST, "its lease ran out", at_once=False, only_if=self._has_expired
            )
        effects = Effects()

        async def write(tx: Tx) -> int:
            effects.begin()
            jobs = await tx.lock_jobs(await tx.unnamed_leases(_BATCH) if self._is_steady(tx.now) else [])
            ended = 0
            for charged in (True, False):
                mine = {job.id: job.attempt for job in jobs.values() if await _is_gone(tx, job.worker) is charged}
                ended += await end_lost(tx, mine, Outcome.LOST, self._jitter, effects, charged=charged)
            for name in await tx.unnamed_shards(_BATCH) if self._is_steady(tx.now) else []:
                await tx.lock_jobs(name[:1])
                shard = await tx.get_shard(*name)
                if shard is None or shard.lease_until is None or shard.lease_until > tx.now:
                    continue  # somebody was faster, or its worker has named it
                report = partial(lost_report, charged=await _is_gone(tx, shard.worker))
                ended += await arrays.end_lost_shards(tx, [name], report, effects)
            return ended

        rescued += await self._store.write(write)
        self._signals.publish(effects)
        self._observer.leases_expired(rescued)
        return rescued

    async def prune(self) -> int:
        """Remove what is over for longer than the retention, in small batches; at most once a minute when there is nothing."""
        if self._monotonic() < self._prune_at:
            return 0

        async def write(tx: Tx) -> tuple[int, bool]:
            old = await tx.over_before(tx.now - self._retention, _BATCH)
            whole = await tx.delete_jobs(old)
            for upload in await tx.old_uploads(tx.now - _UPLOADS_KEPT, _BATCH):
                await tx.delete_upload(upload)
            await tx.forget_answers(tx.now - _ANSWERS_KEPT, _BATCH)
            await tx.forget_workers(tx.now - _GONE_WORKERS_KEPT)
            await audit.prune(tx)
            firings = await tx.forget_firings(tx.now - self._retention, _BATCH)
            keys = await tx.forget_uniques(tx.now, _BATCH) + await tx.forget_buckets(tx.now, _BATCH)
            runs = await tx.delete_runs(tx.now - self._retention, _BATCH)
            turns = await tx.forget_turns(tx.now - _IDLE_TURNS_KEPT, _BATCH)
            return len(old), whole and max(firings, keys, runs, turns) < _BATCH

        pruned, whole = await self._store.write(write)
        self._prune_at = self._monotonic() + (60.0 if whole and pruned < _BATCH else 0.0)
        return pruned

    async def _look(self, tx: Tx) -> _Seen:
        events = None
        if not self._store.exclusive and self._monotonic() >= self._follow_at:
            self._follow_at = self._monotonic() + _LOOK_S
            events = [] if self._last is None else await tx.events_after(self._last, _BATCH)
            if self._last is None or len(events) == _BATCH:
                self._last = await tx.last_event()
            elif events:
                self._last = events[-1].seq
        return _Seen(
            now=tx.now,
            offset=self._offset(tx.now),
            wakeups=await tx.wakeups(),
            lanes=await tx.ready_lanes(),
            tokens=await tx.tokens_version(),
            limited=frozenset(limit.pool for limit in await tx.limits()),
            events=events,
        )

    def _follow(self, events: list[Event]) -> None:
        """Wake whom the transactions of other servers concern, should no signal have come. Output leaves no event."""
        self._signals.wake_each("logs")
        if len(events) == _BATCH:  # too many to look at each
            self._signals.wake_all()
        elif events:
            self._signals.wake("events")
            self._signals.wake_many("over", (event.job for event in events if event.state in FINAL))
            if any(event.kind in _ORDERS for event in events):
                self._signals.wake_each("orders")

    def _jumped(self, offset: int) -> bool:
        """Say whether the store's clock was set, or was out of reach, since rescue was last held back: small steps add up."""
        if self._clock_offset is not None and abs(offset - self._clock_offset) <= self._jump:
            return False
        self._clock_offset = offset
        return True

    def _is_steady(self, now: int) -> bool:
        """Say whether the clock goes as it did; else what it says of leases and deadlines is void."""
        return self._clock_offset is None or abs(self._offset(now) - self._clock_offset) <= self._jump

    def _offset(self, now: int) -> int:
        return now - round(self._monotonic() * SECOND)

    def _has_expired(self, row: WorkerRow, now: int) -> bool:
        """Say whether a worker's lease has run out: it may have been heard of since we looked."""
        return row.lease_until <= now and self._is_steady(now)

    async def _hold_rescue(self, now: int) -> None:
        """Give every worker one lease, from now, to be heard of: after a start, an outage, a jump of the clock.

        And let schedules go by the clock as it is now.
        """
        self._held_at = now

        async def write(tx: Tx) -> bool:
            whole = await self._schedules.take_back(tx)
            await tx.clamp_leases(tx.now + self._lease)
            return whole

        while not await self._store.write(write):
            pass

    def _fence_at(self, overdue: Overdue) -> int:
        """Return when an overdue attempt is over on its worker: it was told, or has lost its lease, and a grace passed."""
        if overdue.kind == "pull":
            return overdue.deadline_at - 1
        known_at = max(overdue.deadline_at, self._held_at) + TIMEOUT_SLACK
        return known_at + round(overdue.grace_s * SECOND) + self._lease


async def _is_gone(tx: Tx, worker: str | None) -> bool:
    """Say whether an attempt's worker is gone: then it may have run, and is charged to the crash budget."""
    row = await tx.get_worker(worker) if worker else None
    return row is None or row.gone_at is not None


def _overdue(job: Job) -> Failure:
    late = "" if job.kind == "pull" else ", and its worker did not end it"
    return Failure(type="TimedOut", message=f"over {job.timeout_s:g} s{late}")
