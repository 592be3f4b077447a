"""The part of a transaction on PostgreSQL that knows owners' quotas; see store/quota_protocol.py."""

from __future__ import annotations

from collections.abc import Iterable

from rota.core.owners import Owner
from rota.core.quotas import Kept, Places
from rota.store.owner_rows import owner_of
from rota.store.postgres.statement import BaseTx, array, number_of

# Others who write jobs wait behind us, while we wait for those who do so already.
_PATIENCE = "SET LOCAL lock_timeout = '2s'"
_HOLD_ALL = "LOCK TABLE rota_jobs IN SHARE MODE"


class QuotaTx(BaseTx):
    """The part of `PostgresTx` that knows owners' quotas."""

    async def quotas_of(self, owners: Iterable[str]) -> dict[str, Owner]:
        wanted = set(owners)
        if new := wanted - self._quotas.keys():
            found = {row[0]: owner_of(tuple(row)) for row in await self._all("get_quotas", array(sorted(new)))}
            self._quotas |= {owner: found.get(owner) for owner in new}
        return {owner: quotas for owner in wanted if (quotas := self._quotas[owner]) is not None}

    async def hold_quotas(self, owners: Iterable[str]) -> dict[str, Kept]:
        wanted = set(owners)
        await self._hold_quotas(wanted)
        return await self.kept_of(wanted)

    async def kept_of(self, owners: Iterable[str]) -> dict[str, Kept]:
        rows = await self._all("get_kept", array(sorted(set(owners))))
        return {
            owner: Kept(waiting + self._kept[owner][0], size + self._kept[owner][1]) for owner, waiting, size in rows
        }

    async def hold_places(self, owners: Iterable[str]) -> None:
        await self._run("hold_limits", sorted({number_of("owner", owner) for owner in owners}))

    async def places_of(self, owners: Iterable[str]) -> dict[str, Places]:
        if self._deltas:
            await self.flush()
        rows = await self._all("places_of", array(sorted(set(owners))))
        return {owner: Places(most, running) for owner, most, running in rows}

    async def count_kept(self, owner: str) -> Kept:
        # No transaction is in flight then that has not told what it keeps, or that knows nothing of the quotas.
        await self._command("patience", _PATIENCE)
        await self._command("hold_all_jobs", _HOLD_ALL)
        await self._run("delete_kept", owner)
        await self._run("count_kept", owner)
        return (await self.kept_of([owner]))[owner]

    async def forget_kept(self, owner: str) -> None:
        await self._run("delete_kept", owner)
