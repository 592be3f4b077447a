"""The work queue, as a worker needs it.

The service satisfies this protocol directly, the client over HTTP; one conformance suite runs against both. Every
verb may be repeated after a lost reply. None asks a worker for the time. Errors: `NotFound` says that the worker is
unknown (its lease ran out, or the store is new): it kills what it runs and registers again. `Unavailable` and
`ConnectionError` say: try again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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

Key = tuple[str, int]  # job, attempt: the name of a lease


class WorkQueue(Protocol):
    """Where a worker gets its work."""

    async def register(self, hello: WorkerHello) -> Welcome:
        """Make the worker known. Each call makes a new worker with a new id: one boot, one id."""
        ...

    async def claim(self, worker: str, free: Free, wait_s: float) -> list[Lease]:
        """Take jobs that this worker can run, at most `free` of them, the highest priority first, then the oldest.

        Waits up to `wait_s` seconds for the first one; an empty list says that there was none. A job is `running`, and
        its `attempt` one higher, before it is returned. Its lease ends with the worker's, which only heartbeats (and the
        registration) renew, not claims. A claim whose reply was lost comes back: the next heartbeat does not name it, so
        it is not renewed, and runs out.
        """
        ...

    async def heartbeat(self, worker: str, held: list[Held]) -> Orders:
        """Renew the leases that are named, and hear what to abort, what is lost, and whether to drain."""
        ...

    async def watch(self, worker: str, wait_s: float) -> Orders:
        """Wait up to `wait_s` seconds for orders and return them at once when there are any. A hint: heartbeats say it too."""
        ...

    async def settle(self, worker: str, reports: list[Report]) -> list[Settled]:
        """Record how attempts ended, in one transaction. A report of an attempt that is not this worker's changes nothing."""
        ...

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
        """Store output, progress, hook calls, ends of inputs and checkpoints of attempts that this worker holds, no others.

        What is told twice counts once. An input of a shard whose end was not told before the shard's report runs again.
        """
        ...

    async def leave(self, worker: str) -> None:
        """Forget the worker. What it still holds goes back to the queue at once, uncharged."""
        ...
