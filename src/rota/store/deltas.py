"""What a transaction counts, on either store, until it is written at its end: jobs by state, what is kept for owners, turns."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from rota.core.fairness import TurnName
from rota.core.jobs import Job
from rota.core.quotas import kept_by
from rota.store.rows import counted_in_run


class Kind(NamedTuple):
    """What new jobs have in common that are counted together: most of a list are of one kind."""

    queue: str
    lane: str
    owner: str
    priority: int
    state: str
    run: str | None


class Deltas:
    """The counts of a transaction. Both stores' transactions are some, and write them in `flush`."""

    def __init__(self) -> None:
        self._deltas: Counter[tuple[str, str, str]] = Counter()
        self._in_runs: Counter[tuple[str, str]] = Counter()
        self._started: set[str] = set()  # runs of which a job was claimed
        self._readied: set[TurnName] = set()
        self._kept: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])  # for owners: jobs that wait, and bytes

    def _inserted(self, jobs: Sequence[Job], rows: Sequence[Sequence[Any]]) -> None:
        """Count new jobs; `rows` are theirs, as `row_of` makes them."""
        kinds: dict[Kind, list[int]] = {}  # how many, and their bytes
        for job, row in zip(jobs, rows, strict=True):
            counted = kinds.setdefault(Kind(job.queue, row[3], job.owner, job.priority, row[1], job.run), [0, 0])
            counted[0] += 1
            counted[1] += job.size
        for kind, (n, size) in kinds.items():
            self._moved(kind.queue, kind.lane, None, kind.state, n, run=kind.run)
            waiting, kept = kept_by(None, kind.state, size)
            self._keeps(kind.owner, n * waiting, kept)
            if kind.state == "queued":
                self._came(kind.queue, kind.lane, kind.owner, kind.priority)

    def _moved(
        self,
        queue: str,
        lane: str,
        old: str | None,
        new: str | None,
        n: int = 1,
        *,
        run: str | None = None,
        why: str | None = None,
        owner: str | None = None,
        size: int = 0,
    ) -> None:
        """Count `n` jobs that came from one state to another; None: that are not there before, or after."""
        if owner is not None:
            waiting, kept = kept_by(old, new, size)
            self._keeps(owner, n * waiting, n * kept)
        if old is not None:
            self._deltas[queue, lane, old] -= n
        if new is not None:
            self._deltas[queue, lane, new] += n
        self._moved_in_run(run, old, new, n, why)

    def _moved_in_run(
        self, run: str | None, old: str | None, new: str | None, n: int = 1, why: str | None = None
    ) -> None:
        if run is not None:
            for counter, change in counted_in_run(run, old, new, why).items():
                self._in_runs[counter] += n * change
            if new == "running":
                self._started.add(run)

    def _came(self, queue: str, lane: str, owner: str, priority: int) -> None:
        """Note that a job became ready: whatever made it so, its row of turns must be."""
        self._readied.add(TurnName(queue, priority, owner, lane))

    def _keeps(self, owner: str, waiting: int, size: int) -> None:
        if waiting or size:
            kept = self._kept[owner]
            kept[0] += waiting
            kept[1] += size
