"""Owners as rows, and what runs of each. Shared by all stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rota.core.owners import Owner, Running


def owner_row(o: Owner) -> tuple[Any, ...]:
    """Return all columns of an owner."""
    return o.owner, float(o.weight), o.max_priority, o.max_waiting, o.max_running, o.max_bytes


def owner_of(row: tuple[Any, ...]) -> Owner:
    """Build an owner from `get_owner`'s columns."""
    owner, weight, priority, waiting, running, size = row
    return Owner(
        owner=owner, weight=weight, max_priority=priority, max_waiting=waiting, max_running=running, max_bytes=size
    )


def running_of(rows: Iterable[Sequence[Any]]) -> list[Running]:
    """Add up `running_jobs` and `running_shards` by owner."""
    n: Counter[str] = Counter()
    recent: Counter[str] = Counter()
    for owner, used in rows:
        n[owner] += 1
        recent[owner] += used
    return [Running(owner, n[owner], recent[owner]) for owner in n]
