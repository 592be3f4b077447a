"""Hints: who waits for what, and who is woken. Losing one costs time, never correctness.

Transactions collect their `Effects`; after the commit `publish` wakes those who wait, tells the observer, and has the
other servers of the store wake theirs (`service/relay.py`).
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from msgspec import Struct

from rota.core.jobs import family_of
from rota.core.limits import Pool, pools_of
from rota.core.needs import base_of, needs_of, slots_of
from rota.core.states import Outcome, State
from rota.service.observer import Observer
from rota.service.relay import News, Relay

Rooms = tuple[tuple[frozenset[str], int], ...]  # groups of lanes, and how many slots are free for each group


class Over(Struct, frozen=True):
    """A job that came to an end; how long its last attempt ran, and how long an abort took, in seconds."""

    job: str
    state: State
    run_s: float | None = None
    abort_s: float | None = None
    queue: str = "default"


class Effects:
    """What a transaction changed that somebody may be waiting for; published after its commit."""

    def __init__(self, orders: Iterable[str] = ()) -> None:
        self.begin()
        self.orders.update(orders)

    def begin(self) -> None:
        """Forget everything: the transaction begins, perhaps not for the first time."""
        self.over: list[Over] = []
        self.submitted: Counter[str] = Counter()  # new jobs by queue
        self.started: list[tuple[str, float]] = []  # (queue, seconds from when it could run) of claimed jobs
        self.outcomes: list[Outcome] = []  # of attempts that ended
        self.used: dict[str, int] = {}  # for how long attempts that ended have run, by owner, in microseconds
        self.workers_lost = 0
        self.ready: Counter[tuple[str, str]] = Counter()  # jobs that became queued, by (queue, lane)
        self.runs: set[str] = set()  # runs of which jobs are over
        self.over_runs: list[str] = []
        self.freed: Counter[tuple[str, str]] = Counter()  # leases that ended, by (queue, lane)
        self.freed_owners: Counter[str] = Counter()  # the same, by owner
        self.keys: set[str] = set()  # that may have room for jobs that are held
        self.orders: set[str] = set()  # workers that have new orders
        self.told: set[str] = set()  # jobs with new output or results
        self.wake_at: int | None = None  # when upkeep has something to do, at the latest

    def use(self, owner: str, microseconds: int) -> None:
        """Note that an attempt of an owner has ended, and for how long it ran."""
        self.used[owner] = self.used.get(owner, 0) + microseconds

    def wake(self, at: int) -> None:
        """Ask upkeep to look at `at`."""
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


class Waiter:
    """Somebody who waits; `wait` returns True as soon as, or if already, it was woken."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def woken(self) -> bool:
        """Say whether it was woken and has not noticed yet."""
        return self._event.is_set()

    def wake(self) -> None:
        """Wake the one who waits, now or when it comes to wait."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait to be woken, `seconds` at most."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._event.wait()
        woken = self._event.is_set()
        self._event.clear()
        return woken


class _Claimant(Waiter):
    def __init__(self, rooms: Rooms, queues: frozenset[str], labels: frozenset[tuple[str, str]]) -> None:
        super().__init__()
        self._labels = labels
        self._rooms = rooms
        self._queues = queues
        self.woken_for: tuple[str, str] | None = None

    def room(self, queue: str, lane: str) -> int:
        """Return how many jobs of a lane it can take."""
        if self._queues and queue not in self._queues:
            return 0
        if not needs_of(lane) <= self._labels:
            return 0
        base = base_of(lane)
        slots = sum(room for lanes, room in self._rooms if base in lanes or family_of(base) in lanes)
        return slots // slots_of(lane) or min(
            slots, 1
        )  # for a job that takes more it asks again, with what is free then


class Signals:
    """Everybody who waits in this process."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.relay: Relay | None = None  # None: there is no other server
        self.counted: Callable[[Effects], None] = lambda _: None  # hears of every transaction with events
        self._claimants: list[_Claimant] = []
        self._by_key: defaultdict[tuple[str, str], set[Waiter]] = defaultdict(set)
        self.upkeep_at: int | None = None
        self.runs: set[str] = set()  # of which jobs are over: upkeep looks whether they are too
        self.lanes: list[tuple[str, str]] = []  # that had queued jobs, and
        self.limited: frozenset[Pool] = frozenset()  # what has limits, when upkeep last looked
        self.full_owners: set[str] = set()  # of whom claims have seen that no more may run
        self.keyed = False  # whether keys had limits then
        self.keys: set[str] = set()  # that may have room for jobs that are held: upkeep looks
        self.limits_changed = False  # so that any key may
        self.closed = False
        self.used: Counter[str] = Counter()  # what `Effects.used` says of committed transactions, until it is written
        self.readied = 0  # how often jobs became ready, and orders came, as far as was heard here: who has looked
        self.ordered = 0  # at the store since the last time need not look again

    @property
    def mode(self) -> str:
        """Return by which way hints of other servers come: `none` when they do not, and the store is looked at instead."""
        return "none" if self.relay is None else self.relay.mode

    @contextmanager
    def claimant(
        self, rooms: Rooms, queues: frozenset[str], labels: frozenset[tuple[str, str]] = frozenset()
    ) -> Iterator[Waiter]:
        """Wait for jobs of these lanes, each group with so many free slots, and queues (empty: all queues).

        `labels` are what the jobs may need.
        """
        waiter = _Claimant(rooms, queues, labels)
        self._claimants.append(waiter)
        try:
            yield waiter
        finally:
            self._claimants.remove(waiter)
            if waiter.woken and waiter.woken_for is not None:  # it goes without having looked: the next in line must
                self.ready(*waiter.woken_for, 1)

    @contextmanager
    def on(self, kind: str, key: str = "", waiter: Waiter | None = None) -> Iterator[Waiter]:
        """Wait for `kind` of `key`: ("over", job), ("orders", worker), ("logs", job), ("events", ""), ("upkeep", "").

        `waiter` is one that waits for something else too.
        """
        waiter = Waiter() if waiter is None else waiter
        self._by_key[kind, key].add(waiter)
        if self.closed:
            waiter.wake()
        try:
            yield waiter
        finally:
            waiters = self._by_key[kind, key]
            waiters.discard(waiter)
            if not waiters:
                del self._by_key[kind, key]

    def publish(self, effects: Effects) -> None:
        """Wake those whom a committed transaction with events concerns."""
        for end in effects.over:
            self._observer.ended(end.state, end.run_s)
            if end.abort_s is not None:
                self._observer.aborted(end.abort_s)
        self.counted(effects)
        if effects.used:
            self.used.update(effects.used)
        if effects.outcomes:
            self._observer.attempts_ended(effects.outcomes)
        if effects.workers_lost:
            self._observer.workers_lost(effects.workers_lost)
        self.hint(effects, events=True)

    def hint(self, effects: Effects, *, events: bool = False) -> None:
        """Wake those whom a committed transaction concerns; without events, those who follow them are left alone."""
        over = [end.job for end in effects.over] + effects.over_runs
        self._wake_named(over, effects.told, effects.orders, events=events)
        ready = effects.ready + self._let_in(effects.freed) if self.limited else effects.ready
        if freed := sum(n for owner, n in effects.freed_owners.items() if owner in self.full_owners):
            ready = ready | Counter(dict.fromkeys(self.lanes, freed))
        left = Counter({lane: n for lane, jobs in ready.items() if (n := self.ready(*lane, jobs)) > 0})
        if effects.wake_at is not None:
            self.wake_upkeep(effects.wake_at)
        if effects.keys and self.keyed:
            self.keys |= effects.keys
            self.wake("upkeep")
        if effects.runs:
            known = bool(self.runs)
            self.runs |= effects.runs
            if not known:
                self.wake("upkeep")
        if self.relay is not None:  # of ready jobs what nobody waits for here; each server looks after its own upkeep
            self.relay.tell(over=over, told=effects.told, orders=effects.orders, ready=left, events=events)

    def _let_in(self, freed: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
        """Return what may start, of the lanes that had jobs lately, because leases ended that counted against a limit."""
        let_in: Counter[tuple[str, str]] = Counter()
        for lane, n in freed.items():
            full = self.limited.intersection(pools_of(*lane))
            for other in self.lanes if full else ():
                if full.intersection(pools_of(*other)):
                    let_in[other] = max(let_in[other], n)
        return let_in

    def hear(self, news: News) -> None:
        """Wake those whom a transaction of another server concerns."""
        if news.everybody:
            self.wake_all()
            return
        self._wake_named(news.over, news.told, news.orders, events=news.events)
        for queue, lane, jobs in news.ready:
            self.ready(queue, lane, jobs)

    def _wake_named(self, over: Iterable[str], told: Iterable[str], orders: Iterable[str], *, events: bool) -> None:
        for job in over:
            self.wake("over", job)
            self.wake("logs", job)
        self.wake_many("logs", told)
        self.wake_many("orders", orders)
        if events:
            self.wake("events")

    def wake_upkeep(self, at: int) -> None:
        """Ask upkeep to look at `at`, unless it will have looked by then anyhow."""
        if self.upkeep_at is None or at < self.upkeep_at:
            self.upkeep_at = at
            self.wake("upkeep")

    def wake(self, kind: str, key: str = "") -> None:
        """Wake all who wait for this."""
        self.ordered += kind == "orders"
        for waiter in self._by_key.get((kind, key), ()):
            waiter.wake()

    def wake_many(self, kind: str, keys: Iterable[str]) -> None:
        """Wake all who wait for one of these."""
        for key in keys:
            self.wake(kind, key)

    def close(self) -> None:
        """End every wait, now and from now on: the server stops."""
        self.closed = True
        self.wake_all()

    def wake_all(self) -> None:
        """Let everybody look."""
        self.readied += 1
        self.ordered += 1
        for waiters in list(self._by_key.values()):
            for waiter in waiters:
                waiter.wake()
        for claimant in self._claimants:
            claimant.wake()

    def everybody(self) -> None:
        """Let everybody look, here and at other servers: what may start has changed."""
        self.wake_all()
        if self.relay is not None:
            self.relay.tell_everybody()

    def wake_each(self, kind: str) -> None:
        """Wake all who wait for this kind, of whatever key."""
        self.ordered += kind == "orders"
        for (each, _), waiters in list(self._by_key.items()):
            if each == kind:
                for waiter in waiters:
                    waiter.wake()

    def ready(self, queue: str, lane: str, jobs: int) -> int:
        """Wake as many claimants as can take the jobs, not the whole herd, and return for how many there was none.

        The woken one goes to the end of the line.
        """
        self.readied += 1
        for claimant in list(self._claimants):
            if jobs <= 0:
                break
            room = claimant.room(queue, lane)
            if room > 0:
                claimant.woken_for = (queue, lane)
                claimant.wake()
                jobs -= room
                self._claimants.remove(claimant)
                self._claimants.append(claimant)
        return max(jobs, 0)
