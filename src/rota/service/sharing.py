"""Many who ask the same at once are answered by one look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

GATHER_S = (
    0.02  # a look that follows on another begins so long after it: a crowd that hears of a change comes into that one
)


class Shared(Generic[T]):
    """Looks for all that have asked the same meanwhile. A look begins after each of them has asked: nobody is shown what is
    older. Who asks while nobody else does is answered at once.
    """

    def __init__(self) -> None:
        self._now: dict[Hashable, asyncio.Task[T]] = {}
        self._next: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, look: Callable[[], Awaitable[T]]) -> T:
        """Return what a look for `key` has found that began after this call: this one, or another one's."""
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._after(self._now.get(key), key, look))
            task.add_done_callback(_hear)
        return await asyncio.shield(task)  # who goes away takes nothing away from the others

    async def _after(self, before: asyncio.Task[T] | None, key: Hashable, look: Callable[[], Awaitable[T]]) -> T:
        if before is not None:
            await asyncio.wait([before])
            await asyncio.sleep(GATHER_S)
        self._now[key] = self._next.pop(key)
        try:
            return await look()
        finally:
            del self._now[key]


def _hear(task: asyncio.Task[T]) -> None:
    """Take note of how a look ended: all who asked may have gone."""
    if not task.cancelled():
        task.exception()
