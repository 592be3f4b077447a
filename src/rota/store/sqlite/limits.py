"""The part of a transaction on SQLite that knows limits and pauses."""

from __future__ import annotations

from collections.abc import Sequence

from rota.core.jobs import ARRAY_LANE
from rota.core.limits import Limit, LimitKind
from rota.store.rows import QueueRow, limit_of, limit_row
from rota.store.sqlite.statement import BaseTx


class LimitTx(BaseTx):
    """See store/limit_protocol.py."""

    async def queue_rows(self) -> list[QueueRow]:
        return [QueueRow(*row) for row in self._all("get_queues")]

    async def put_queue(self, row: QueueRow) -> None:
        self._run("put_queue", row.queue, row.paused_at, row.paused_by)

    async def put_queue_weight(self, queue: str, weight: float | None) -> None:
        self._run("put_queue_weight", queue, weight)

    async def limits(self) -> list[Limit]:
        return [limit_of(row) for row in self._all("get_limits")]

    async def put_limit(self, limit: Limit) -> None:
        self._run("put_limit", *limit_row(limit))

    async def delete_limit(self, limit: Limit) -> None:
        self._run("delete_limit", *limit.pool)
        self._run("delete_bucket", *limit.pool)

    async def hold_limits(self, pools: Sequence[tuple[LimitKind, str]]) -> bool:  # noqa: ARG002
        """Do nothing: there is one writer."""
        return False

    async def running_lanes(self) -> list[tuple[str, str]]:
        self.flush()
        return [(queue, lane) for queue, lane in self._all("running_lanes")]

    async def count_running(self, lanes: Sequence[tuple[str, str]], most: int) -> list[int]:
        counts = []
        for queue, lane in lanes:
            is_array = lane.startswith(ARRAY_LANE)
            row = self._one("count_shards", queue, lane) if is_array else self._one("count_running", queue, lane, most)
            assert row is not None, "it counts"
            counts.append(row[0])
        return counts

    async def buckets(self, pools: Sequence[tuple[LimitKind, str]]) -> dict[tuple[LimitKind, str], int]:
        return {pool: row[0] for pool in pools if (row := self._one("get_buckets", *pool)) is not None}

    async def put_buckets(self, full: Sequence[tuple[LimitKind, str, int]]) -> None:
        self._many("put_buckets", full)
