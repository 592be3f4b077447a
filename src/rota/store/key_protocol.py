"""What the service asks of a store about keys that jobs are limited by: a part of the transaction in protocol.py.

A queued job may be *held*: no claim looks at it, because its key is full. It counts as queued, and whatever else is done to
it ends that; what holds jobs and releases them is service/keys.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from rota.core.fairness import Turn, TurnName

HeldAt = tuple[str, str, str]  # (key, queue, lane)


class KeyTx(Protocol):
    """The part of `Tx` that knows keys."""

    async def count_keys(self, keys: Sequence[str], most: int) -> dict[str, int]:
        """Count the jobs of each of these keys that run, each up to `most`."""
        ...

    async def running_of_key(self, key: str, limit: int) -> list[str]:
        """Return jobs of a key that run, at most so many."""
        ...

    async def ready_of_key(self, key: str, queue: str, lane: str, most: int) -> int:
        """Count the queued jobs of a key in a lane that are not held, up to `most`."""
        ...

    async def lock_keys(self, keys: Iterable[str]) -> None:
        """Let nobody else hold or release jobs of these keys until the end; the first that its transaction waits for."""
        ...

    async def hold_jobs(self, places: Sequence[HeldAt], most: int) -> int:
        """Hold queued jobs of these keys and lanes, at most so many of each; return how many."""
        ...

    async def release_jobs(self, jobs: Sequence[tuple[str, TurnName]]) -> list[tuple[str, TurnName]]:
        """Hold these jobs no longer, and make their rows of turns ready; return those that were held."""
        ...

    async def held_keys(self, after: str, limit: int) -> list[str]:
        """Return keys that jobs are held of, by their names, from after `after` on."""
        ...

    async def are_held(self, keys: Sequence[str]) -> set[str]:
        """Return those of these keys that jobs are held of."""
        ...

    async def held_turns(self, key: str, after: TurnName, rows: int, depth: int) -> list[Turn]:
        """Return rows of turns that jobs of a key are held of, by queue, lane, owner and priority, from after `after` on.

        Each with as many of its first held jobs as `depth` says, and where its owner stands.
        """
        ...

    async def forget_buckets(self, before: int, limit: int) -> int:
        """Remove buckets of keys that were full before `before`; return how many."""
        ...
