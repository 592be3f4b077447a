"""Owners: what was set for each, and what it gets and uses."""

from __future__ import annotations

from msgspec import Struct


class OwnerUse(Struct, frozen=True, kw_only=True):
    """How much an owner uses of its quotas; of those that it does not have it is None."""

    waiting: int | None = None
    running: int | None = None
    bytes: int | None = None


class Owner(Struct, frozen=True, kw_only=True):
    """What was set for an owner: its share against others' at equal priority, and its limits; None: none.

    `max_waiting`, `max_running` and `max_bytes` are its quotas; `use` is how much of them is used, None where it has none.
    """

    owner: str
    weight: float = 1.0
    max_priority: int | None = None
    max_waiting: int | None = None
    max_running: int | None = None
    max_bytes: int | None = None
    use: OwnerUse | None = None


class Running(Struct, frozen=True):
    """How many jobs and shards of an owner run, and for how long in all (microseconds); `recent`: of it since a moment."""

    owner: str
    n: int
    recent: int


class TurnView(Struct, kw_only=True):
    """Where an owner stands in a lane: how many of its jobs are `ready` (counted up to 10,000).

    `due_in` is how far its turn is ahead of the clock, in starts at weight 1; 0: it is due now.
    """

    queue: str
    lane: str
    priority: int
    ready: int
    due_in: float


class ShareView(Struct, kw_only=True):
    """What an owner gets and uses. `share` is its part, by weight, among the owners that have ready or running jobs now.

    `used` is its part of the slot-seconds of the last hour, of which there were `slot_seconds` in all. `waiting` are its
    ready jobs, counted up to 10,000 in each lane.
    """

    owner: str
    weight: float
    share: float
    used: float
    slot_seconds: float
    running: int
    waiting: int
    active_owners: int
    turns: list[TurnView]
    max_priority: int | None
    max_waiting: int | None = None
    max_running: int | None = None
    max_bytes: int | None = None
    use: OwnerUse | None = None
