"""The work queue with a span for each attempt: from its claim to its report, as the service counts it too.

Inputs of a shard share the shard's span: there may be thousands a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from rota.core.checkpoints import CheckpointNote
from rota.core.jobs import (
    Free,
    Held,
    HookCall,
    InputReport,
    Lease,
    LogChunk,
    Orders,
    ProgressNote,
    Report,
    Settled,
    Welcome,
    WorkerHello,
)
from rota.core.states import Outcome
from rota.tracing import Running
from rota.worker.queue import Key, WorkQueue


class TracedQueue:
    """A WorkQueue (see queue.py) that hands out each lease with its own span as its `traceparent`."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._open: dict[Key, Running] = {}

    async def register(self, hello: WorkerHello) -> Welcome:
        """Make the worker known; what it held under a former registration is lost."""
        self._end(list(self._open), Outcome.LOST)
        return await self._queue.register(hello)

    async def claim(self, worker: str, free: Free, wait_s: float) -> list[Lease]:
        """Take jobs, and begin their spans."""
        return [self._begin(worker, lease) for lease in await self._queue.claim(worker, free, wait_s)]

    async def heartbeat(self, worker: str, held: list[Held]) -> Orders:
        """Renew the leases that are named; the spans of those that are lost end."""
        orders = await self._queue.heartbeat(worker, held)
        self._end([(lost.job, lost.attempt) for lost in orders.lost], Outcome.LOST)
        return orders

    async def watch(self, worker: str, wait_s: float) -> Orders:
        """Wait for orders."""
        return await self._queue.watch(worker, wait_s)

    async def settle(self, worker: str, reports: list[Report]) -> list[Settled]:
        """End the spans of these attempts as they are reported, and record how they ended."""
        for report in reports:
            if (span := self._open.pop((report.job, report.attempt), None)) is not None:  # else it is told again
                span.ended(report)
        return await self._queue.settle(worker, reports)

    async def tell(
        self,
        worker: str,
        logs: list[LogChunk],
        progress: list[ProgressNote],
        hooks: list[HookCall],
        results: list[InputReport],
        *,
        checkpoints: Sequence[CheckpointNote] = (),
    ) -> None:
        """Store output, progress, calls of hooks and ends of inputs."""
        await self._queue.tell(worker, logs, progress, hooks, results, checkpoints=checkpoints)

    async def leave(self, worker: str) -> None:
        """Forget the worker and give back what it holds."""
        self._end(list(self._open), Outcome.INTERRUPTED)
        await self._queue.leave(worker)

    def _begin(self, worker: str, lease: Lease) -> Lease:
        span = self._open[lease.job, lease.attempt] = Running(worker, lease)
        return replace(lease, traceparent=span.traceparent, trace_link=None)

    def _end(self, keys: Iterable[Key], outcome: Outcome) -> None:
        for job, attempt in keys:
            if (span := self._open.pop((job, attempt), None)) is not None:
                span.ended(Report(job=job, attempt=attempt, outcome=outcome))
