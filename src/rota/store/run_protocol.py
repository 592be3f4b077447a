"""What the service asks of a store about jobs that wait for each other, and about runs: a part of the protocol's `Tx`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from msgspec import Raw

from rota.core.jobs import Array, Job
from rota.core.runs import Run
from rota.core.states import State
from rota.store.rows import Dependency
from rota.store.run_rows import Node, RunQuery


class RunTx(Protocol):
    """The part of `Tx` that knows what belongs together. Whoever waits for a run holds no job."""

    async def dependents_of(self, jobs: Sequence[str]) -> list[Dependency]:
        """Return what waits for these jobs and has not been told of their end."""
        ...

    async def lock_free(self, jobs: Iterable[str]) -> dict[str, Job]:
        """Return of these jobs, as `lock_jobs` does, those that nobody else holds."""
        ...

    async def tell(self, told: Sequence[Dependency], counted: Collection[str]) -> None:
        """Note how what these wait for has ended; for the jobs in `counted`, which are held, that they wait for it no more."""
        ...

    async def told_of(self, jobs: Sequence[str]) -> list[Dependency]:
        """Return of these jobs, which are held, what they have been told and nobody has counted."""
        ...

    async def told_jobs(self, limit: int) -> list[str]:
        """Return jobs that have been told what nobody has counted."""
        ...

    async def set_waits(self, waits: Sequence[tuple[str, int, int]]) -> None:
        """Note of (job, waiting_for, spare), which are blocked and held, how they stand."""
        ...

    async def unmet_of(self, job: str, limit: int) -> list[Dependency]:
        """Return what a job still waits for."""
        ...

    async def insert_run(self, run: Run) -> None:
        """Write a new run; its jobs are inserted in the same transaction."""
        ...

    async def get_runs(self, runs: Iterable[str]) -> dict[str, Run]:
        """Return those of these runs that there are, with their counts."""
        ...

    async def lock_runs(self, runs: Iterable[str]) -> dict[str, Run]:
        """Return those of these runs that there are, with their counts, locked until the end of the transaction."""
        ...

    async def find_runs(self, query: RunQuery) -> tuple[list[Run], str | None]:
        """Return a page of runs, newest first, and the cursor of the next; a page may be short and yet have a next one."""
        ...

    async def stop_run(self, run: str) -> None:
        """Note that a run, which is held, is to be aborted, and that this has not reached all its jobs."""
        ...

    async def run_stopped(self, run: str) -> None:
        """Note that an abort has reached all jobs of a run."""
        ...

    async def end_run(self, run: Run) -> None:
        """Write the state and the end of a run that is over; it is held."""
        ...

    async def open_runs(self, before: int, limit: int) -> list[str]:
        """Return runs that are not over, and were not looked at since `before`."""
        ...

    async def runs_seen(self, runs: Sequence[str]) -> None:
        """Note that runs were looked at now."""
        ...

    async def newest_of_run(self, run: str, below: str, limit: int) -> list[str]:
        """Return jobs of a run with ids below `below`, the newest first."""
        ...

    async def jobs_of_run(self, run: str, after: str, limit: int) -> list[str]:
        """Return jobs of a run with ids above `after`, the oldest first."""
        ...

    async def whole_jobs(self, jobs: Sequence[str]) -> dict[str, Job]:
        """Return those of these jobs that there are, as `get_job` does."""
        ...

    async def nodes(self, jobs: Sequence[str]) -> list[Node]:
        """Return what a graph shows of these jobs."""
        ...

    async def edges_into(self, jobs: Sequence[str]) -> list[Dependency]:
        """Return all that these jobs waited or wait for."""
        ...

    async def edges_from(self, jobs: Sequence[str], limit: int) -> list[Dependency]:
        """Return what waited or waits for these jobs, at most so much."""
        ...

    async def result_of(self, job: str) -> tuple[State, Raw | None, int | None, bool] | None:
        """Return a job's state, its result, how many inputs it has (None: it is no array), and whether it is a map."""
        ...

    async def become_array(self, job: Job, made: Array) -> None:
        """Make a blocked map, which is held and whose inputs were written, the array that it is from now on."""
        ...

    async def delete_runs(self, before: int, limit: int) -> int:
        """Remove runs that were over before `before`; return how many. Their jobs are removed on their own."""
        ...
