"""Live streams: events of all jobs, and the output of one. Both resume where a reader says it stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from rota.core.jobs import Event, LogChunk
from rota.core.states import FINAL
from rota.service.inputs import InputLine
from rota.service.jobs import Jobs
from rota.service.signals import Signals
from rota.store.protocol import Store

_PAGE = 500
TICK_S = 15.0
_LOOK_S = 1.0  # where others write too: what they did, or what was not yet safe to read, is found by looking


class Feed:
    """Reads the store and waits for hints; a reader that is slow costs nobody else anything."""

    def __init__(self, store: Store, signals: Signals, jobs: Jobs) -> None:
        self._store = store
        self._signals = signals
        self._jobs = jobs
        self._look_s = TICK_S if store.exclusive else _LOOK_S

    async def events(
        self, after: int | None = None, *, owner: str | None = None, job: str | None = None
    ) -> AsyncIterator[list[Event]]:
        """Yield events from after number `after` on (None: from now on) as they are committed.

        An empty list says that nothing happened for 15 s. Ends when the server stops.
        """
        seq = after if after is not None else await self._store.read(lambda tx: tx.last_event())
        loop = asyncio.get_running_loop()
        spoke_at = loop.time()
        with self._signals.on("events") as waiter:
            while not self._signals.closed:
                page = await self._page(seq, job)
                if page:
                    seq = page[-1].seq
                    chosen = [event for event in page if owner in (None, event.owner)]
                elif await waiter.wait(min(spoke_at + TICK_S - loop.time(), self._look_s)):
                    continue
                else:
                    chosen = []
                if chosen or loop.time() - spoke_at >= TICK_S:  # others' events are no sign of life to this reader
                    spoke_at = loop.time()
                    yield chosen

    async def _page(self, seq: int, job: str | None) -> list[Event]:
        if job is None:
            return await self._store.read(lambda tx: tx.events_after(seq, _PAGE))
        return await self._store.read(lambda tx: tx.events_of(job, seq, _PAGE))

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
