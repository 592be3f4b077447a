"""What a transaction on SQLite does with runs; see store/protocol.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Raw

from rota.core.jobs import Array, Job
from rota.core.runs import Run
from rota.core.states import State
from rota.store.rows import STATES, Dependency, encode
from rota.store.run_rows import Node, RunQuery, chosen_run, node_of, run_of, run_row, walk_of
from rota.store.sqlite.arrays import ArrayTx


class RunTx(ArrayTx):
    """The part of `SqliteTx` that knows what belongs together."""

    async def insert_run(self, run: Run) -> None:
        self._run("insert_run", *run_row(run))

    async def get_runs(self, runs: Iterable[str]) -> dict[str, Run]:
        self.flush()
        found = {}
        for run in runs:
            row = self._one("get_run", run)
            if row is not None:
                found[run] = run_of(row, {state: n for _, state, n in self._all("run_counts", run)})
        return found

    async def lock_runs(self, runs: Iterable[str]) -> dict[str, Run]:
        return await self.get_runs(runs)

    async def find_runs(self, query: RunQuery) -> tuple[list[Run], str | None]:
        name, values = walk_of(query)
        rows = self._all(name, *values, query.cursor or "~", query.limit)
        runs = await self.get_runs([row[0] for row in rows if chosen_run(query, row)])
        return list(runs.values()), rows[-1][0] if len(rows) == query.limit else None

    async def stop_run(self, run: str) -> None:
        self._run("stop_run", self.now, run)

    async def run_stopped(self, run: str) -> None:
        self._run("run_stopped", run)

    async def end_run(self, run: Run) -> None:
        self._run("end_run", run.state.value, run.finished_at, run.id)

    async def open_runs(self, before: int, limit: int) -> list[str]:
        return [run for (run,) in self._all("open_runs", before, limit)]

    async def runs_seen(self, runs: Sequence[str]) -> None:
        self._many("run_seen", [(self.now, run) for run in runs])

    async def newest_of_run(self, run: str, below: str, limit: int) -> list[str]:
        return [job for (job,) in self._all("newest_of_run", run, below, limit)]

    async def jobs_of_run(self, run: str, after: str, limit: int) -> list[str]:
        return [job for (job,) in self._all("jobs_of_run", run, after, limit)]

    async def nodes(self, jobs: Sequence[str]) -> list[Node]:
        return [node_of(row) for job in jobs if (row := self._one("nodes", job)) is not None]

    async def edges_into(self, jobs: Sequence[str]) -> list[Dependency]:
        return [Dependency(*row) for row in self._all("edges_into", encode(jobs).decode())]

    async def edges_from(self, jobs: Sequence[str], limit: int) -> list[Dependency]:
        return [Dependency(*row) for row in self._all("edges_from", encode(jobs).decode(), limit)]

    async def result_of(self, job: str) -> tuple[State, Raw | None, int | None, bool] | None:
        row = self._one("result_of", job)
        if row is None:
            return None
        return STATES[row[0]], None if row[1] is None else Raw(row[1]), row[2], bool(row[3])

    async def become_array(self, job: Job, made: Array) -> None:
        job.array = made
        job.size += made.size
        self._keeps(job.owner, 0, made.size)
        self._run("become_array", made.inputs, job.size, job.id)
        self.insert_arrays([job])

    async def delete_runs(self, before: int, limit: int) -> int:
        old = self._all("old_runs", before, limit)
        for name in ("delete_run_counts", "delete_run"):
            self._many(name, old)
        for name in ("delete_events", "delete_deliveries"):
            self._many(name, old)
        return len(old)
