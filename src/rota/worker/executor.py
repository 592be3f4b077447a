"""What runs attempts, as the supervisor sees it. `rota.worker.pool.Pool` is the real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rota.core.jobs import HandlerSpec, Lease, Report
from rota.core.states import Outcome


class Executor(Protocol):
    """Runs attempts, each to the proven end of its process tree."""

    async def start(self) -> list[HandlerSpec]:
        """Import the handlers and get ready to run. Also after `close`, with fresh code. Raises when they do not import."""
        ...

    async def run(self, lease: Lease, following: Lease | None = None) -> Report:
        """Run one attempt to the end of its tree; enforces its timeout. Raises only when the executor itself is broken.

        `following` is the next input of its shard. It may begin as soon as this one is over, before its own `run`: then
        `holds` says so, and that `run` tells its end.
        """
        ...

    def begin(self, lease: Lease, done: Callable[[Report], None]) -> bool:
        """Begin an attempt at once, and have `done` called with its report, later; False: it has to be `run`.

        What `run` promises holds here too. Raises only when the executor itself is broken.
        """
        ...

    def holds(self, job: str, attempt: int) -> bool:
        """Say whether an input of a shard has begun, or may have, whose `run` is still to be called."""
        ...

    def recall(self, job: str, attempt: int) -> None:
        """Begin no following input any more; where one may have begun, its `run` says whether it did: if not, INTERRUPTED."""
        ...

    def stop(self, job: str, attempt: int, grace_s: float, outcome: Outcome) -> None:
        """Start to end an attempt; its `run` returns what really happened, else `outcome`. Unknown: no effect."""
        ...

    def leased_until(self, at: float | None) -> None:
        """Kill everything that runs at `at` (seconds of CLOCK_BOOTTIME), unless told otherwise before; None: never.

        The worker's leases may be over then. It holds also while the worker itself is stopped.
        """
        ...

    async def kill_all(self) -> None:
        """End everything that runs now, without grace; returns when it is gone."""
        ...

    async def close(self) -> None:
        """End all processes. Idempotent."""
        ...
