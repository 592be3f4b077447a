"""One executor made of two: images go to the engine, all else to the pool of processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rota.core.jobs import HandlerSpec, Lease, Report
from rota.core.states import Outcome
from rota.worker.executor import Executor


class ByKind:
    """An executor that hands leases on to `images` or to `processes`."""

    def __init__(self, processes: Executor, images: Executor) -> None:
        self._processes = processes
        self._images = images
        self._both = (images, processes)

    async def start(self) -> list[HandlerSpec]:
        """Start both; the handlers are those of the processes."""
        handlers = await self._processes.start()
        await self._images.start()
        return handlers

    async def run(self, lease: Lease, following: Lease | None = None) -> Report:
        """Run one attempt."""
        return await (self._images if lease.kind == "image" else self._processes).run(lease, following)

    def begin(self, lease: Lease, done: Callable[[Report], None]) -> bool:
        """Begin one attempt, if that can be done at once."""
        return (self._images if lease.kind == "image" else self._processes).begin(lease, done)

    def holds(self, job: str, attempt: int) -> bool:
        """Say whether an input has begun whose `run` is still to be called."""
        return any(executor.holds(job, attempt) for executor in self._both)

    def recall(self, job: str, attempt: int) -> None:
        """Begin no following input any more."""
        for executor in self._both:
            executor.recall(job, attempt)

    def stop(self, job: str, attempt: int, grace_s: float, outcome: Outcome) -> None:
        """Start to end an attempt; who does not run it passes it over."""
        for executor in self._both:
            executor.stop(job, attempt, grace_s, outcome)

    def leased_until(self, at: float | None) -> None:
        """Tell both until when the leases are ours."""
        for executor in self._both:
            executor.leased_until(at)

    async def kill_all(self) -> None:
        """End everything that runs now, both at the same time."""
        await asyncio.gather(*(executor.kill_all() for executor in self._both))

    async def close(self) -> None:
        """End all; the processes last, for their keeper minds the containers."""
        for executor in self._both:
            await executor.close()
