"""When a job that waits will start: by what is ahead of it, how long such jobs ran, how many slots there are, and limits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from msgspec import Struct

from rota.core.limits import Rate
from rota.core.times import SECOND

_ROUNDS = 20
_NO_END_S = 30 * 86400.0  # what is expected later than that is not expected


class Pace(Struct, frozen=True):
    """How many jobs of an owner, a priority and a lane have ended lately, and how long they ran in all, in seconds.

    `since` is when the first of them ended (microseconds).
    """

    owner: str
    priority: int
    lane: str
    runs: int
    ran_s: float
    since: int


class Rival(Struct, frozen=True, kw_only=True):
    """Somebody whose jobs may start before a job: of each lane what is `ready`, and what `comes` in a second.

    At most `most` of them do; None: all.
    """

    ready: Mapping[str, int]
    comes: Mapping[str, float]
    most: int | None


class Flow(Struct, frozen=True, kw_only=True):
    """Lanes whose jobs start no faster than a limit lets them: `room` of them now, and then `per_s` in a second."""

    lanes: frozenset[str]
    room: int
    per_s: float


class Bound(Struct, frozen=True, kw_only=True):
    """A limit that a job counts against, and what else does: as in `start_in_s`, but only what shares the limit.

    `slots` is how many may run at once, None: any number; `full_at` is when the bucket of `rate` is full again.
    """

    own: Mapping[str, int]
    rivals: Sequence[Rival]
    running: Mapping[str, int]
    slots: int | None = None
    rate: Rate | None = None
    full_at: int | None = None


def bounded_in_s(bound: Bound, paces: Sequence[Pace], now: int) -> float | None:
    """Return in how many seconds a limit lets a job start, if nothing else keeps it; None: nobody can know.

    What may run at once are slots that are shared by all that counts against the limit. `now` is in microseconds.
    """
    places_in_s: float | None = 0.0
    if bound.slots is not None:
        places_in_s = start_in_s(bound.own, bound.rivals, paces, slots=bound.slots, running=bound.running)
    tokens_in_s = _tokens_in_s(bound, now)
    return None if places_in_s is None or tokens_in_s is None else max(places_in_s, tokens_in_s)


def _tokens_in_s(bound: Bound, now: int) -> float | None:
    """Return in how many seconds the rate of a limit has a start for a job, after all those that come before it."""
    if bound.rate is None:
        return 0.0
    in_s = 0.0
    for _ in range(_ROUNDS):
        n = sum(_ahead(bound.own, bound.rivals, (), in_s).values())
        before, in_s = in_s, (bound.rate.start_at(bound.full_at, now, int(n)) - now) / SECOND
        if in_s > _NO_END_S:
            return None
        if in_s - before < 0.01 * in_s:
            break
    return in_s


def start_in_s(
    own: Mapping[str, int],
    rivals: Sequence[Rival],
    paces: Sequence[Pace],
    *,
    slots: int,
    running: Mapping[str, int],
    flows: Sequence[Flow] = (),
) -> float | None:
    """Return in how many seconds a job will start, or None if nobody can know: nothing has ended yet.

    `own` is how many jobs of each lane its owner has before it; `slots` are those that all share, in which so many jobs of each
    lane are `running`. How long these have run says little of how long they will (run times differ widely): each is taken for
    a new one. What comes meanwhile makes the wait longer, in which more comes: so it is found in a few rounds. Of jobs that
    a limit holds, those in `flows`, only as many are before it as may start until then.
    """
    runs = sum(pace.runs for pace in paces)
    free = max(0, slots - sum(running.values()))
    if sum(_ahead(own, rivals, flows, 0.0).values()) < free:
        return 0.0
    if not runs or slots <= 0:
        return None
    usual_s = sum(pace.ran_s for pace in paces) / runs
    mean_s = means(paces)
    now_s = 1 / max(1e-9, sum(n / max(mean_s.get(lane, usual_s), 1e-3) for lane, n in running.items()))
    in_s = 0.0
    for _ in range(_ROUNDS):
        ahead = _ahead(own, rivals, flows, in_s)
        starts = sum(ahead.values())
        work_s = sum(n * mean_s.get(lane, usual_s) for lane, n in ahead.items())
        then_s = (work_s / starts if starts else usual_s) / slots
        before, in_s = in_s, _ends_s(max(0.0, starts - free) + 1, now_s, then_s, slots)
        if in_s > _NO_END_S:
            return None
        if in_s - before < 0.01 * in_s:
            break
    return in_s


def _ahead(own: Mapping[str, int], rivals: Sequence[Rival], flows: Sequence[Flow], wait_s: float) -> dict[str, float]:
    """Return how many jobs of each lane start before a job that waits so long."""
    found: defaultdict[str, float] = defaultdict(float, own)
    for rival in rivals:
        for lane, n in _starts(rival, wait_s).items():
            found[lane] += n
    for flow in flows:
        n, most = sum(found[lane] for lane in flow.lanes), flow.room + flow.per_s * wait_s
        for lane in flow.lanes if n > most else ():
            found[lane] *= most / n
    return found


def _ends_s(n: float, now_s: float, then_s: float, slots: int) -> float:
    """Return how long `n` slots take to become free: one each `now_s` first, each `then_s` when all have changed."""
    changing = min(n, slots)
    part = (changing - 1) / 2 / slots  # on average, of those that end while not all slots have changed
    return changing * (now_s * (1 - part) + then_s * part) + (n - changing) * then_s


def _starts(rival: Rival, wait_s: float) -> dict[str, float]:
    """Return how many jobs of each lane a rival starts."""
    found = {lane: float(n) for lane, n in rival.ready.items()}
    for lane, per_s in rival.comes.items():
        found[lane] = found.get(lane, 0.0) + per_s * wait_s
    total = sum(found.values())
    if rival.most is not None and total > rival.most:
        return {lane: n * rival.most / total for lane, n in found.items()}
    return found


def means(paces: Sequence[Pace]) -> dict[str, float]:
    """Return how long the jobs of each lane ran lately, in seconds."""
    runs: defaultdict[str, int] = defaultdict(int)
    ran_s: defaultdict[str, float] = defaultdict(float)
    for pace in paces:
        runs[pace.lane] += pace.runs
        ran_s[pace.lane] += pace.ran_s
    return {lane: ran_s[lane] / n for lane, n in runs.items() if n}


def about(seconds: float) -> str:
    """Write an estimate as roughly as it is meant: `1 s`, `40 s`, `5 min`, `3 h`."""
    if seconds < 1:
        return "1 s"
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds < 10 else f"{round(seconds, -1):.0f} s"
