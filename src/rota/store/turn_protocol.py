"""What the service asks of a store about whose turn it is: a part of the transaction in protocol.py.

Every way into `queued` (and an array's `open`) makes the row of turns of its job ready, in the same transaction. Nothing
else may be relied on: a ready row may have no job left. What a row says of virtual time is in core/fairness.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from rota.core.fairness import Charge, OwnerName, Turn, TurnName
from rota.core.jobs import Job
from rota.core.owners import Owner, Running


class TurnTx(Protocol):
    """The part of `Tx` that knows rows of turns, and owners."""

    async def ready_lanes(self) -> list[tuple[str, str]]:
        """Return the (queue, lane) pairs with queued jobs."""
        ...

    async def turns(
        self, lanes: Sequence[tuple[str, str, int]], room: int, without: Collection[str] = ()
    ) -> tuple[list[tuple[str, str]], list[Turn]]:
        """Return what `ready_lanes` does, and of those of `lanes` (queue, lane, limit) that are there the first rows.

        They come by priority, then turn, but for those of the owners `without`; each with as many of its first jobs as `room`
        starts may need.
        """
        ...

    async def oldest_turns(self, lanes: Sequence[tuple[str, str]], before: int, limit: int) -> list[Turn]:
        """Return ready rows from which nothing was started since `before`, at most `limit` of each lane, with their heads."""
        ...

    async def ready_counts(self, turns: Sequence[tuple[TurnName, int]]) -> list[int]:
        """Return how many ready jobs each row has, counted up to its limit."""
        ...

    async def older_than(self, job: Job, lane: str, limit: int) -> int:
        """Return how many ready jobs of its owner and priority come before a job in a lane, counted up to `limit`."""
        ...

    async def charge_turns(self, charges: Sequence[Charge]) -> set[OwnerName]:
        """Write what starts cost, and let the clocks go on; return whose charge was written.

        Where others write too, a row that one of them holds is passed over: nobody waits here.
        """
        ...

    async def empty_turns(self, names: Iterable[TurnName]) -> None:
        """ready -> empty, for those of these rows that have no ready job, and that nobody else holds."""
        ...

    async def forget_turns(self, before: int, limit: int) -> int:
        """Remove empty rows whose turn the clock has passed, or which have been idle since `before`; return how many."""
        ...

    async def missing_turns(self, after: TurnName, limit: int) -> tuple[list[TurnName], TurnName | None]:
        """Look at `limit` rows that there ought to be, in the order of the ready jobs, from after `after` on.

        Return those that are not there, and where to go on; None: that was the end.
        """
        ...

    async def make_ready(self, names: Iterable[TurnName]) -> None:
        """Make rows ready."""
        ...

    async def get_owners(self, owners: Iterable[str]) -> dict[str, Owner]:
        """Return those of these owners that something was set for."""
        ...

    async def lock_owner(self, owner: str) -> Owner:
        """Return what was set for an owner, or what holds for all; locked for a change of it if it is there."""
        ...

    async def put_owner(self, owner: Owner) -> None:
        """Write what is set for an owner."""
        ...

    async def owners_after(self, after: str, limit: int) -> list[Owner]:
        """Return owners that have jobs, or that something was set for, by name, from after `after` on."""
        ...

    async def ready_owners(self, limit: int) -> list[Turn]:
        """Return ready rows of all queues and lanes, at most so many, without their jobs."""
        ...

    async def running_by_owner(self, since: int) -> list[Running]:
        """Return who runs what now, jobs and shards each, and for how long since `since`."""
        ...

    async def add_usage(self, rows: Sequence[tuple[str, int, int]]) -> None:
        """Add (owner, minute, microseconds) to what was used; the owner '' is all together."""
        ...

    async def usage_of(self, owner: str, minute: int) -> int:
        """Return what an owner has used since a minute."""
        ...

    async def forget_usage(self, minute: int, limit: int) -> int:
        """Remove what was used before a minute, at most `limit` rows; return how many."""
        ...
