"""The children that a pool has ready, and where it gets new ones: warm ones of each kind, and the one for async handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from rota.worker import verdict
from rota.worker.handle import Bounds, ChildHandle, ChildKind, Running
from rota.worker.nursery import Nursery, Unborn
from rota.worker.oom import OomWatch

_BIRTHS = 3  # how often a child is tried to be started for one attempt
_BIRTH_S = 30.0


class Stock:
    """The children of a pool that have nothing to do, at most `slots` of a kind; `do` runs a coroutine beside all else."""

    def __init__(
        self, nursery: Nursery, slots: int, do: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
    ) -> None:
        self._nursery = nursery
        self._slots = slots
        self._do = do
        self._idle: dict[ChildKind, list[ChildHandle]] = {"process": [], "script": []}
        self._async: ChildHandle | None = None
        self._async_birth: asyncio.Task[ChildHandle] | None = None

    def free(self, kind: ChildKind) -> ChildHandle | None:
        """Return a child that can begin with an attempt at once, and keep it no longer; the async one stays."""
        if kind == "async":
            return self._async
        idle = self._idle[kind]
        while idle:
            child = idle.pop()  # the one that was used last: its memory is warm
            if not child.ending:
                return child
        return None

    def has_idle(self, kind: ChildKind) -> bool:
        """Say whether a child that runs one attempt at a time is ready."""
        return bool(self._idle[kind])

    def release(self, child: ChildHandle, *, worn: bool) -> None:
        """Keep a child that has become free for the next attempt, or let it go; one that has more to do is left alone."""
        if child.ending:
            return
        if child.kind == "async":
            if worn and self._async is child:
                self._async = None
            if self._async is not child and not child.runs:
                self._nursery.retire(child)
        elif child.runs:
            return
        elif worn or len(self._idle[child.kind]) >= self._slots:
            self._nursery.retire(child)
        else:
            self._idle[child.kind].append(child)

    def lose(self, child: ChildHandle) -> None:
        """Give the child no async attempts any more: it ends."""
        if self._async is child:
            self._async = None

    async def newborn(self, kind: ChildKind, run: Running) -> ChildHandle | None:
        """Return a new child for an attempt; None when it is over already."""
        assert isinstance(run.report, asyncio.Future), "somebody waits for what cannot begin at once"
        birth = self._do(self._new_async() if kind == "async" else self._new(kind))
        await asyncio.wait([birth, run.report], return_when=asyncio.FIRST_COMPLETED)
        if run.report.done():  # stopped meanwhile
            birth.add_done_callback(self._release_born)
            return None
        with suppress(Unborn, TimeoutError):
            child: ChildHandle = birth.result()
            if not child.ending:
                return child
        run.finish(verdict.report_lost(run, "no process could be started for it", None, charged=False))
        return None

    async def bounded(self, child: ChildHandle, run: Running, bounds: Bounds) -> ChildHandle | None:
        """Return a script child with an attempt's limits; None when the attempt is over already."""
        try:
            held = await self._nursery.confine(child, *bounds)
        except asyncio.CancelledError:
            self._nursery.retire(child)
            raise
        except Unborn:
            child.ending = True
        else:
            child.bounds = bounds
            child.held = (held["memory"], held["processes"])
            child.oom = None if held["kills"] is None else OomWatch([Path(held["kills"])])
        if run.report.done():
            self.release(child, worn=False)
        elif child.ending:
            run.finish(verdict.report_lost(run, "its process ended before it began", None, charged=False))
        else:
            return child
        return None

    async def spare(self, kind: ChildKind) -> None:
        """Have a warm child ready in place of one that ends."""
        try:
            child = await self._nursery.bear(kind)
        except Unborn:
            return
        self.release(child, worn=False)

    async def _new(self, kind: ChildKind) -> ChildHandle:
        async with asyncio.timeout(_BIRTH_S):
            for _ in range(_BIRTHS - 1):
                try:
                    return await self._nursery.bear(kind)
                except Unborn:
                    continue
            return await self._nursery.bear(kind)

    async def _new_async(self) -> ChildHandle:
        """Return the async child; whoever comes while it is being started waits for the same one."""
        if self._async_birth is None:
            self._async_birth = self._do(self._new("async"))
            self._async_birth.add_done_callback(self._async_born)
        return await asyncio.shield(self._async_birth)

    def _async_born(self, birth: asyncio.Task[ChildHandle]) -> None:
        self._async_birth = None
        if not birth.cancelled() and birth.exception() is None and not birth.result().ending:
            self._async = birth.result()

    def _release_born(self, birth: asyncio.Task[ChildHandle]) -> None:
        if not birth.cancelled() and birth.exception() is None:
            self.release(birth.result(), worn=False)
