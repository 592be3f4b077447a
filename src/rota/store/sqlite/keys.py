"""The part of a transaction on SQLite that knows keys; see store/key_protocol.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rota.core.fairness import Turn, TurnName
from rota.core.jobs import HELD_LANE
from rota.store.key_protocol import HeldAt
from rota.store.rows import encode
from rota.store.sqlite.statement import BaseTx


class KeyTx(BaseTx):
    """The part of `SqliteTx` that knows keys."""

    async def count_keys(self, keys: Sequence[str], most: int) -> dict[str, int]:
        return dict(self._all("count_keys", most, encode(keys).decode())) if keys else {}

    async def running_of_key(self, key: str, limit: int) -> list[str]:
        return [job for (job,) in self._all("running_of_key", key, limit)]

    async def ready_of_key(self, key: str, queue: str, lane: str, most: int) -> int:
        row = self._one("ready_of_key", key, queue, lane, most)
        return row[0] if row else 0

    async def lock_keys(self, keys: Iterable[str]) -> None:
        """Do nothing: there is one writer."""

    async def hold_jobs(self, places: Sequence[HeldAt], most: int) -> int:
        return sum(self._con.execute(self._sql["hold_jobs"], (*place, most)).rowcount for place in places)

    async def release_jobs(self, jobs: Sequence[tuple[str, TurnName]]) -> list[tuple[str, TurnName]]:
        released = [each for each in jobs if self._con.execute(self._sql["release_jobs"], (each[0],)).rowcount]
        self._readied.update(name for _, name in released)
        return released

    async def held_keys(self, after: str, limit: int) -> list[str]:
        found: list[str] = []
        while len(found) < limit and (row := self._one("held_keys", found[-1] if found else after)) is not None:
            found.append(row[0])
        return found

    async def are_held(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if self._one("are_held", key) is not None}

    async def held_turns(self, key: str, after: TurnName, rows: int, depth: int) -> list[Turn]:
        found: list[Turn] = []
        at = after.queue, HELD_LANE + after.lane, after.owner, after.priority
        while len(found) < rows and (row := self._one("held_turns", key, *at)) is not None:
            queue, lane, owner, priority = at = row
            heads = self._all("held_heads", key, *at, depth)
            where = {"queue": queue, "priority": priority, "owner": owner}
            turn, clock, weight = self._con.execute(self._sql["stand_of"], where).fetchone()
            name = TurnName(queue, priority, owner, lane.removeprefix(HELD_LANE))
            found.append(Turn(name, turn, clock, weight, 0, tuple(heads), False))
        return found

    async def forget_buckets(self, before: int, limit: int) -> int:
        return self._con.execute(self._sql["forget_buckets"], (before, limit)).rowcount
