"""The part of a transaction on SQLite that knows unique keys."""

from __future__ import annotations

from collections.abc import Sequence

from rota.store.rows import Unique
from rota.store.sqlite.statement import BaseTx


class UniqueTx(BaseTx):
    """See store/unique_protocol.py."""

    async def take_uniques(self, wanted: Sequence[Unique]) -> list[Unique]:
        before = []
        for u in wanted:
            if not self._con.execute(self._sql["insert_unique"], (u.owner, u.key, u.job, u.until)).rowcount:
                row = self._one("get_unique", u.owner, u.key)
                assert row is not None, "there is one writer"
                before.append(Unique(u.owner, u.key, *row))
        return before

    async def put_uniques(self, taken: Sequence[Unique]) -> None:
        self._many("put_unique", [(u.job, u.until, u.owner, u.key) for u in taken])

    async def forget_uniques(self, before: int, limit: int) -> int:
        return self._con.execute(self._sql["forget_uniques"], (before, limit)).rowcount
