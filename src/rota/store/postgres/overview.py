"""The part of a transaction on PostgreSQL that shows those who look at the whole what went on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rota.store.postgres.statement import BaseTx, columns
from rota.store.rows import ERROR_SHOWN, NextSchedule, SeriesRow, Tried


class OverviewTx(BaseTx):
    """See store/overview_protocol.py."""

    async def put_series(self, rows: Sequence[SeriesRow]) -> None:
        if rows:
            values = sorted((r.step, r.queue, r.at, r.server, r.sums) for r in rows)
            await self._run("put_series", *columns(values, 5))

    async def series(self, step: int, queue: str, begin: int, end: int, limit: int) -> list[SeriesRow]:
        rows = await self._all("series", step, queue, begin, end, limit)
        return [SeriesRow(step, queue, at, server, sums) for at, server, sums in rows]

    async def recent_series(self, step: int, begin: int, limit: int) -> list[SeriesRow]:
        rows = await self._all("recent_series", step, begin, limit)
        return [SeriesRow(step, queue, at, server, sums) for queue, at, server, sums in rows]

    async def next_schedules(self, limit: int) -> list[NextSchedule]:
        return [NextSchedule(*row) for row in await self._all("next_schedules", limit)]

    async def prune_series(self, step: int, before: int, limit: int) -> int:
        (row,) = await self._all("prune_series", step, before, limit)
        n: int = row[0]
        return n

    async def bad_attempts(self, begin: int, end: int, limit: int) -> list[Tried]:
        return await self._tried("bad_attempts", ERROR_SHOWN, begin, end, limit)

    async def good_shards(self, begin: int, end: int, limit: int) -> list[Tried]:
        return await self._tried("good_shards", begin, end, limit)

    async def ended_between(self, begin: int, end: int, limit: int) -> list[Tried]:
        return await self._tried("ended_between", ERROR_SHOWN, begin, end, limit)

    async def ended_after(self, begin: int, limit: int) -> list[Tried]:
        return await self._tried("ended_after", begin, limit)

    async def failed_arrays(self, begin: int, end: int, limit: int) -> list[Tried]:
        return await self._tried("failed_arrays", ERROR_SHOWN, begin, end, limit)

    async def running_now(self, limit: int) -> list[Tried]:
        return (await self._tried("running_now", limit) + await self._tried("shards_now", limit))[:limit]

    async def _tried(self, name: str, *values: Any) -> list[Tried]:
        return [Tried(*row) for row in await self._all(name, *values)]
