"""The part of a transaction on SQLite that knows whose turn it is; see store/turn_protocol.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rota.core.fairness import Charge, OwnerName, Turn, TurnName, depth_of
from rota.core.jobs import HELD_LANE, Job
from rota.store.rows import encode
from rota.store.sqlite.statement import BaseTx
from rota.store.turn_rows import turn_of

_BEHIND_HELD = "held;"  # the first text that does not begin as the lanes do of what is held


class TurnTx(BaseTx):
    """The part of `SqliteTx` that knows rows of turns."""

    async def ready_lanes(self) -> list[tuple[str, str]]:
        self.flush()
        return [(queue, lane) for queue, lane in self._all("ready_lanes")]

    async def turns(
        self, lanes: Sequence[tuple[str, str, int]], room: int, without: Collection[str] = ()
    ) -> tuple[list[tuple[str, str]], list[Turn]]:
        ready = await self.ready_lanes()
        self.has_limits, self.has_keys = map(bool, self._one("any_limit") or (0, 0))
        there, left_out = set(ready), encode(sorted(without)).decode()
        rows = [
            (queue, lane, row)
            for queue, lane, limit in lanes
            if (queue, lane) in there
            for row in self._all("turns", queue, lane, left_out, limit)
        ]
        return ready, self._whole_turns(rows, depth_of(len(rows), room, keyed=self.has_keys))

    async def oldest_turns(self, lanes: Sequence[tuple[str, str]], before: int, limit: int) -> list[Turn]:
        rows = [
            (queue, lane, row) for queue, lane in lanes for row in self._all("oldest_turns", queue, lane, before, limit)
        ]
        return self._whole_turns(rows, 1)

    async def ready_counts(self, turns: Sequence[tuple[TurnName, int]]) -> list[int]:
        return [len(self._heads(name, limit)) for name, limit in turns]

    async def older_than(self, job: Job, lane: str, limit: int) -> int:
        row = self._one("ready_before", job.queue, lane, job.owner, job.priority, job.run_at, job.id, limit)
        return row[0] if row else 0

    async def charge_turns(self, charges: Sequence[Charge]) -> set[OwnerName]:
        for charge in charges:
            queue, priority, owner = charge.whose
            costs = {"owed": charge.owed, "due": charge.due, "units": charge.units}
            lane, others = (charge.lanes or ("",))[0], charge.lanes[1:]
            self._named("charge_turns", **costs, queue=queue, priority=priority, owner=owner, lane=lane, now=self.now)
            if others:
                self._many("note_served", [(self.now, queue, priority, owner, other) for other in others])
        clocks: dict[tuple[str, int], int] = {}
        for charge in charges:
            if charge.lanes:
                at = charge.whose[:2]
                clocks[at] = max(clocks.get(at, 0), charge.last)
        self._many("set_clock", [(*at, clock) for at, clock in clocks.items()])
        return {charge.whose for charge in charges}

    async def empty_turns(self, names: Iterable[TurnName]) -> None:
        self.flush()
        self._many("empty_turns", [name._asdict() for name in names])

    async def forget_turns(self, before: int, limit: int) -> int:
        return self._con.execute(self._sql["forget_turns"], (limit, before)).rowcount

    async def missing_turns(self, after: TurnName, limit: int) -> tuple[list[TurnName], TurnName | None]:
        missing: list[TurnName] = []
        at = after
        for _ in range(limit):
            row = self._one("next_ready", at.queue, at.lane, at.owner, at.priority)
            if row is None:
                return missing, None
            queue, lane, owner, priority = row
            if lane.startswith(HELD_LANE):  # those need none, and there may be many: on behind them
                at = TurnName(queue, priority, "", _BEHIND_HELD)
                continue
            at = TurnName(queue, priority, owner, lane)
            if self._one("is_in_turn", *at) is None:
                missing.append(at)
        return missing, at

    async def make_ready(self, names: Iterable[TurnName]) -> None:
        self._readied.update(names)

    def _heads(self, name: TurnName, limit: int) -> list[tuple[int, str]]:
        rows = self._all("ready_heads", name.queue, name.lane, name.owner, name.priority, limit)
        return [(run_at, job) for run_at, job in rows]

    def _whole_turns(self, rows: Sequence[tuple[str, str, tuple[Any, ...]]], depth: int) -> list[Turn]:
        found = []
        look = "ready_heads_keyed" if self.has_keys else "ready_heads"
        for queue, lane, (priority, owner, turn, clock, weight, served_at, most, of_queue) in rows:
            name = TurnName(queue, priority, owner, lane)
            heads = self._all(look, name.queue, name.lane, name.owner, name.priority, depth)
            stand = turn, clock, weight, served_at
            found.append(turn_of(name, stand, heads, depth, (most, of_queue), keyed=self.has_keys))
        return found
