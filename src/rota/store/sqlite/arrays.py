"""The part of a transaction on SQLite that concerns arrays: their inputs, shards, ranges to run again, results."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rota.core.arrays import Range, Shard
from rota.core.input_maps import Tally
from rota.core.jobs import Array, Attempt, HandlerSpec, InputResult, Job
from rota.core.states import State
from rota.store.protocol import Which
from rota.store.rows import STATES, Claimed, attempt_of, encode, offer_of
from rota.store.sqlite.statement import BaseTx

MOST_DELETED = 50_000  # results, in one transaction
_RESULTS: dict[Which, str] = {"all": "results_of", "good": "good_results_of", "bad": "bad_results_of"}
_result = msgspec.json.Decoder(InputResult).decode


class ArrayTx(BaseTx):
    """See store/protocol.py."""

    def insert_arrays(self, jobs: Sequence[Job]) -> None:
        """Write the rows of new arrays beside their jobs'; their inputs are there already."""
        for job in jobs:
            a = job.array
            assert a is not None, "the caller has looked"
            self._run(
                "insert_array", job.id, a.inputs, a.cursor, a.done, a.failed, a.live, a.parallel, a.halt, a.halted, a.ran_s,
                a.proven, a.root, a.base,
            )  # fmt: skip
            self._run("end_upload", a.root)

    async def get_array(self, job: str) -> Array | None:
        row = self._one("get_array", job)
        if row is None:
            return None
        inputs, cursor, done, failed, live, parallel, halt, halted, ran_s, proven, root, base = row
        return Array(
            inputs=inputs, cursor=cursor, done=done, failed=failed, live=live, parallel=parallel, halt=halt, halted=halted,
            ran_s=ran_s, proven=bool(proven), root=root, base=base,
        )  # fmt: skip

    async def put_array(self, job: str, array: Array) -> None:
        a = array
        self._run("put_array", a.cursor, a.done, a.failed, a.live, a.halted, a.ran_s, a.proven, job)

    async def cut_array(self, job: Job, spec: HandlerSpec | None) -> Claimed | None:
        row = self._one("offer_job", job.id)
        if row is None:
            return None
        offer = offer_of(row, job.id, spec)
        lease = offer.lease
        self._run("cut_array", lease.attempt, self.now, lease.timeout_s, offer.max_failures, job.id)
        if job.state is State.QUEUED:
            self._moved(job.queue, job.lane, "queued", "running", run=job.run, owner=job.owner, size=job.size)
        return offer

    async def set_open(self, job: Job, value: bool) -> None:
        if job.open is not value:
            self._run("set_open", value, job.id)
            self._moved(job.queue, job.lane, *((None, "open") if value else ("open", None)))
            job.open = value
            if value:
                self._came(job.queue, job.lane, job.owner, job.priority)

    async def begin_upload(self, root: str) -> None:
        self._run("begin_upload", root, self.now)

    async def insert_inputs(self, root: str, pieces: Sequence[tuple[int, int, str]]) -> None:
        self._many("insert_inputs", [(root, *piece) for piece in pieces])

    async def inputs_at(self, root: str, index: int) -> tuple[int, int, str] | None:
        row = self._one("inputs_at", root, index)
        return None if row is None else (row[0], row[1], row[2])

    async def insert_shard(self, shard: Shard) -> None:
        s = shard
        self._run(
            "insert_shard", s.job, s.attempt, s.worker, s.first, s.n, s.told, s.failures, s.crashes, s.started_at
        )  # fmt: skip

    async def get_shard(self, job: str, attempt: int) -> Shard | None:
        row = self._one("get_shard", job, attempt)
        return None if row is None else Shard(*row)

    async def shards_of(self, job: str) -> list[Shard]:
        return [Shard(*row) for row in self._all("shards_of", job)]

    async def note_told(self, shard: Shard) -> None:
        self._run("note_told", shard.told, shard.job, shard.attempt)

    async def delete_shard(self, shard: Shard) -> None:
        self._run("delete_shard", shard.job, shard.attempt)

    async def unname_shards(self, leases: Sequence[tuple[str, int, int | None]]) -> None:
        self._many("unname_shard", [(until, job, attempt) for job, attempt, until in leases])

    async def unnamed_shards(self, limit: int) -> list[tuple[str, int]]:
        return [(job, attempt) for job, attempt in self._all("unnamed_shards", self.now, limit)]

    async def put_ranges(self, job: str, ranges: Sequence[Range]) -> None:
        rows = [(job, r.first, r.n, r.run_at, r.failures, r.crashes, r.run_at <= self.now) for r in ranges]
        self._many("put_range", rows)

    async def ready_ranges(self, job: str, limit: int) -> list[Range]:
        rows = self._all("ready_ranges", job, limit)
        return [Range(first=f, n=n, run_at=at, failures=fails, crashes=crashes) for f, n, at, fails, crashes in rows]

    async def delete_ranges(self, job: str, ranges: Sequence[Range]) -> None:
        self._many("delete_range", [(job, r.first) for r in ranges])

    async def promote_ranges(self, limit: int) -> set[str]:
        rows = self._all("due_ranges", self.now, limit)
        self._many("range_is_due", rows)
        return {job for job, _ in rows}

    async def insert_results(self, job: str, results: Sequence[InputResult]) -> None:
        self._many("insert_result", [(job, r.index, r.state.value, encode(r).decode()) for r in results])

    async def results_of(self, job: str, after: int, limit: int, *, which: Which) -> list[InputResult]:
        return [_result(body) for (body,) in self._all(_RESULTS[which], job, after, limit)]

    async def successes_of(self, job: str, after: int, limit: int) -> list[int]:
        return [n for (n,) in self._all("successes_of", job, after, limit)]

    async def spread_ranges(self, job: str, size: int) -> list[tuple[int, int, bool]]:
        return [(first, int(n), bool(due)) for first, n, due in self._all("spread_ranges", job, size, size)]

    async def spread_results(self, job: str, size: int, *, bad: bool) -> list[Tally]:
        name = "spread_bad_results" if bad else "spread_results"
        return [Tally(bucket, STATES[state], n) for bucket, state, n in self._all(name, size, job)]

    async def range_at(self, job: str, index: int) -> Range | None:
        row = self._one("range_at", job, index)
        if row is None:
            return None
        first, n, run_at, failures, crashes = row
        return Range(first=first, n=n, run_at=run_at, failures=failures, crashes=crashes)

    async def attempts_at(self, job: str, index: int, limit: int) -> list[Attempt]:
        return [attempt_of(row) for row in self._all("attempts_at", job, index, index, limit)]

    async def old_uploads(self, before: int, limit: int) -> list[str]:
        return [root for (root,) in self._all("old_uploads", before, limit)]

    async def delete_upload(self, root: str) -> None:
        if self._one("get_upload", root) is not None:
            self._run("delete_inputs", root)
            self._run("end_upload", root)

    def delete_results(self, job: str, limit: int) -> int:
        """Delete results of a job, at most so many; return how many."""
        return self._con.execute(self._sql["delete_results"], (job, job, limit)).rowcount

    def delete_array(self, job: str) -> None:
        """Delete what else belongs to an array; to other jobs nothing does."""
        row = self._one("get_array", job)
        if row is None:
            return
        for name in ("delete_shards", "delete_ranges", "delete_array"):
            self._run(name, job)
        root = row[10]
        if self._one("shares_root", root) is None:
            self._run("delete_inputs", root)
