"""The part of a transaction on PostgreSQL that knows what belongs together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Raw

from rota.core.jobs import Array, Job
from rota.core.runs import Run
from rota.core.states import State
from rota.store.postgres.arrays import ArrayTx
from rota.store.postgres.statement import Row, array
from rota.store.rows import STATES, Dependency
from rota.store.run_rows import Node, RunQuery, chosen_run, node_of, run_of, run_row, walk_of


class RunTx(ArrayTx):
    """See store/protocol.py. Whoever waits for a run holds no job."""

    async def insert_run(self, run: Run) -> None:
        await self._run("insert_run", *run_row(run))

    async def get_runs(self, runs: Iterable[str]) -> dict[str, Run]:
        wanted = list(runs)
        return await self._counted_runs(wanted, await self._all("get_run", array(wanted)))

    async def lock_runs(self, runs: Iterable[str]) -> dict[str, Run]:
        wanted = sorted(set(runs))
        return await self._counted_runs(wanted, await self._all("lock_run", array(wanted)))

    async def _counted_runs(self, wanted: Sequence[str], rows: Sequence[Row]) -> dict[str, Run]:
        await self._count_in_runs()
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for run, state, n in await self._all("run_counts", array(wanted)) if rows else ():
            counts[run][state] += n
        found = {row[0]: run_of(tuple(row), dict(counts[row[0]])) for row in rows}
        return {run: found[run] for run in wanted if run in found}

    async def find_runs(self, query: RunQuery) -> tuple[list[Run], str | None]:
        name, values = walk_of(query)
        rows = await self._all(name, *values, query.cursor or "~", query.limit)
        runs = await self.get_runs([row[0] for row in rows if chosen_run(query, tuple(row))])
        return list(runs.values()), rows[-1][0] if len(rows) == query.limit else None

    async def stop_run(self, run: str) -> None:
        await self._run("stop_run", self.now, run)

    async def run_stopped(self, run: str) -> None:
        await self._run("run_stopped", run)

    async def end_run(self, run: Run) -> None:
        await self._run("end_run", run.state.value, run.finished_at, run.id)

    async def open_runs(self, before: int, limit: int) -> list[str]:
        return [run for (run,) in await self._all("open_runs", before, limit)]

    async def runs_seen(self, runs: Sequence[str]) -> None:
        if runs:
            await self._run("run_seen", self.now, array(sorted(runs)))

    async def newest_of_run(self, run: str, below: str, limit: int) -> list[str]:
        return [job for (job,) in await self._all("newest_of_run", run, below, limit)]

    async def jobs_of_run(self, run: str, after: str, limit: int) -> list[str]:
        return [job for (job,) in await self._all("jobs_of_run", run, after, limit)]

    async def nodes(self, jobs: Sequence[str]) -> list[Node]:
        return [node_of(tuple(row)) for row in await self._all("nodes", array(jobs))]

    async def edges_into(self, jobs: Sequence[str]) -> list[Dependency]:
        return [Dependency(*row) for row in await self._all("edges_into", array(jobs))]

    async def edges_from(self, jobs: Sequence[str], limit: int) -> list[Dependency]:
        return [Dependency(*row) for row in await self._all("edges_from", array(jobs), limit)]

    async def result_of(self, job: str) -> tuple[State, Raw | None, int | None, bool] | None:
        row = await self._one("result_of", job)
        if row is None:
            return None
        return STATES[row[0]], None if row[1] is None else Raw(row[1]), row[2], row[3]

    async def become_array(self, job: Job, made: Array) -> None:
        job.array = made
        job.size += made.size
        self._keeps(job.owner, 0, made.size)
        await self._run("become_array", made.inputs, job.size, job.id)
        await self.insert_arrays([job])

    async def delete_runs(self, before: int, limit: int) -> int:
        old = [run for (run,) in await self._all("old_runs", before, limit)]
        if old:
            for name in ("delete_run_counts", "delete_run"):
                await self._run(name, array(old))
            for name in ("delete_events", "delete_deliveries"):
                await self._run(name, old)
        return len(old)
