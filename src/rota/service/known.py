"""What a server remembers of the attempts that it has handed out: most that succeed are settled without reading their jobs.

While a job runs, nothing of what a success changes can change but one thing: whether an abort was asked for. So it is decided
from memory what a success makes of it, and the store writes that only where the attempt still runs on this worker and nobody
has asked. All others are locked and read, as ever. What is forgotten, or was handed out by another server, costs that reading.
"""

from __future__ import annotations

from collections.abc import Sequence

from rota.core.jobs import Job, Report, lane_of
from rota.core.states import Outcome, State
from rota.store.protocol import Claimed

_MOST = 100_000  # attempts; their ends may be told to another server, and so all are forgotten at times


class Known:
    """Jobs that run, by attempt, without what a success has no need of."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, int], Job] = {}

    def note(self, worker: str, claimed: Sequence[Claimed], now: int) -> None:
        """Remember what a claim at `now` has started; not jobs whose ends have more to tell (hooks), nor shards."""
        if len(self._jobs) > _MOST:
            self._jobs.clear()
        for each in claimed:
            lease = each.lease
            if lease.hook is None and each.lane == lane_of(lease.kind, lease.handler):
                self._jobs[lease.job, lease.attempt] = Job(
                    id=lease.job, state=State.RUNNING, kind=lease.kind, handler=lease.handler, owner=lease.owner,
                    queue=each.queue, run=each.run, run_at=each.ready_at, started_at=now, attempt=lease.attempt, worker=worker,
                    size=each.size, limit_key=each.limit_key,
                )  # fmt: skip

    def take(self, worker: str, reports: Sequence[Report]) -> list[tuple[Job, Report]]:
        """Return the jobs of reports of success that are known, by id, and forget what was reported."""
        found = {}
        for report in reports:
            job = self._jobs.pop((report.job, report.attempt), None)
            if job is not None and job.worker == worker and report.outcome is Outcome.SUCCEEDED:
                found[job.id] = job, report
        return [found[job] for job in sorted(found)]
