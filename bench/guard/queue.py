"""A work queue in memory that costs next to nothing: what is left is the worker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

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

_LEASE_S = 3600.0


class MemoryQueue:
    """For one worker; satisfies rota.worker.queue.WorkQueue."""

    def __init__(self) -> None:
        self._ready: dict[bool, deque[Lease]] = {True: deque(), False: deque()}  # by whether they are async
        self._came = {True: asyncio.Event(), False: asyncio.Event()}
        self._left = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def drain(self, leases: Sequence[Lease], *, asynchronous: bool) -> None:
        """Have attempts run; return when all of them are settled."""
        self._done = asyncio.get_running_loop().create_future()
        self._left = len(leases)
        self._ready[asynchronous].extend(leases)
        self._came[asynchronous].set()
        await self._done

    async def register(self, hello: WorkerHello) -> Welcome:  # noqa: ARG002
        return Welcome(worker="w", lease_s=_LEASE_S, heartbeat_s=_LEASE_S / 3)

    async def claim(self, worker: str, free: Free, wait_s: float) -> list[Lease]:  # noqa: ARG002
        """Take what there is of the kinds that are asked for; wait until there is something."""
        wanted = {True: free.asynchronous, False: free.process}
        kinds = [kind for kind, n in wanted.items() if n > 0]
        if not any(self._ready[kind] for kind in kinds):
            for kind in kinds:
                self._came[kind].clear()
            waiting = [asyncio.ensure_future(self._came[kind].wait()) for kind in kinds]
            await asyncio.wait(waiting, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()
        taken: list[Lease] = []
        for kind in kinds:
            ready = self._ready[kind]
            taken += [ready.popleft() for _ in range(min(len(ready), wanted[kind], free.total - len(taken)))]
        return taken

    async def heartbeat(self, worker: str, held: list[Held]) -> Orders:  # noqa: ARG002
        return Orders()

    async def watch(self, worker: str, wait_s: float) -> Orders:  # noqa: ARG002
        await asyncio.sleep(wait_s)
        return Orders()

    async def settle(self, worker: str, reports: list[Report]) -> list[Settled]:  # noqa: ARG002
        self._left -= len(reports)
        if self._left == 0 and not self._done.done():
            self._done.set_result(None)
        return [Settled(job=report.job, attempt=report.attempt, accepted=True) for report in reports]

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
        """Take what is told, and forget it."""

    async def leave(self, worker: str) -> None:
        """Know of no worker any more."""
