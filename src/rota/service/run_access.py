"""Runs as one caller sees them: for a user there are only its owner's. See access.py."""

from __future__ import annotations

from msgspec.structs import replace

from rota.core.access import Caller
from rota.core.errors import NotFound
from rota.core.runs import GraphView, Run, RunSubmission
from rota.service.access import check_owner, check_submission
from rota.service.dry_runs import DryRun
from rota.service.runs import Runs, narrowed
from rota.store.run_rows import RunQuery
from rota.tracing import Submitting


class RunsFor:
    """`Runs`, for one caller; each method does what its namesake does."""

    def __init__(self, runs: Runs, caller: Caller, traceparent: str | None = None) -> None:
        self._runs = runs
        self._caller = caller
        self._traceparent = traceparent

    async def submit(self, new: RunSubmission, *, key: str | None = None) -> tuple[Run, dict[str, str]]:
        """Submit a run. Raises Forbidden too."""
        new = self._own(new)
        with Submitting(self._traceparent) as span:
            return await self._runs.submit(new, key=key, caller=self._caller, traceparent=span.traceparent)

    async def dry_run(self, new: RunSubmission, *, key: str | None = None) -> DryRun:
        """Say what would become of the jobs of a run. Raises Forbidden too."""
        return await self._runs.dry_run(self._own(new), key=key, caller=self._caller)

    def _own(self, new: RunSubmission) -> RunSubmission:
        check_owner(self._caller, new.owner, "owner")
        if new.owner is None and self._caller.owner is not None:
            new = replace(new, owner=self._caller.owner)
        for at, job in enumerate(new.jobs):
            check_submission(self._caller, job, f"jobs[{at}].")
        return new

    async def get(self, run: str) -> Run:
        """Return a run."""
        found = await self._runs.get(run)
        if not self._caller.sees(found.owner):
            raise NotFound(f"there is no run {run!r}")
        return found

    async def find(self, query: RunQuery) -> tuple[list[Run], str | None]:
        """Return a page of runs. Raises Forbidden when another owner's are asked for."""
        check_owner(self._caller, query.owner, "owner")
        return await self._runs.find(narrowed(query, self._caller))

    async def wait(self, run: str, wait_s: float) -> Run:
        """Return a run when it is over, or after `wait_s` seconds."""
        await self.get(run)
        return await self._runs.wait(run, wait_s)

    async def graph(self, run: str, after: str, limit: int) -> GraphView:
        """Return a part of a run's graph."""
        await self.get(run)
        return await self._runs.graph(run, after, limit)

    async def abort(self, run: str) -> Run:
        """Stop a run."""
        await self.get(run)
        return await self._runs.abort(run, by=self._caller.by)

    async def retry(self, run: str, *, key: str | None = None) -> tuple[Run, dict[str, str]]:
        """Run again what has not succeeded."""
        found = await self.get(run)
        assert found is not None
        return await self._runs.retry(run, key=key, caller=self._caller, traceparent=self._traceparent)
