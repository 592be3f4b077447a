"""The attempts that a worker holds: what heartbeats name, which slots are free, and until when the leases last.

A lease counts from `since`: a moment on the worker's own clock that is no later than the one from which the server
counts. For a lease that a heartbeat has named it is when the last such heartbeat, that was answered, was *sent*. For one
that none has named yet it is the sending of the last heartbeat that had been answered when its claim was sent: the
server promises no more, because a heartbeat that crosses the claim does not name the lease and so does not renew it.

Jobs that last less than the way to the server and back would leave their slots empty most of the time. So as long as
those for processes end within milliseconds and more of them are ready, a worker claims ahead what it runs in the next
moment. The first slow job ends that, and what waits behind it goes back to the queue (see `Registration`). A shard lasts
about a second: while one is held nothing is claimed ahead, and its length says nothing of other jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum, auto

from rota.core.jobs import AbortOrder, Free, Held, Lease, WorkerHello
from rota.core.traces import trace_of
from rota.worker.queue import Key
from rota.worker.shards import Shard

_UNSETTLED = 10  # times the capacity: so many reports may wait for the server before no more work is taken
_MARGIN_S = 2.0
_SHORT_S = 0.005  # jobs that usually last longer are never claimed ahead
_AHEAD_S = 0.025  # how much work is claimed ahead
_LEAST_S = 0.0002  # no job is taken to be shorter, which bounds how many are claimed ahead
_WEIGHT = 0.2  # of the newest job in the usual length: a hiccup is forgiven, a slow job is not


class Stage(Enum):
    """How far an attempt is on its worker."""

    WAITING = auto()  # claimed; not started yet
    RUNNING = auto()
    LOST = auto()  # no longer ours, said the server; its tree is being ended, and nothing is told of it
    FINISHED = auto()  # its tree has ended; its report is not answered yet


class Holding:
    """One attempt that a worker holds. `order` is an abort that came before the attempt was started.

    `shard` is what runs it, once it was started, where it is a shard of an array.
    """

    __slots__ = ("asynchronous", "is_shard", "key", "lease", "order", "shard", "since", "stage", "taken_at")

    def __init__(self, lease: Lease, *, asynchronous: bool, since: float, taken_at: float) -> None:
        self.lease = lease
        self.key: Key = (lease.job, lease.attempt)  # the attempt's name
        self.is_shard = lease.first is not None  # a part of an array
        self.asynchronous = asynchronous
        self.since = since
        self.taken_at = taken_at
        self.stage = Stage.WAITING
        self.order: AbortOrder | None = None
        self.shard: Shard | None = None

    @property
    def trace(self) -> str | None:
        """Return the id of the trace that the attempt belongs to, for the log."""
        return None if self.lease.traceparent is None else trace_of(self.lease.traceparent)


class Holdings:
    """All that one registration holds. `lease_s` is what the server grants; the worker itself stops a margin earlier."""

    def __init__(self, hello: WorkerHello, lease_s: float) -> None:
        self._async_handlers = {spec.name for spec in hello.handlers if spec.mode == "async"}
        offers_processes = hello.scripts or hello.images or len(self._async_handlers) < len(hello.handlers)
        self._slots = hello.slots if offers_processes else 0
        self._async_slots = hello.async_slots if self._async_handlers else 0
        self._capacity = self._slots + self._async_slots
        if hello.max_jobs is not None:
            self._capacity = min(self._capacity, hello.max_jobs)
        self.margin_s = min(_MARGIN_S, lease_s / 5)
        self._ours_s = lease_s - self.margin_s
        self._by_key: dict[Key, Holding] = {}
        self._taken = {False: 0, True: 0}  # slots: waiting, running, lost; by `asynchronous`
        self._in_slots = {False: 0, True: 0}  # slots: running, lost
        self._unfinished = 0  # waiting, running, lost
        self._shards = 0  # waiting, running, lost
        self._usual_s: float | None = None  # how long a job in a process lasts; None: not known to be short
        self._oldest: float | None = None  # a lower bound of `since` of what is started

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Holding]:
        return iter(list(self._by_key.values()))

    def get(self, key: Key) -> Holding | None:
        """Return a holding, if it is (still) one."""
        return self._by_key.get(key)

    def trace_of(self, key: Key) -> str | None:
        """Return the id of the trace that an attempt belongs to, while it is held."""
        return None if (holding := self._by_key.get(key)) is None else holding.trace

    def take(self, lease: Lease, since: float, now: float) -> Holding:
        """Hold a lease that was claimed."""
        asynchronous = lease.handler in self._async_handlers
        holding = Holding(lease, asynchronous=asynchronous, since=since, taken_at=now)
        self._by_key[holding.key] = holding
        self._taken[asynchronous] += lease.slots
        self._unfinished += 1
        self._shards += holding.is_shard
        return holding

    def has_slot(self, holding: Holding) -> bool:
        """Say whether as many slots are free as what waits takes."""
        slots = self._async_slots if holding.asynchronous else self._slots
        more = holding.lease.slots
        return self._in_slots[holding.asynchronous] + more <= slots and self.running() + more <= self._capacity

    def started(self, holding: Holding) -> None:
        """waiting -> running: from now on the end of its lease is the end of what runs."""
        holding.stage = Stage.RUNNING
        self._in_slots[holding.asynchronous] += holding.lease.slots
        self._oldest = holding.since if self._oldest is None else min(self._oldest, holding.since)

    def lost(self, holding: Holding) -> None:
        """running -> lost: it keeps its slot until it is forgotten, and is named no more."""
        holding.stage = Stage.LOST

    def finished(self, holding: Holding) -> None:
        """waiting, running, lost -> finished: its slot is free."""
        if holding.stage is Stage.FINISHED:
            return
        self._taken[holding.asynchronous] -= holding.lease.slots
        self._unfinished -= 1
        self._shards -= holding.is_shard
        if holding.stage is not Stage.WAITING:
            self._in_slots[holding.asynchronous] -= holding.lease.slots
        holding.stage = Stage.FINISHED

    def lasted(self, holding: Holding, seconds: float) -> None:
        """Learn how long a job was in its slot."""
        if not holding.asynchronous and not holding.is_shard:
            usual_s = seconds if self._usual_s is None else self._usual_s
            self._usual_s = usual_s + _WEIGHT * (seconds - usual_s)

    def misjudged(self) -> None:
        """Claim nothing ahead until jobs are known to be short again."""
        self._usual_s = None

    def forget(self, key: Key) -> None:
        """Hold it no longer."""
        holding = self._by_key.pop(key, None)
        if holding is not None:
            self.finished(holding)

    def running(self) -> int:
        """Return how many slots are taken."""
        return self._in_slots[False] + self._in_slots[True]

    def free(self, ahead: int = 0) -> Free:
        """Return what can be claimed now, `ahead` more than there are slots for. Less, when too many reports wait."""
        taken = self._taken[False] + self._taken[True]
        unsettled = len(self._by_key) - self._unfinished
        total = min(self._capacity + ahead - taken, _UNSETTLED * (self._capacity + ahead) - unsettled)
        total = max(total, 0)
        return Free(
            process=max(min(self._slots + ahead - self._taken[False], total), 0),
            asynchronous=max(min(self._async_slots - self._taken[True], self._capacity - taken, total), 0),
            total=total,
        )

    def ahead(self) -> int:
        """Return how many jobs more than there are slots are run in a moment, if there are so many; mostly none."""
        if self._shards or self._usual_s is None or self._usual_s > _SHORT_S:
            return 0
        return int(self._slots * _AHEAD_S / max(self._usual_s, _LEAST_S))

    def is_busy(self, waiting: int) -> bool:
        """Say whether of short jobs more than half of what is claimed ahead still waits: nothing is in a hurry then."""
        return waiting * 2 > self.ahead() > 0

    def named(self) -> list[Held]:
        """Return what a heartbeat has to name: all that is still ours."""
        return [Held(job=h.lease.job, attempt=h.lease.attempt) for h in self._ours()]

    def renew(self, held: Iterable[Held], since: float) -> None:
        """Count the leases that an answered heartbeat named from its sending."""
        for each in held:
            holding = self._by_key.get((each.job, each.attempt))
            if holding is not None:
                holding.since = max(holding.since, since)
        self._oldest = self._find_oldest()

    def oldest(self) -> float | None:
        """Return since when the oldest lease counts, started or not."""
        return min((holding.since for holding in self._ours()), default=None)

    def left_s(self, holding: Holding, now: float) -> float:
        """Return for how long a lease is certainly ours, a margin for killing taken off."""
        return holding.since + self._ours_s - now

    def fence_at(self, now: float) -> float | None:
        """Return when everything that was started must be killed, if it has not been renewed until then."""
        if self._oldest is not None and self._oldest + self._ours_s <= now:  # what was the oldest may have ended since
            self._oldest = self._find_oldest()
        return None if self._oldest is None else self._oldest + self._ours_s

    def _find_oldest(self) -> float | None:
        return min((h.since for h in self._ours() if h.stage is not Stage.WAITING), default=None)

    def _ours(self) -> Iterator[Holding]:
        return (h for h in self._by_key.values() if h.stage is not Stage.LOST)
