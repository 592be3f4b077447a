"""When a job that waits will start, by what is ahead of it, how long such jobs ran lately, and how many slots there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from msgspec import Struct

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
    """Somebody whose jobs may start before a job: those of each lane that are `ready`, and `per_s` more that come meanwhile.

    At most `most` of them do; None: all.
    """

    ready: Mapping[str, int]
    per_s: float
    most: int | None


def start_in_s(
    own: Mapping[str, int], rivals: Sequence[Rival], paces: Sequence[Pace], *, slots: int, running: Mapping[str, int]
) -> float | None:
    """Return in how many seconds a job will start, or None if nobody can know: nothing has ended yet.

    `own` is how many jobs of each lane its owner has before it; `slots` are those that all share, in which so many jobs of each
    lane are `running`. How long these have run says little of how long they will (run times differ widely): each is taken for
    a new one. What comes meanwhile makes the wait longer, in which more comes: so it is found in a few rounds.
    """
    runs = sum(pace.runs for pace in paces)
    free = max(0, slots - sum(running.values()))
    if sum(own.values()) + sum(_starts(rival, 0.0) for rival in rivals) < free:
        return 0.0
    if not runs or slots <= 0:
        return None
    usual_s = sum(pace.ran_s for pace in paces) / runs
    mean_s = _means(paces)
    now_s = 1 / max(1e-9, sum(n / max(mean_s.get(lane, usual_s), 1e-3) for lane, n in running.items()))
    in_s = 0.0
    for _ in range(_ROUNDS):
        starts = float(sum(own.values()))
        work_s = sum(n * mean_s.get(lane, usual_s) for lane, n in own.items())
        for rival in rivals:
            n = _starts(rival, in_s)
            starts += n
            work_s += n * _mean_of(rival, mean_s, usual_s)
        then_s = (work_s / starts if starts else usual_s) / slots
        before, in_s = in_s, _ends_s(max(0.0, starts - free) + 1, now_s, then_s, slots)
        if in_s > _NO_END_S:
            return None
        if in_s - before < 0.01 * in_s:
            break
    return in_s


def _ends_s(n: float, now_s: float, then_s: float, slots: int) -> float:
    """Return how long `n` slots take to become free: one each `now_s` first, each `then_s` when all have changed."""
    changing = min(n, slots)
    part = (changing - 1) / 2 / slots  # on average, of those that end while not all slots have changed
    return changing * (now_s * (1 - part) + then_s * part) + (n - changing) * then_s


def _starts(rival: Rival, wait_s: float) -> float:
    n = sum(rival.ready.values()) + rival.per_s * wait_s
    return n if rival.most is None else min(n, rival.most)


def _means(paces: Sequence[Pace]) -> dict[str, float]:
    runs: defaultdict[str, int] = defaultdict(int)
    ran_s: defaultdict[str, float] = defaultdict(float)
    for pace in paces:
        runs[pace.lane] += pace.runs
        ran_s[pace.lane] += pace.ran_s
    return {lane: ran_s[lane] / n for lane, n in runs.items() if n}


def _mean_of(rival: Rival, mean_s: Mapping[str, float], usual_s: float) -> float:
    n = sum(rival.ready.values())
    return sum(k * mean_s.get(lane, usual_s) for lane, k in rival.ready.items()) / n if n else usual_s


def about(seconds: float) -> str:
    """Write an estimate as roughly as it is meant: `1 s`, `40 s`, `5 min`, `3 h`."""
    if seconds < 1:
        return "1 s"
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds < 10 else f"{round(seconds, -1):.0f} s"
