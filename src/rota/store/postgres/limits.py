"""The part of a transaction on PostgreSQL that knows limits and pauses."""

from __future__ import annotations

from collections.abc import Sequence

from rota.core.jobs import ARRAY_LANE
from rota.core.limits import Limit, LimitKind
from rota.store.postgres.statement import BaseTx, columns, number_of
from rota.store.rows import QueueRow, limit_of, limit_row


class LimitTx(BaseTx):
    """See store/limit_protocol.py."""

    async def queue_rows(self) -> list[QueueRow]:
        return [QueueRow(*row) for row in await self._all("get_queues")]

    async def put_queue(self, row: QueueRow) -> None:
        await self._run("put_queue", row.queue, row.paused_at, row.paused_by)

    async def put_queue_weight(self, queue: str, weight: float | None) -> None:
        await self._run("put_queue_weight", queue, weight)

    async def limits(self) -> list[Limit]:
        return [limit_of(tuple(row)) for row in await self._all("get_limits")]

    async def put_limit(self, limit: Limit) -> None:
        await self._run("put_limit", *limit_row(limit))

    async def delete_limit(self, limit: Limit) -> None:
        await self._run("delete_limit", *limit.pool)
        await self._run("delete_bucket", *limit.pool)

    async def hold_limits(self, pools: Sequence[tuple[LimitKind, str]]) -> bool:
        await self._run("hold_limits", sorted({number_of(*pool) for pool in pools}))
        return True

    async def running_lanes(self) -> list[tuple[str, str]]:
        return [(queue, lane) for queue, lane in await self._all("running_lanes")]

    async def count_running(self, lanes: Sequence[tuple[str, str]], most: int) -> list[int]:
        arrays = [lane for lane in lanes if lane[1].startswith(ARRAY_LANE)]
        others = [lane for lane in lanes if not lane[1].startswith(ARRAY_LANE)]
        found = await self._leases("count_running", others, [(*lane, most) for lane in others], 3)
        found |= await self._leases("count_shards", arrays, arrays, 2)
        return [found[lane] for lane in lanes]

    async def buckets(self, pools: Sequence[tuple[LimitKind, str]]) -> dict[tuple[LimitKind, str], int]:
        return (
            {(kind, name): at for kind, name, at in await self._all("get_buckets", *columns(pools, 2))} if pools else {}
        )

    async def put_buckets(self, full: Sequence[tuple[LimitKind, str, int]]) -> None:
        if full:
            await self._run("put_buckets", *columns(sorted(full), 3))

    async def _leases(
        self, name: str, lanes: Sequence[tuple[str, str]], rows: Sequence[tuple[object, ...]], width: int
    ) -> dict[tuple[str, str], int]:
        return {lanes[n - 1]: count for n, count in await self._all(name, *columns(rows, width))} if rows else {}
