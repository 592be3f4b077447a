"""Queues and limits, for both colours of the client: `client.limits.pause(…)`. What they send is in calls.py."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from rota.client import calls
from rota.client.schedules import AsyncCaller, Caller
from rota.core.wire import Page


class Rate(Struct, kw_only=True):
    """`n` starts in `per` seconds, `burst` of them at once after a pause."""

    n: int
    per: float
    burst: int


class Queue(Struct, kw_only=True):
    """A queue as it was when the server last said so. Counts of all owners' jobs are None for who is no admin."""

    name: str
    paused: bool
    paused_at: datetime | None = None
    paused_by: str | None = None
    waiting: int | None = None
    queued: int | None = None
    running: int | None = None
    concurrency: int | None = None
    rate: Rate | None = None
    weight: float = 1.0


class Limit(Struct, kw_only=True):
    """A limit of a `queue` or a `handler`, and how much of it is used."""

    kind: str
    name: str
    concurrency: int | None = None
    rate: Rate | None = None
    running: int | None = None
    next_at: datetime | None = None


Setting = int | UnsetType | None
RateSetting = str | dict[str, Any] | UnsetType | None
Queues = list[Queue]
Found = list[Limit]


def _body(concurrency: Setting, rate: RateSetting) -> dict[str, Any]:
    given = {"concurrency": concurrency, "rate": rate}
    return {name: value for name, value in given.items() if value is not UNSET}


class Limits:
    """What can be done with queues and limits. `rate` is `100/1m`, or {"n", "per", "burst"}; None takes a limit away."""

    def __init__(self, client: Caller) -> None:
        self._client = client

    def queues(self) -> Queues:
        """Read the queues that have jobs, or that something was set for."""
        return self._client.call(calls.queues(Page[Queue])).items

    def pause(self, queue: str) -> Queue:
        """Let no job of a queue start; those that run go on."""
        return self._client.call(calls.queue_action(queue, "pause", Queue))

    def resume(self, queue: str) -> Queue:
        """Let jobs of a paused queue start again."""
        return self._client.call(calls.queue_action(queue, "resume", Queue))

    def list(self) -> Found:
        """Read all limits."""
        return self._client.call(calls.limits(Page[Limit])).items

    def set(self, kind: str, name: str, *, concurrency: Setting = UNSET, rate: RateSetting = UNSET) -> None:
        """Set a limit of a `queue` or a `handler`; what is left out stays. Raises Invalid."""
        self._client.call(calls.set_limit(kind, name, _body(concurrency, rate)))

    def set_weight(self, queue: str, weight: float | None) -> Queue:
        """Set how many starts a queue gets for each of others of the same priority; None: 1. Raises Invalid."""
        return self._client.call(calls.edit_queue(queue, {"weight": weight}, Queue))

    def remove(self, kind: str, name: str) -> None:
        """Take a limit away. Raises NotFound."""
        self._client.call(calls.remove_limit(kind, name))


class AsyncLimits:
    """As Limits, awaited."""

    def __init__(self, client: AsyncCaller) -> None:
        self._client = client

    async def queues(self) -> Queues:
        """Read the queues that have jobs, or that something was set for."""
        return (await self._client.call(calls.queues(Page[Queue]))).items

    async def pause(self, queue: str) -> Queue:
        """Let no job of a queue start; those that run go on."""
        return await self._client.call(calls.queue_action(queue, "pause", Queue))

    async def resume(self, queue: str) -> Queue:
        """Let jobs of a paused queue start again."""
        return await self._client.call(calls.queue_action(queue, "resume", Queue))

    async def list(self) -> Found:
        """Read all limits."""
        return (await self._client.call(calls.limits(Page[Limit]))).items

    async def set(self, kind: str, name: str, *, concurrency: Setting = UNSET, rate: RateSetting = UNSET) -> None:
        """Set a limit. As `Limits.set`."""
        await self._client.call(calls.set_limit(kind, name, _body(concurrency, rate)))

    async def set_weight(self, queue: str, weight: float | None) -> Queue:
        """Set a queue's weight. As `Limits.set_weight`."""
        return await self._client.call(calls.edit_queue(queue, {"weight": weight}, Queue))

    async def remove(self, kind: str, name: str) -> None:
        """Take a limit away. Raises NotFound."""
        await self._client.call(calls.remove_limit(kind, name))
