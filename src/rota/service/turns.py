"""Rows of turns: what upkeep does so that none hides a job, or is gone over for nothing; what is ahead of a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rota.core.fairness import TurnName, cost, due_before
from rota.core.jobs import Job
from rota.service.claiming import Claiming
from rota.store.protocol import Store, Tx

_ROWS_A_LOOK = 100  # that there ought to be, of all there are
_LOOK_S = 1.0
_ROWS_COUNTED = 1000  # of a lane, to say what is ahead of a job
_FIRST = TurnName("", 0, "", "")


class TurnUpkeep:
    """Empties rows that have no job left; finds jobs without a row, which servers of an older Rota submit."""

    def __init__(self, store: Store, claiming: Claiming, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._claiming = claiming
        self._monotonic = monotonic
        self._after = _FIRST
        self._look_at = 0.0

    def due(self, ready: Sequence[tuple[str, str]]) -> bool:
        """Say whether there is something to do, when these lanes have queued jobs."""
        return self._claiming.drained or (bool(ready) and self._monotonic() >= self._look_at)

    async def step(self) -> int:
        """Do it, once round the rows in as many steps as that takes; return how many rows were missing."""
        self._look_at = self._monotonic() + _LOOK_S
        await self._claiming.tidy()
        missing, after = await self._store.read(lambda tx: tx.missing_turns(self._after, _ROWS_A_LOOK))
        self._after = after or _FIRST
        if missing:
            await self._store.write(lambda tx: tx.make_ready(missing))
        return len(missing)


async def jobs_ahead(tx: Tx, job: Job, limit: int) -> tuple[int, bool]:
    """Return how many jobs of its lane are claimed before this one, should no more come, and whether that is all.

    Those of a higher priority, its owner's older ones, and what others are due before its turn; counted up to `limit`.
    """
    older = await tx.older_than(job, limit)
    _, turns = await tx.turns([(job.queue, job.lane, _ROWS_COUNTED)], 1)
    mine = next((turn for turn in turns if turn.name.whose == (job.queue, job.priority, job.owner)), None)
    wanted = []
    for turn in turns:
        if turn.name.priority > job.priority or (mine is None and turn.name.priority == job.priority):
            wanted.append((turn.name, limit if mine is not None else 1))
        elif mine is not None and turn is not mine and turn.name.priority == job.priority:
            starts = due_before(turn, mine.due + older * cost(mine.weight), (job.run_at, job.id))
            wanted.append((turn.name, min(limit, starts)))
    ahead = older + sum(await tx.ready_counts([(name, n) for name, n in wanted if n > 0]))
    return min(limit, ahead), ahead < limit and (mine is not None or len(turns) < _ROWS_COUNTED)
