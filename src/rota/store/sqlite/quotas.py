"""The part of a transaction on SQLite that knows owners' quotas; see store/quota_protocol.py."""

from __future__ import annotations

from collections.abc import Iterable

from rota.core.jobs import ARRAY_LANE
from rota.core.owners import Owner
from rota.core.quotas import NOTHING, Kept, Places
from rota.store.owner_rows import owner_of
from rota.store.sqlite.statement import BaseTx


class QuotaTx(BaseTx):
    """The part of `SqliteTx` that knows owners' quotas."""

    async def quotas_of(self, owners: Iterable[str]) -> dict[str, Owner]:
        if self._one("any_quota") is None:
            return {}
        return {owner: owner_of(row) for owner in owners if (row := self._one("get_quotas", owner)) is not None}

    async def hold_quotas(self, owners: Iterable[str]) -> dict[str, Kept]:
        """Hold nothing: there is one writer."""
        return await self.kept_of(owners)

    async def kept_of(self, owners: Iterable[str]) -> dict[str, Kept]:
        self.flush()
        return {owner: Kept(*row) if (row := self._one("get_kept", owner)) else NOTHING for owner in owners}

    async def hold_places(self, owners: Iterable[str]) -> None:
        """Do nothing: there is one writer."""

    async def places_of(self, owners: Iterable[str]) -> dict[str, Places]:
        self.flush()
        most = {owner: row[0] for owner in owners if (row := self._one("get_max_running", owner)) is not None}
        lanes = self._all("running_lanes") if most else []
        return {owner: Places(n, sum(self._running(owner, *lane) for lane in lanes)) for owner, n in most.items()}

    def _running(self, owner: str, queue: str, lane: str) -> int:
        name = "owner_shards" if lane.startswith(ARRAY_LANE) else "owner_running"
        row = self._one(name, queue, lane, owner)
        assert row is not None, "it counts"
        n: int = row[0]
        return n

    async def count_kept(self, owner: str) -> Kept:
        self.flush()
        self._run("delete_kept", owner)
        self._named("count_kept", owner=owner)
        return (await self.kept_of([owner]))[owner]

    async def forget_kept(self, owner: str) -> None:
        self._run("delete_kept", owner)
