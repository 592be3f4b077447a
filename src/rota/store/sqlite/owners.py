"""The part of a transaction on SQLite that knows owners; see store/turn_protocol.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rota.core.fairness import Turn, TurnName
from rota.core.owners import Owner, Running
from rota.store.owner_rows import owner_of, owner_row, running_of
from rota.store.sqlite.statement import BaseTx


class OwnerTx(BaseTx):
    """The part of `SqliteTx` that knows owners."""

    async def get_owners(self, owners: Iterable[str]) -> dict[str, Owner]:
        return {owner: owner_of(row) for owner in owners if (row := self._one("get_owners", owner)) is not None}

    async def lock_owner(self, owner: str) -> Owner:
        return (await self.get_owners([owner])).get(owner, Owner(owner=owner))

    async def put_owner(self, owner: Owner) -> None:
        self._run("put_owner", *owner_row(owner))

    async def owners_after(self, after: str, limit: int) -> list[Owner]:
        found: list[Owner] = []
        while len(found) < limit:
            with_jobs, settled = self._next(after, "next_owners"), self._next(after, "next_set_owner")
            names = [name for name in (with_jobs, settled) if name is not None]
            if not names:
                break
            after = min(names)
            found.append(await self.lock_owner(after))
        return found

    async def ready_owners(self, limit: int) -> list[Turn]:
        return [
            Turn(TurnName(*name), turn, clock, weight, 0, (), True)
            for *name, turn, clock, weight in self._all("ready_owners", limit)
        ]

    async def running_by_owner(self, since: int) -> list[Running]:
        values = {"now": self.now, "since": since}
        rows = [
            row for name in ("running_jobs", "running_shards") for row in self._con.execute(self._sql[name], values)
        ]
        return running_of(rows)

    async def add_usage(self, rows: Sequence[tuple[str, int, int]]) -> None:
        self._many("add_usage", rows)

    async def usage_of(self, owner: str, minute: int) -> int:
        row = self._one("usage_of", owner, minute)
        return row[0] if row else 0

    async def forget_usage(self, minute: int, limit: int) -> int:
        return self._con.execute(self._sql["forget_usage"], (minute, limit)).rowcount

    def _next(self, after: str, name: str) -> str | None:
        row = self._one(name, after)
        return None if row is None else row[0]
