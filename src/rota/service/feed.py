"""Live streams: events of all jobs, and the output of one. Both resume where a reader says it stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from rota.core.jobs import LogChunk
from rota.core.states import FINAL
from rota.service.inputs import InputLine
from rota.service.jobs import Jobs
from rota.service.signals import Signals
from rota.service.tail import PAGE, Batch, Tail
from rota.store.protocol import Store

_PAGE = 500
_MOST_AT_ONCE = 200  # events for a reader that takes several together
TICK_S = 15.0
_LOOK_S = 1.0  # where others write too: what they did, or what was not yet safe to read, is found by looking


class Feed:
    """Reads the store and waits for hints; a reader that is slow costs nobody else anything."""

    def __init__(self, store: Store, signals: Signals, jobs: Jobs) -> None:
        self._store = store
        self._signals = signals
        self._jobs = jobs
        self._look_s = TICK_S if store.exclusive else _LOOK_S
        self._tail = Tail(store, signals, self._look_s)

    async def events(
        self, after: int | None = None, *, owner: str | None = None, job: str | None = None, every_s: float = 0.0
    ) -> AsyncIterator[Batch]:
        """Yield events from after number `after` on (None: from now on) as they are committed.

        An empty batch says that nothing happened for 15 s. With `every_s`, what happens within so many seconds comes
        together, of each job only the last event, and of a flood only that there was one (`reset`); the first event after a
        pause comes at once. When the event `after` is no more, others may be gone too: that comes first, as a `reset`.
        Ends when the server stops.
        """
        loop = asyncio.get_running_loop()
        spoke_at = loop.time()
        told_at = float("-inf")
        with self._tail.following() as waiter:
            while self._tail.last is None and not self._signals.closed:
                await waiter.wait(self._look_s)
            seq = after if after is not None else self._tail.last or 0
            if after is not None and await self._is_gone(after):
                yield Batch(last=after, reset="pruned")
            while not self._signals.closed:
                seq, batch = await self._next(seq, owner, job, few=every_s > 0)
                if every_s > 0:
                    batch = _coalesced(batch)
                if batch or batch.reset:
                    spoke_at = told_at = loop.time()
                    yield batch
                elif loop.time() - spoke_at >= TICK_S:  # others' events are no sign of life to this reader
                    spoke_at = loop.time()
                    yield Batch()
                if self._tail.last is not None and seq < self._tail.last:
                    continue
                await waiter.wait(min(spoke_at + TICK_S - loop.time(), self._look_s))
                if loop.time() - told_at < every_s:  # who asks for the same pace goes together: it is worded once
                    await asyncio.sleep(every_s - loop.time() % every_s)

    async def _next(self, seq: int, owner: str | None, job: str | None, *, few: bool) -> tuple[int, Batch]:
        """Return what comes after a number, and up to where that goes: from the tail, or from the store to catch up."""
        tail = self._tail
        last = tail.last or 0
        if seq >= tail.first and tail.last is not None:
            batch = tail.after(seq, owner, job)
            return batch.last, batch
        if job is not None:
            page = await self._store.read(lambda tx: tx.events_of(job, seq, PAGE))
            return (page[-1].seq if len(page) == PAGE else max(seq, last)), Batch(page)
        page = await self._store.read(lambda tx: tx.events_after(seq, PAGE))
        if few and len(page) == PAGE:
            return last, Batch(last=last, reset="burst")
        seq = page[-1].seq if page else max(seq, last)
        return seq, Batch([event for event in page if owner in (None, event.owner)], seq)

    async def _is_gone(self, seq: int) -> bool:
        """Say whether an event that somebody has heard of is no more."""
        return seq > 0 and not await self._store.read(lambda tx: tx.is_event(seq))

    async def logs(
        self, job: str, after: tuple[int, int] | None = None, attempt: int | None = None
    ) -> AsyncIterator[list[LogChunk]]:
        """Yield output from after (attempt, n) on as it comes; ends when the job is over and all of it was sent.

        An empty list says that nothing came for 15 s. Raises NotFound.
        """
        with self._signals.on("logs", job) as waiter:
            while not self._signals.closed:
                over = (
                    await self._jobs.get(job)
                ).state in FINAL  # before the look: the last piece comes before the end
                page = await self._jobs.logs(job, attempt=attempt, after=after, limit=_PAGE)
                if page:
                    after = (page[-1].attempt, page[-1].n)
                    yield page
                elif over:
                    return
                elif not await waiter.wait(TICK_S):
                    yield []

    async def results(
        self, job: str, after: int = -1, *, bad: bool = False, follow: bool = False
    ) -> AsyncIterator[list[InputLine]]:
        """Yield what became of an array's inputs, in their order, from after the input `after` on.

        With `follow`, waits for the next one until the array is over, and leaves no gap before that; an empty list says
        that none came for 15 s. Raises NotFound.
        """
        with self._signals.on("logs", job) as waiter:
            while not self._signals.closed:
                over = not follow or (await self._jobs.get(job)).state in FINAL
                page = await self._jobs.results(job, after=after, limit=_PAGE, bad=bad)
                if not over:
                    page = [line for at, line in enumerate(page) if line.outcome.index == after + 1 + at]
                if page:
                    after = page[-1].outcome.index
                    yield page
                elif over:
                    return
                elif not await waiter.wait(TICK_S):
                    yield []


def _coalesced(batch: Batch) -> Batch:
    """Return the last event of each job; of a flood nothing but that it came. The same batch gives the same one."""
    if batch.reset or len(batch) <= 1:
        return batch
    if batch.few is None:
        last = {event.job: event for event in batch}
        few = sorted(last.values(), key=lambda event: event.seq)
        batch.few = Batch(few, batch.last) if len(few) <= _MOST_AT_ONCE else Batch(last=batch.last, reset="burst")
    return batch.few
