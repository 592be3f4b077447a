"""When a queued job is expected to start: what is ahead of it in all lanes that share its slots, and how fast those go."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from rota.core.fairness import OwnerName, Turn, cost, due_before
from rota.core.forecasts import Pace, Rival, start_in_s
from rota.core.jobs import Job
from rota.core.needs import slots_of
from rota.core.times import SECOND
from rota.service.offers import Offer
from rota.store.protocol import Tx, WorkerRow

_ROWS = 1000  # of turns, of a lane
MOST_COUNTED = 10_000
_RUNS = 500  # attempts that have ended last


class Outlook(Struct, frozen=True):
    """How many jobs start before a queued one, and in how many seconds it will; None: unknown.

    `slots` are those of the workers that can run it, of which `busy` are in use.
    """

    ahead: int | None = None
    starts_in_s: float | None = None
    slots: int = 0
    busy: int = 0

    @property
    def free(self) -> int:
        """Return how many slots are free."""
        return max(0, self.slots - self.busy)


UNKNOWN = Outlook()


async def outlook_of(tx: Tx, job: Job, able: Sequence[WorkerRow]) -> Outlook:
    """Return when a queued job will start on the workers that can run it, should no more jobs come."""
    offers = [Offer(worker.hello) for worker in able]
    slots = sum(offer.total(job.lane) for offer in offers)
    running = await tx.held_lanes([worker.id for worker in able])
    busy = min(slots, sum(n * slots_of(lane) for lane, n in running.items()))
    served = [
        (queue, lane, _ROWS)
        for queue, lane in await tx.ready_lanes()
        if any(offer.serves(queue, lane) for offer in offers)
    ]
    _, turns = await tx.turns(served, 1) if served else ([], [])
    paces = await tx.recent_runs(_RUNS)
    own, rivals = await _ahead(tx, job, turns, paces)
    ahead = own.total() + sum(min(sum(r.ready.values()), MOST_COUNTED if r.most is None else r.most) for r in rivals)
    in_s = start_in_s(own, rivals, paces, slots=sum(offer.slots(job.lane) for offer in offers), running=running)
    return Outlook(min(MOST_COUNTED, ahead), None if in_s is None else round(in_s, 3), slots, busy)


async def _ahead(tx: Tx, job: Job, turns: Sequence[Turn], paces: Sequence[Pace]) -> tuple[Counter[str], list[Rival]]:
    """Return how many jobs of each lane its owner starts before a job, and who else may start some.

    Those of a higher priority start all that they have, and what comes; others of its priority what is due before its turn.
    """
    mine = (job.queue, job.priority, job.owner)
    own = [turn for turn in turns if turn.name.whose == mine]
    older: Counter[str] = Counter()
    for lane in {job.lane, *(turn.name.lane for turn in own)}:
        older[lane] += await tx.older_than(job, lane, MOST_COUNTED)
    at = max((turn.due - turn.clock for turn in own), default=0) + older.total() * cost(own[0].weight if own else 1.0)
    per_s = _rates(paces, tx.now)
    others: defaultdict[OwnerName, list[Turn]] = defaultdict(list)
    for turn in turns:
        if turn.name.whose != mine and turn.name.priority >= job.priority:
            others[turn.name.whose].append(turn)
    wanted: list[tuple[OwnerName, list[Turn], int | None]] = []
    for whose, rows in others.items():
        first = min(rows, key=lambda row: row.heads[:1] or ((job.run_at, job.id),))
        here = replace(first, turn=first.due - first.clock, clock=0)
        wanted.append((whose, rows, None if whose[1] > job.priority else due_before(here, at, (job.run_at, job.id))))
    asked = [(row.name, min(MOST_COUNTED, n or MOST_COUNTED)) for _, rows, n in wanted if n != 0 for row in rows]
    counts = iter(await tx.ready_counts(asked))
    rivals = []
    for (_, priority, owner), rows, n in wanted:
        rate = per_s.pop((owner, priority), 0.0)
        if n != 0:
            rivals.append(Rival(ready={row.name.lane: next(counts) for row in rows}, per_s=rate, most=n))
    for (owner, priority), rate in per_s.items():  # who has none that waits now: what comes of them is due at once
        if priority > job.priority:
            rivals.append(Rival(ready={}, per_s=rate, most=None))
        elif priority == job.priority and owner != job.owner:
            rivals.append(Rival(ready={}, per_s=rate, most=older.total() + 1))
    return older, rivals


def _rates(paces: Sequence[Pace], now: int) -> dict[tuple[str, int], float]:
    """Return how many jobs of each owner and priority have ended in a second lately."""
    since = min((pace.since for pace in paces), default=now)
    runs: Counter[tuple[str, int]] = Counter()
    for pace in paces:
        runs[pace.owner, pace.priority] += pace.runs
    return {whose: n * SECOND / (now - since) for whose, n in runs.items()} if now > since else {}
