"""The newest events, read once for all who follow them, however many dashboards are open.

One task of a server reads each event from the store when it comes, and keeps the last few thousand. A follower takes what
comes after its place; one that has fallen behind further, or resumes, reads the store until it has caught up. So a slow reader
holds nothing but its place.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rota.core.jobs import Event
from rota.service.signals import Signals, Waiter
from rota.store.protocol import Store

PAGE = 500
KEPT = 4000  # events
_LEAST_S = 0.02  # between two looks at the store: a burst is read together
_AWAY_S = 1.0  # until the store is looked at again when it did not answer


class Batch(list[Event]):
    """Events that come together. Who has the same place gets the same batch: `worded` is for what an edge makes of it.

    `reset`: events up to `last` are left out, or are gone; whoever shows what they changed must look again.
    """

    __slots__ = ("few", "last", "reset", "worded")

    def __init__(self, events: Sequence[Event] = (), last: int = 0, *, reset: str | None = None) -> None:
        super().__init__(events)
        self.last = last
        self.reset = reset
        self.worded: bytes | None = None
        self.few: Batch | None = None  # what a reader gets that takes several together


class Tail:
    """Reads while somebody follows. `look_s` is how long it waits for a hint before it looks all the same."""

    def __init__(self, store: Store, signals: Signals, look_s: float) -> None:
        self._store = store
        self._signals = signals
        self._look_s = look_s
        self._events: list[Event] = []
        self._seqs: list[int] = []
        self._batches: dict[tuple[int, str | None, str | None], Batch] = {}
        self._waiters: set[Waiter] = set()
        self._task: asyncio.Task[None] | None = None
        self.first = 0  # what came after this number is kept,
        self.last: int | None = None  # up to this one; None: nothing was read yet

    @contextmanager
    def following(self) -> Iterator[Waiter]:
        """Follow: the waiter is woken when there is more, and when the server stops."""
        waiter = Waiter()
        self._waiters.add(waiter)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="events")
        try:
            yield waiter
        finally:
            self._waiters.discard(waiter)
            if not self._waiters and self._task is not None:
                self._task.cancel()
                self._task = None
                self._forget()

    def after(self, seq: int, owner: str | None, job: str | None) -> Batch:
        """Return the events after a number that is not before `first`, of an owner, or a job, or all."""
        found = self._batches.get((seq, owner, job))
        if found is None:
            events = self._events[bisect_right(self._seqs, seq) :]
            if owner is not None or job is not None:
                events = [event for event in events if owner in (None, event.owner) and job in (None, event.job)]
            found = self._batches[seq, owner, job] = Batch(events, max(seq, self.last or 0))
        return found

    async def _run(self) -> None:
        while self.last is None and not self._signals.closed:
            await self._look()
        with self._signals.on("events") as waiter:
            while not self._signals.closed:
                more = await self._look()
                if more:
                    self._wake()
                    await asyncio.sleep(_LEAST_S)
                else:
                    await waiter.wait(self._look_s)
        self._wake()

    async def _look(self) -> bool:
        """Read what there is; say whether that was something. While the store is away, nobody hears of anything."""
        try:
            return await self._read()
        except Exception:  # whatever it is: the next look may do better
            await asyncio.sleep(_AWAY_S)
            return False

    async def _read(self) -> bool:
        if self.last is None:
            self.first = self.last = await self._store.read(lambda tx: tx.last_event())
            self._wake()
            return False
        last = self.last
        page = await self._store.read(lambda tx: tx.events_after(last, PAGE))
        if not page:
            return False
        self._events += page
        self._seqs += [event.seq for event in page]
        if len(self._events) > 2 * KEPT:
            self.first = self._seqs[-KEPT - 1]
            del self._events[:-KEPT], self._seqs[:-KEPT]
        self.last = page[-1].seq
        self._batches.clear()
        return True

    def _wake(self) -> None:
        for waiter in self._waiters:
            waiter.wake()

    def _forget(self) -> None:
        self._events.clear()
        self._seqs.clear()
        self._batches.clear()
        self.first, self.last = 0, None
