"""What the service asks of a store about schedules: a part of the transaction in protocol.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from rota.core.schedules import Change, Firing, OpenFiring, Schedule


class ScheduleTx(Protocol):
    """The part of `Tx` that knows what submits jobs again and again."""

    async def insert_schedule(self, schedule: Schedule) -> None:
        """Write a new schedule."""
        ...

    async def update_schedule(self, schedule: Schedule) -> None:
        """Write all that a schedule is; it comes from `lock_schedule`."""
        ...

    async def move_schedules(self, schedules: Sequence[Schedule]) -> None:
        """Write what a look at schedules has changed: `seen`, `next_at`, `waiting`, `zone_mark`. They are held."""
        ...

    async def delete_schedule(self, schedule: str) -> None:
        """Remove a schedule and its history. Its firings stay until they are pruned."""
        ...

    async def get_schedule(self, schedule: str) -> Schedule | None:
        """Return a schedule."""
        ...

    async def lock_schedule(self, schedule: str) -> Schedule | None:
        """Return a schedule, locked until the end of the transaction; before any job is."""
        ...

    async def schedules_named(self, name: str, owner: str | None, limit: int) -> list[str]:
        """Return the ids of schedules of a name, of one owner (then it is one at most) or of all."""
        ...

    async def list_schedules(self, owner: str | None, after: str, limit: int) -> list[Schedule]:
        """Return schedules of an owner or of all, the oldest first, from after the id `after` on."""
        ...

    async def due_schedules(self, limit: int) -> list[Schedule]:
        """Return schedules whose next slot has come, the longest due first; held, without those that somebody else holds."""
        ...

    async def free_schedules(self, limit: int) -> list[Schedule]:
        """Return schedules with a slot that waits, none of whose jobs lives; held as due ones are."""
        ...

    async def schedules_ahead(self, at: int, limit: int) -> list[Schedule]:
        """Return schedules whose slots are decided up to a time after `at`; held."""
        ...

    async def zone_marks(self) -> list[tuple[str, str]]:
        """Return the (timezone, mark) pairs with which next slots were found."""
        ...

    async def schedules_by_mark(self, timezone: str, mark: str, limit: int) -> list[Schedule]:
        """Return schedules whose next slot was found with this mark; held as due ones are."""
        ...

    async def fired_slots(self, slots: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
        """Return those of these (schedule, slot) of which something has become."""
        ...

    async def insert_firings(self, firings: Sequence[Firing]) -> None:
        """Write what became of slots; a second firing of the same slot breaks the transaction."""
        ...

    async def update_firings(self, firings: Sequence[Firing]) -> None:
        """Write what became of slots that waited."""
        ...

    async def firings_of(self, schedule: str, before: int, limit: int) -> list[Firing]:
        """Return a schedule's firings, the newest first, from before the slot `before` on."""
        ...

    async def open_firings(self, schedules: Iterable[str]) -> list[OpenFiring]:
        """Return the open firings of schedules, with the states of their jobs."""
        ...

    async def close_firings(self, firings: Sequence[OpenFiring]) -> None:
        """Note that the jobs of these firings are over."""
        ...

    async def close_all_firings(self, schedule: str) -> None:
        """Note that nobody asks any more whether the jobs of a schedule are over."""
        ...

    async def forget_firings(self, before: int, limit: int) -> int:
        """Remove firings that were decided before `before`, at most `limit` of them; open ones stay. Return how many."""
        ...

    async def append_schedule_change(self, change: Change) -> None:
        """Write a line of a schedule's history."""
        ...

    async def schedule_changes(self, schedule: str, before: int, limit: int) -> list[Change]:
        """Return a schedule's history, the newest first, from before the revision `before` on."""
        ...

    async def schedules_of_origin(self, origin: str) -> list[Schedule]:
        """Return the schedules that an app's code has declared, the oldest first, locked as by `lock_schedule`."""
        ...

    async def put_deploy(self, origin: str, digest: str) -> None:
        """Note that a set of declarations is in force from `now` on; who notes the same waits for this transaction."""
        ...

    async def deploys_of(self, origin: str, limit: int) -> list[str]:
        """Return the sets that were in force, the newest first; not the empty one."""
        ...
