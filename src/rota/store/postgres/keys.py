"""The part of a transaction on PostgreSQL that knows keys; see store/key_protocol.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rota.core.fairness import Turn, TurnName
from rota.core.jobs import HELD_LANE
from rota.store.key_protocol import HeldAt
from rota.store.postgres.statement import BaseTx, array, columns, number_of


class KeyTx(BaseTx):
    """The part of `PostgresTx` that knows keys."""

    async def count_keys(self, keys: Sequence[str], most: int) -> dict[str, int]:
        rows = [(key, most) for key in keys]
        found = await self._all("count_keys", *columns(rows, 2)) if rows else []
        return {row[0]: row[1] for row in found}

    async def running_of_key(self, key: str, limit: int) -> list[str]:
        return [job for (job,) in await self._all("running_of_key", key, limit)]

    async def ready_of_key(self, key: str, queue: str, lane: str, most: int) -> int:
        row = await self._one("ready_of_key", key, queue, lane, most)
        return row[0] if row else 0

    async def lock_keys(self, keys: Iterable[str]) -> None:
        await self._all("lock_keys", sorted({number_of("held", key) for key in keys}))

    async def hold_jobs(self, places: Sequence[HeldAt], most: int) -> int:
        return len(await self._all("hold_jobs", *columns(places, 3), most)) if places else 0

    async def release_jobs(self, jobs: Sequence[tuple[str, TurnName]]) -> list[tuple[str, TurnName]]:
        if not jobs:
            return []
        released = {job for (job,) in await self._all("release_jobs", array([job for job, _ in jobs]))}
        self._held.update(released)
        self._readied.update(name for job, name in jobs if job in released)
        return [each for each in jobs if each[0] in released]

    async def held_keys(self, after: str, limit: int) -> list[str]:
        return [key for (key,) in await self._all("held_keys", after, limit)]

    async def are_held(self, keys: Sequence[str]) -> set[str]:
        return {key for (key,) in await self._all("are_held", array(keys))} if keys else set()

    async def held_turns(self, key: str, after: TurnName, rows: int, depth: int) -> list[Turn]:
        at = after.queue, HELD_LANE + after.lane, after.owner, after.priority
        stands: dict[TurnName, tuple[int, int, float]] = {}
        heads: dict[TurnName, list[tuple[int, str]]] = {}
        for queue, lane, priority, owner, turn, clock, weight, run_at, job in await self._all(
            "held_turns", key, *at, rows, depth
        ):
            name = TurnName(queue, priority, owner, lane.removeprefix(HELD_LANE))
            stands[name] = turn, clock, weight
            heads.setdefault(name, []).append((run_at, job))
        return [Turn(name, *stands[name], 0, tuple(sorted(heads[name])), False) for name in heads]

    async def forget_buckets(self, before: int, limit: int) -> int:
        return len(await self._all("forget_buckets", before, limit))
