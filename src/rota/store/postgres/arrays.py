"""The part of a transaction on PostgreSQL that concerns arrays: their inputs, shards, ranges to run again, results."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rota.core.arrays import Range, Shard
from rota.core.input_maps import Tally
from rota.core.jobs import Array, Attempt, HandlerSpec, InputResult, Job
from rota.core.states import State
from rota.store.postgres.statement import BaseTx, Row, columns
from rota.store.protocol import Which
from rota.store.rows import STATES, Claimed, attempt_of, encode, offer_of

MOST_DELETED = 50_000  # results, in one transaction
_RESULTS: dict[Which, str] = {"all": "results_of", "good": "good_results_of", "bad": "bad_results_of"}
_result = msgspec.json.Decoder(InputResult).decode


class ArrayTx(BaseTx):
    """See store/protocol.py. Whoever changes an array, its shards or its ranges holds its job (`lock_jobs`)."""

    async def insert_arrays(self, jobs: Sequence[Job]) -> None:
        """Write the rows of new arrays beside their jobs'; their inputs are there already."""
        for job in jobs:
            a = job.array
            assert a is not None, "the caller has looked"
            await self._run(
                "insert_array", job.id, a.inputs, a.cursor, a.done, a.failed, a.live, a.parallel, a.halt, a.halted, a.ran_s,
                a.proven, a.root, a.base,
            )  # fmt: skip
            await self._all("end_upload", a.root)

    async def get_array(self, job: str) -> Array | None:
        return (await self.arrays_of([job])).get(job)

    async def arrays_of(self, jobs: Sequence[str]) -> dict[str, Array]:
        """Return how far those of these jobs are that are arrays."""
        return {row[12]: _array(row) for row in await self._all("get_array", jobs)}

    async def put_array(self, job: str, array: Array) -> None:
        a = array
        await self._run("put_array", a.cursor, a.done, a.failed, a.live, a.halted, a.ran_s, a.proven, job)

    async def cut_array(self, job: Job, spec: HandlerSpec | None) -> Claimed | None:
        row = await self._one("offer_job", job.id)
        if row is None:
            return None
        offer = offer_of(tuple(row), job.id, spec)
        lease = offer.lease
        await self._run("cut_array", lease.attempt, self.now, lease.timeout_s, offer.max_failures, job.id)
        if job.state is State.QUEUED:
            self._moved(job.queue, job.lane, "queued", "running", run=job.run, owner=job.owner, size=job.size)
        return offer

    async def set_open(self, job: Job, value: bool) -> None:
        if job.open is not value:
            await self._run("set_open", value, job.id)
            self._moved(job.queue, job.lane, *((None, "open") if value else ("open", None)))
            job.open = value
            if value:
                self._came(job.queue, job.lane, job.owner, job.priority)

    async def begin_upload(self, root: str) -> None:
        await self._run("begin_upload", root, self.now)

    async def insert_inputs(self, root: str, pieces: Sequence[tuple[int, int, str]]) -> None:
        await self._run("insert_inputs", root, *columns(pieces, 3))

    async def inputs_at(self, root: str, index: int) -> tuple[int, int, str] | None:
        row = await self._one("inputs_at", root, index)
        return None if row is None else (row[0], row[1], row[2])

    async def insert_shard(self, shard: Shard) -> None:
        s = shard
        await self._run(
            "insert_shard", s.job, s.attempt, s.worker, s.first, s.n, s.told, s.failures, s.crashes, s.started_at
        )  # fmt: skip

    async def get_shard(self, job: str, attempt: int) -> Shard | None:
        row = await self._one("get_shard", job, attempt)
        return None if row is None else Shard(*row)

    async def shards_of(self, job: str) -> list[Shard]:
        return [Shard(*row) for row in await self._all("shards_of", job)]

    async def note_told(self, shard: Shard) -> None:
        await self._run("note_told", shard.told, shard.job, shard.attempt)

    async def delete_shard(self, shard: Shard) -> None:
        await self._run("delete_shard", shard.job, shard.attempt)

    async def unname_shards(self, leases: Sequence[tuple[str, int, int | None]]) -> None:
        if leases:
            await self._run("unname_shard", *columns(sorted(leases, key=lambda lease: (lease[0], lease[1])), 3))

    async def unnamed_shards(self, limit: int) -> list[tuple[str, int]]:
        return [(job, attempt) for job, attempt in await self._all("unnamed_shards", self.now, limit)]

    async def put_ranges(self, job: str, ranges: Sequence[Range]) -> None:
        if ranges:
            rows = {r.first: (r.first, r.n, r.run_at, r.failures, r.crashes, r.run_at <= self.now) for r in ranges}
            await self._run("put_range", job, *columns(list(rows.values()), 6))

    async def ready_ranges(self, job: str, limit: int) -> list[Range]:
        rows = await self._all("ready_ranges", job, limit)
        return [Range(first=f, n=n, run_at=at, failures=fails, crashes=crashes) for f, n, at, fails, crashes in rows]

    async def delete_ranges(self, job: str, ranges: Sequence[Range]) -> None:
        await self._run("delete_range", job, [r.first for r in ranges])

    async def promote_ranges(self, limit: int) -> set[str]:
        rows = await self._all("due_ranges", self.now, limit)
        if not rows:
            return set()
        jobs = {job for job, _ in rows}
        await self._hold_jobs(jobs)
        await self._run("range_is_due", *columns(rows, 2), self.now)
        return jobs

    async def insert_results(self, job: str, results: Sequence[InputResult]) -> None:
        if results:
            rows = [(r.index, r.state.value, encode(r).decode()) for r in results]
            await self._run("insert_result", job, *columns(rows, 3))

    async def results_of(self, job: str, after: int, limit: int, *, which: Which) -> list[InputResult]:
        return [_result(body) for (body,) in await self._all(_RESULTS[which], job, after, limit)]

    async def successes_of(self, job: str, after: int, limit: int) -> list[int]:
        return [n for (n,) in await self._all("successes_of", job, after, limit)]

    async def spread_ranges(self, job: str, size: int) -> list[tuple[int, int, bool]]:
        return [(first, int(n), bool(due)) for first, n, due in await self._all("spread_ranges", job, size)]

    async def spread_results(self, job: str, size: int, *, bad: bool) -> list[Tally]:
        name = "spread_bad_results" if bad else "spread_results"
        return [Tally(bucket, STATES[state], n) for bucket, state, n in await self._all(name, job, size)]

    async def range_at(self, job: str, index: int) -> Range | None:
        row = await self._one("range_at", job, index)
        if row is None:
            return None
        first, n, run_at, failures, crashes = row
        return Range(first=first, n=n, run_at=run_at, failures=failures, crashes=crashes)

    async def attempts_at(self, job: str, index: int, limit: int) -> list[Attempt]:
        return [attempt_of(tuple(row)) for row in await self._all("attempts_at", job, index, limit)]

    async def old_uploads(self, before: int, limit: int) -> list[str]:
        return [root for (root,) in await self._all("old_uploads", before, limit)]

    async def delete_upload(self, root: str) -> None:
        if (
            await self._one("end_upload", root) is not None
        ):  # whoever ends it decides: a job may have come of it just now
            await self._run("delete_inputs", [root])

    async def delete_results(self, job: str, limit: int) -> int:
        """Delete results of a job, at most so many; return how many."""
        row = await self._one("delete_results", job, limit)
        assert row is not None, "it counts"
        deleted: int = row[0]
        return deleted

    async def delete_arrays(self, jobs: Sequence[str]) -> None:
        """Delete what else belongs to those of these jobs that are arrays."""
        arrays = await self.arrays_of(jobs)
        if not arrays:
            return
        mine = list(arrays)
        rows = await self._all("shares_root", sorted({array.root for array in arrays.values()}))
        kept = {root for root, job in rows if job not in arrays}
        for name in ("delete_shards", "delete_ranges", "delete_array"):
            await self._run(name, mine)
        if unused := sorted({array.root for array in arrays.values()} - kept):
            await self._run("delete_inputs", unused)


def _array(row: Row) -> Array:
    inputs, cursor, done, failed, live, parallel, halt, halted, ran_s, proven, root, base, _ = row
    return Array(
        inputs=inputs, cursor=cursor, done=done, failed=failed, live=live, parallel=parallel, halt=halt, halted=halted,
        ran_s=ran_s, proven=proven, root=root, base=base,
    )  # fmt: skip
