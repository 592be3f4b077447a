"""What the service asks of a store for those who look at the whole: a part of the transaction in protocol.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rota.core.states import State
from rota.store.rows import NextSchedule, Query, SeriesRow, Tried


class OverviewTx(Protocol):
    """The part of `Tx` that shows what went on. Times are microseconds; a range is from its first moment to before its last."""

    async def find_ids(self, query: Query) -> tuple[list[tuple[str, State]], str | None]:
        """Return the ids and states of the jobs that `find_jobs` returns."""
        ...

    async def put_series(self, rows: Sequence[SeriesRow]) -> None:
        """Write what a server has counted; what it wrote of the same minute before is replaced."""
        ...

    async def series(self, step: int, queue: str, begin: int, end: int, limit: int) -> list[SeriesRow]:
        """Return what all servers have counted in a range, in the order of time, in steps of 60 or 3600 seconds."""
        ...

    async def recent_series(self, step: int, begin: int, limit: int) -> list[SeriesRow]:
        """Return what all servers have counted of all queues since `begin`, in no order."""
        ...

    async def next_schedules(self, limit: int) -> list[NextSchedule]:
        """Return schedules that will fire, the next one first."""
        ...

    async def prune_series(self, step: int, before: int, limit: int) -> int:
        """Remove what was counted before `before`, at most `limit` rows, and return how many."""
        ...

    async def bad_attempts(self, begin: int, end: int, limit: int) -> list[Tried]:
        """Return attempts that ended in a range without success, the newest first; of errors the beginning."""
        ...

    async def good_shards(self, begin: int, end: int, limit: int) -> list[Tried]:
        """Return shards that ended in a range, and had no trouble, the newest first."""
        ...

    async def ended_between(self, begin: int, end: int, limit: int) -> list[Tried]:
        """Return jobs that ended in a range, with their last attempt if they had one, the newest first; arrays too."""
        ...

    async def ended_after(self, begin: int, limit: int) -> list[Tried]:
        """Return the first jobs that ended from `begin` on."""
        ...

    async def failed_arrays(self, begin: int, end: int, limit: int) -> list[Tried]:
        """Return arrays that failed in a range, the newest first."""
        ...

    async def running_now(self, limit: int) -> list[Tried]:
        """Return attempts that run, shards of arrays too."""
        ...
