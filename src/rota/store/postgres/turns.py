"""The part of a transaction on PostgreSQL that knows whose turn it is; see store/turn_protocol.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import repeat

from rota.core.fairness import Charge, OwnerName, Turn, TurnName
from rota.core.jobs import Job
from rota.store.postgres.statement import BaseTx, Row, array, columns
from rota.store.turn_rows import turn_of


class TurnTx(BaseTx):
    """The part of `PostgresTx` that knows rows of turns."""

    async def ready_lanes(self) -> list[tuple[str, str]]:
        await self._flush_own()
        return [(queue, lane) for queue, lane in await self._all("ready_lanes")]

    async def turns(
        self, lanes: Sequence[tuple[str, str, int]], room: int, without: Collection[str] = ()
    ) -> tuple[list[tuple[str, str]], list[Turn]]:
        await self._flush_own()
        rows = await self._all("turns", *columns(lanes, 3), room, array(sorted(without)))
        self.has_limits, self.has_keys = rows[0][-2:] if rows else (False, False)
        return list(dict.fromkeys((row[0], row[1]) for row in rows)), _turns(rows, keyed=self.has_keys)

    async def oldest_turns(self, lanes: Sequence[tuple[str, str]], before: int, limit: int) -> list[Turn]:
        rows = await self._all("oldest_turns", *columns(lanes, 2), before, limit) if lanes else []
        return _turns(rows, keyed=self.has_keys)

    async def ready_counts(self, turns: Sequence[tuple[TurnName, int]]) -> list[int]:
        if not turns:
            return []
        rows = await self._all("ready_counts", *columns([(*name, limit) for name, limit in turns], 5))
        return [n for _, n in sorted((at, n) for at, n in rows)]

    async def older_than(self, job: Job, lane: str, limit: int) -> int:
        row = await self._one("ready_before", job.queue, lane, job.owner, job.priority, job.run_at, job.id, limit)
        return row[0] if row else 0

    async def charge_turns(self, charges: Sequence[Charge]) -> set[OwnerName]:
        rows = [(*charge.whose, charge.units, charge.owed, charge.due) for charge in charges]
        served = [(n, lane) for n, charge in enumerate(charges, 1) for lane in charge.lanes]
        clocks: dict[tuple[str, int], int] = {}
        for charge in charges:
            if charge.lanes:
                at = charge.whose[:2]
                clocks[at] = max(clocks.get(at, 0), charge.last)
        moved = [(*at, clock) for at, clock in clocks.items()]
        written = await self._all("charge_turns", *columns(rows, 6), *columns(served, 2), *columns(moved, 3), self.now)
        return {charges[n - 1].whose for (n,) in written}

    async def empty_turns(self, names: Iterable[TurnName]) -> None:
        rows = await self._all("hold_turns", *columns(sorted(names), 4))
        if rows:
            await self._run("empty_turns", array([row[0] for row in rows]))

    async def forget_turns(self, before: int, limit: int) -> int:
        return len(await self._all("forget_turns", before, limit))

    async def missing_turns(self, after: TurnName, limit: int) -> tuple[list[TurnName], TurnName | None]:
        found = await self._all("next_ready", after.queue, after.lane, after.owner, after.priority, limit)
        rows = sorted(found, key=lambda row: row[0])
        missing = [TurnName(*name) for _, *name, there in rows if not there]
        return missing, TurnName(*rows[-1][1:5]) if len(rows) == limit else None

    async def make_ready(self, names: Iterable[TurnName]) -> None:
        self._readied.update(names)

    async def _flush_own(self) -> None:
        """Let what follows see what this transaction has done, of which there is mostly nothing."""
        if self._deltas or self._readied:
            await self.flush()


def _turns(rows: Sequence[Row], *, keyed: bool) -> list[Turn]:
    """Build rows of turns, each of which comes with its first jobs, in their order."""
    found = []
    for queue, lane, priority, owner, *stand, depth, ats, jobs, keys, most, of_queue in (row[:14] for row in rows):
        if owner is None:  # a lane with jobs whose rows were not asked for
            continue
        name = TurnName(queue, priority, owner, lane)
        heads = list(zip(ats or (), jobs or (), keys or repeat(None), strict=False))
        found.append(turn_of(name, tuple(stand), heads, depth, (most, of_queue), keyed=keyed))
    return found
