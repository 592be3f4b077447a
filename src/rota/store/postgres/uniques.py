"""The part of a transaction on PostgreSQL that knows unique keys."""

from __future__ import annotations

from collections.abc import Sequence

from rota.store.postgres.statement import BaseTx, columns
from rota.store.rows import Unique


class UniqueTx(BaseTx):
    """See store/unique_protocol.py."""

    async def take_uniques(self, wanted: Sequence[Unique]) -> list[Unique]:
        before: list[Unique] = []
        left = sorted(wanted, key=lambda u: (u.owner, u.key))
        while left:
            rows = [(u.owner, u.key, u.job, u.until) for u in left]
            made = {(owner, key) for owner, key in await self._all("insert_unique", *columns(rows, 4))}
            left = [u for u in left if (u.owner, u.key) not in made]
            if left:
                found = await self._all("get_unique", *columns([(u.owner, u.key) for u in left], 2))
                before += [Unique(*row) for row in found]
                there = {(row[0], row[1]) for row in found}
                left = [u for u in left if (u.owner, u.key) not in there]  # removed meanwhile: again
        return before

    async def put_uniques(self, taken: Sequence[Unique]) -> None:
        if taken:
            await self._run("put_unique", *columns([(u.job, u.until, u.owner, u.key) for u in taken], 4))

    async def forget_uniques(self, before: int, limit: int) -> int:
        return len(await self._all("forget_uniques", before, limit))
