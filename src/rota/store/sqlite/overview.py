"""What a transaction on SQLite shows those who look at the whole; see store/overview_protocol.py."""

from __future__ import annotations

from collections.abc import Sequence

from rota.store.rows import ERROR_SHOWN, NextSchedule, SeriesRow, Tried
from rota.store.sqlite.statement import BaseTx


class OverviewTx(BaseTx):
    """The part of `SqliteTx` that reads across jobs, and the sums over time."""

    async def put_series(self, rows: Sequence[SeriesRow]) -> None:
        self._many("put_series", [(r.step, r.queue, r.at, r.server, r.sums) for r in rows])

    async def series(self, step: int, queue: str, begin: int, end: int, limit: int) -> list[SeriesRow]:
        rows = self._all("series", step, queue, begin, end, limit)
        return [SeriesRow(step, queue, at, server, sums) for at, server, sums in rows]

    async def recent_series(self, step: int, begin: int, limit: int) -> list[SeriesRow]:
        rows = self._all("recent_series", step, begin, limit)
        return [SeriesRow(step, queue, at, server, sums) for queue, at, server, sums in rows]

    async def next_schedules(self, limit: int) -> list[NextSchedule]:
        return [NextSchedule(*row) for row in self._all("next_schedules", limit)]

    async def prune_series(self, step: int, before: int, limit: int) -> int:
        return self._con.execute(self._sql["prune_series"], (step, before, limit)).rowcount

    async def bad_attempts(self, begin: int, end: int, limit: int) -> list[Tried]:
        return [Tried(*row) for row in self._all("bad_attempts", ERROR_SHOWN, begin, end, limit)]

    async def good_shards(self, begin: int, end: int, limit: int) -> list[Tried]:
        return [Tried(*row) for row in self._all("good_shards", begin, end, limit)]

    async def ended_between(self, begin: int, end: int, limit: int) -> list[Tried]:
        return [Tried(*row) for row in self._all("ended_between", ERROR_SHOWN, begin, end, limit)]

    async def ended_after(self, begin: int, limit: int) -> list[Tried]:
        return [Tried(*row) for row in self._all("ended_after", begin, limit)]

    async def failed_arrays(self, begin: int, end: int, limit: int) -> list[Tried]:
        return [Tried(*row) for row in self._all("failed_arrays", ERROR_SHOWN, begin, end, limit)]

    async def running_now(self, limit: int) -> list[Tried]:
        rows = self._all("running_now", limit) + self._all("shards_now", limit)
        return [Tried(*row) for row in rows[:limit]]
