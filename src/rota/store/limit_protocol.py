"""What the service asks of a store about limits and pauses: a part of the transaction in protocol.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rota.core.limits import Limit, LimitKind
from rota.store.rows import QueueRow


class LimitTx(Protocol):
    """The part of `Tx` that knows which queues are paused, what has a limit, and how much of it is used."""

    async def queue_rows(self) -> list[QueueRow]:
        """Return the queues that something was ever set for."""
        ...

    async def put_queue(self, row: QueueRow) -> None:
        """Write whether a queue is paused; its weight stays."""
        ...

    async def put_queue_weight(self, queue: str, weight: float | None) -> None:
        """Write a queue's weight, None for none; whether it is paused stays."""
        ...

    async def limits(self) -> list[Limit]:
        """Return all limits."""
        ...

    async def put_limit(self, limit: Limit) -> None:
        """Write a limit, in place of the one that there was."""
        ...

    async def delete_limit(self, limit: Limit) -> None:
        """Remove a limit, and what was spent of its rate."""
        ...

    async def hold_limits(self, pools: Sequence[tuple[LimitKind, str]]) -> bool:
        """Let nobody else start what counts against these until the end of the transaction; called once in it.

        Return whether somebody else may have started some since they were counted in it.
        """
        ...

    async def running_lanes(self) -> list[tuple[str, str]]:
        """Return the (queue, lane) pairs with running jobs."""
        ...

    async def count_running(self, lanes: Sequence[tuple[str, str]], most: int) -> list[int]:
        """Count the leases of these lanes, each up to `most`, from the jobs that run; of an array each shard is one."""
        ...

    async def buckets(self, pools: Sequence[tuple[LimitKind, str]]) -> dict[tuple[LimitKind, str], int]:
        """Return when the buckets of rates will be full, of those that something was spent of."""
        ...

    async def put_buckets(self, full: Sequence[tuple[LimitKind, str, int]]) -> None:
        """Write when buckets will be full."""
        ...
