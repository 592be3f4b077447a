"""When a queued job is expected to start: what is ahead of it where slots or limits are shared, and how fast that goes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from rota.core.fairness import OwnerName, Turn, TurnName, cost, due_before
from rota.core.forecasts import Bound, Flow, Pace, Rival, bounded_in_s, means, start_in_s
from rota.core.jobs import Job, handler_of
from rota.core.limits import Pool, Use, pools_of
from rota.core.needs import slots_of
from rota.core.times import SECOND
from rota.service.limiting import uses
from rota.service.offers import Offer
from rota.store.protocol import Tx, WorkerRow

_ROWS = 1000  # of turns, of a lane
MOST_COUNTED = 10_000
_RUNS = 500  # attempts that have ended last
_KEY_ROWS = 100  # of turns that jobs of a key are held of
_KEY_HEADS = 1000  # jobs of each of these
_FIRST = TurnName("", 0, "", "")
Lane = tuple[str, str]  # (queue, lane)


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


class _Others(Struct):
    """Somebody whose jobs may start before a job: those that are `ready`, and what comes of each lane in a second.

    At most `most` of them do; None: all.
    """

    ready: dict[Lane, int]
    per_s: Mapping[str, float]
    most: int | None

    @property
    def starts(self) -> int:
        """Return how many of those that are ready start before the job."""
        n = sum(self.ready.values())
        return n if self.most is None else min(n, self.most)

    def rival(self, pool: Pool | None = None) -> Rival | None:
        """Return it for a forecast; with a limit, as far as it counts against that: None if nothing does."""
        ready: Counter[str] = Counter()
        for (queue, lane), n in self.ready.items():
            if pool is None or pool in pools_of(queue, lane):
                ready[lane] += n
        comes = {lane: rate for lane, rate in self.per_s.items() if pool is None or pool in pools_of("", lane)}
        if pool is not None and pool[0] == "queue":  # of what comes nobody knows to which queue
            part = ready.total() / max(1, sum(self.ready.values()))
            comes = {lane: rate * part for lane, rate in self.per_s.items()}
        return Rival(ready=ready, comes=comes, most=self.most) if ready or comes else None


class _Ahead(Struct):
    """What is ahead of a job: of its owner, in its queue, so many of each lane; and others."""

    own: Counter[str]
    others: list[_Others]

    def rivals(self, pool: Pool | None = None) -> list[Rival]:
        """Return the others, as far as they count against a limit."""
        return [rival for each in self.others if (rival := each.rival(pool)) is not None]


async def outlook_of(tx: Tx, job: Job, able: Sequence[WorkerRow], limits: Sequence[Use] = ()) -> Outlook:
    """Return when a queued job will start on the workers that can run it; `limits` are those that it counts against."""
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
    ahead = await _ahead(tx, job, turns, paces)
    rivals = ahead.rivals()
    n = ahead.own.total() + sum(min(sum(r.ready.values()), MOST_COUNTED if r.most is None else r.most) for r in rivals)
    room = sum(offer.slots(job.lane) for offer in offers)
    flows = await _flows(tx, {*ahead.own, *(lane for rival in rivals for lane in rival.ready)}, paces)
    found = [start_in_s(ahead.own, rivals, paces, slots=room, running=running, flows=flows)]
    found += [
        None if bound is None else bounded_in_s(bound, paces, tx.now) for bound in await _bounds(tx, job, ahead, limits)
    ]
    known = [in_s for in_s in found if in_s is not None]
    in_s = max(known) if len(known) == len(found) else None
    return Outlook(min(MOST_COUNTED, n), None if in_s is None else round(in_s, 3), slots, busy)


async def _flows(tx: Tx, lanes: Collection[str], paces: Sequence[Pace]) -> list[Flow]:
    """Return how fast the jobs of those lanes may start whose handlers have limits."""
    of_handlers: defaultdict[str, set[str]] = defaultdict(set)
    for lane in lanes:
        if (handler := handler_of(lane)) is not None:
            of_handlers[handler].add(lane)
    limits = [limit for limit in await tx.limits() if limit.kind == "handler" and limit.name in of_handlers]
    mean_s = means(paces)
    usual_s = sum(pace.ran_s for pace in paces) / max(1, sum(pace.runs for pace in paces))
    flows = []
    for use in await uses(tx, limits):
        mine = of_handlers[use.limit.name]
        known = [mean_s[lane] for lane in mine if lane in mean_s]
        takes_s = max(sum(known) / len(known) if known else usual_s, 1e-3)
        speeds = [] if use.limit.concurrency is None else [use.limit.concurrency / takes_s]
        speeds += [] if use.limit.rate is None else [SECOND / use.limit.rate.interval]
        flows.append(Flow(lanes=frozenset(mine), room=use.room(tx.now), per_s=min(speeds)))
    return flows


async def _bounds(tx: Tx, job: Job, ahead: _Ahead, limits: Sequence[Use]) -> list[Bound | None]:
    """Return each limit that a job counts against, with what is ahead of it there; None for one of which too much is."""
    bounds: list[Bound | None] = []
    for use in limits:
        pool, most, rate = use.limit.pool, use.limit.concurrency, use.limit.rate
        if use.limit.kind == "key":
            most_ahead = ahead.own[job.lane] + sum(each.starts for each in ahead.others)
            n = await _ahead_of_key(tx, job, use.limit.name, most_ahead)
            if n is None:
                bounds.append(None)
                continue
            own, rivals = {job.lane: n}, []
        else:
            own = {lane: n for lane, n in ahead.own.items() if pool in pools_of(job.queue, lane)}
            rivals = ahead.rivals(pool)
        bounds.append(
            Bound(own=own, rivals=rivals, running={job.lane: use.running}, slots=most, rate=rate, full_at=use.full_at)
        )
    if (places := (await tx.places_of([job.owner])).get(job.owner)) is not None:
        bounds.append(Bound(own=ahead.own, rivals=[], running={job.lane: places.running}, slots=places.most))
    return bounds


async def _ahead_of_key(tx: Tx, job: Job, key: str, ready_ahead: int) -> int | None:
    """Return how many jobs of its key start before a job; None if they are more than are looked at.

    `ready_ahead` is how many do of those that are not held, whatever their keys.
    """
    ready = await tx.ready_of_key(key, job.queue, job.lane, _KEY_HEADS)
    rows = await tx.held_turns(key, _FIRST, _KEY_ROWS, _KEY_HEADS)
    own = next((row for row in rows if row.name == TurnName(job.queue, job.priority, job.owner, job.lane)), None)
    mine = (job.run_at, job.id)
    if own is None or mine < own.heads[0]:  # it is not held
        n = min(ready - 1, ready_ahead)
        return n if 0 <= n < _KEY_HEADS - 1 else None
    if mine not in own.heads:
        return None
    place = own.heads.index(mine)
    others = [row for row in rows if row is not own and row.name.priority >= job.priority]
    return (
        ready
        + place
        + sum(len(row.heads) if row.name.priority > job.priority else min(len(row.heads), place + 1) for row in others)
    )


async def _ahead(tx: Tx, job: Job, turns: Sequence[Turn], paces: Sequence[Pace]) -> _Ahead:
    """Return what starts before a job.

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
    weights = {turn.name.queue: turn.queue_weight for turn in turns}
    weighted = any(weight != 1 for weight in weights.values())
    wanted: list[tuple[OwnerName, list[Turn], int | None]] = []
    for whose, rows in others.items():
        if weighted and whose[0] != job.queue and whose[1] == job.priority:
            wanted.append((whose, rows, None))
            continue
        first = min(rows, key=lambda row: row.heads[:1] or ((job.run_at, job.id),))
        here = replace(first, turn=first.due - first.clock, clock=0)
        wanted.append((whose, rows, None if whose[1] > job.priority else due_before(here, at, (job.run_at, job.id))))
    asked = [(row.name, min(MOST_COUNTED, n or MOST_COUNTED)) for _, rows, n in wanted if n != 0 for row in rows]
    counts = iter(await tx.ready_counts(asked))
    found: list[_Others] = []
    of_queues: defaultdict[str, list[_Others]] = defaultdict(list)
    for (queue, priority, owner), rows, n in wanted:
        rates = per_s.pop((owner, priority), {})
        if n != 0:
            each = _Others({(row.name.queue, row.name.lane): next(counts) for row in rows}, rates, n)
            takes_turns = weighted and queue != job.queue and priority == job.priority
            (of_queues[queue] if takes_turns else found).append(each)
    before = older.total() + sum(each.starts for each in found if each.most is not None) + 1
    found += [
        _together(some, round(before * weights[queue] / weights.get(job.queue, 1.0)))
        for queue, some in of_queues.items()
    ]
    for (owner, priority), rates in per_s.items():  # who has none that waits now: what comes of them is due at once
        if priority > job.priority:
            found.append(_Others({}, rates, None))
        elif priority == job.priority and owner != job.owner:
            found.append(_Others({}, rates, older.total() + 1))
    return _Ahead(older, found)


def _together(some: Sequence[_Others], most: int) -> _Others:
    """Return those of a queue that takes turns with a job's own, as one: it has so many starts, whoever of them gets those."""
    per_s: Counter[str] = Counter()
    ready: Counter[Lane] = Counter()
    for each in some:
        ready.update(each.ready)
        per_s.update(each.per_s)
    return _Others(ready, per_s, most)


def _rates(paces: Sequence[Pace], now: int) -> dict[tuple[str, int], dict[str, float]]:
    """Return how many jobs of each owner and priority have ended in a second lately, by lane."""
    since = min((pace.since for pace in paces), default=now)
    found: defaultdict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for pace in paces:
        found[pace.owner, pace.priority][pace.lane] += pace.runs
    return (
        {whose: {lane: n * SECOND / (now - since) for lane, n in lanes.items()} for whose, lanes in found.items()}
        if now > since
        else {}
    )
