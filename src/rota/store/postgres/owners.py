"""The part of a transaction on PostgreSQL that knows owners; see store/turn_protocol.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rota.core.fairness import Turn, TurnName
from rota.core.owners import Owner, Running
from rota.store.owner_rows import owner_of, owner_row, running_of
from rota.store.postgres.statement import BaseTx, columns


class OwnerTx(BaseTx):
    """The part of `PostgresTx` that knows owners."""

    async def get_owners(self, owners: Iterable[str]) -> dict[str, Owner]:
        found = await self._all("get_owners", sorted(set(owners)))
        return {row[0]: owner_of(tuple(row)) for row in found}

    async def lock_owner(self, owner: str) -> Owner:
        row = await self._one("lock_owner", owner)
        return Owner(owner=owner) if row is None else owner_of(tuple(row))

    async def put_owner(self, owner: Owner) -> None:
        await self._run("put_owner", *owner_row(owner))

    async def owners_after(self, after: str, limit: int) -> list[Owner]:
        rows = sorted(await self._all("next_owners", after, limit), key=lambda row: row[0])
        return [owner_of(tuple(row)[1:]) for row in rows]

    async def ready_owners(self, limit: int) -> list[Turn]:
        return [
            Turn(TurnName(*name), turn, clock, weight, 0, (), True)
            for *name, turn, clock, weight in await self._all("ready_owners", limit)
        ]

    async def running_by_owner(self, since: int) -> list[Running]:
        rows = [row for name in ("running_jobs", "running_shards") for row in await self._all(name, self.now, since)]
        return running_of(rows)

    async def add_usage(self, rows: Sequence[tuple[str, int, int]]) -> None:
        if rows:
            await self._run("add_usage", *columns(sorted(rows), 3))

    async def usage_of(self, owner: str, minute: int) -> int:
        row = await self._one("usage_of", owner, minute)
        return row[0] if row else 0

    async def forget_usage(self, minute: int, limit: int) -> int:
        return len(await self._all("forget_usage", minute, limit))
