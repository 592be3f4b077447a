"""What those see who look at the whole: what failed lately, and who ran what when. Bounded reads through indexes of time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from rota.core.errors import Invalid
from rota.core.likeness import Fault, Faults, beginning_of, group
from rota.core.states import Outcome, State
from rota.core.times import SECOND
from rota.store.protocol import Tried, Tx

MOST_FAULTS = 5000  # that are looked at, the newest
MOST_GROUPS = 200
MOST_BARS = 5000
_MOST_LATER = 1000  # jobs that ended after a range of time, and are looked at: they may have begun in it
_MOST_OF_OTHERS = 4  # times as many are read where most may be somebody else's
_DAY, _HOUR = 86400 * SECOND, 3600 * SECOND
_FAULTY = frozenset(
    outcome.value
    for outcome in (Outcome.ERRORED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.BAD_RESULT, Outcome.LOST)
)


class Errors(Struct, kw_only=True):
    """Groups of failed attempts. `cut`: there were more, and only the newest were looked at: those since `begin`."""

    begin: int
    end: int
    looked_at: int
    cut: bool
    groups: list[Faults]


class Bar(Struct, kw_only=True):
    """An attempt, or a shard (`first` and `inputs` of its array), between two moments; of one that runs `end` is None.

    `row` is where it is drawn among those of its worker: no two bars of a row overlap. Which slot it had nobody knows.
    """

    job: str
    attempt: int
    worker: str
    row: int
    begin: int
    end: int | None
    outcome: str | None
    kind: str
    handler: str | None
    owner: str
    queue: str
    first: int | None = None
    inputs: int | None = None
    error: str | None = None


class Timeline(Struct, kw_only=True):
    """Bars of a range of time, by when they began. `cut`: there were more, and those that ended first are left out."""

    begin: int
    end: int
    cut: bool
    bars: list[Bar]


class Chosen(Struct, frozen=True, kw_only=True):
    """What is asked for: of whom, of which queue, of which handler, on which workers; None or empty is all."""

    owner: str | None = None
    queue: str | None = None
    handler: str | None = None
    workers: Sequence[str] = ()

    def has(self, tried: Tried) -> bool:
        """Say whether an attempt is asked for."""
        return (
            self.owner in (None, tried.owner)
            and self.queue in (None, tried.queue)
            and self.handler in (None, tried.handler)
            and (not self.workers or tried.worker in self.workers)
        )

    def most(self, n: int) -> int:
        """Return how many rows to read for `n`."""
        return n if self == _ALL else n * _MOST_OF_OTHERS


_ALL = Chosen()


async def read_errors(tx: Tx, chosen: Chosen, begin: int | None = None, end: int | None = None) -> Errors:
    """Group the failed attempts of a range of time (the last day), and arrays that failed. Raises Invalid."""
    begin, end = _range(begin, end, tx.now, _DAY)
    most = chosen.most(MOST_FAULTS)
    attempts = await tx.bad_attempts(begin, end, most)
    arrays = await tx.failed_arrays(begin, end, most)
    cut = max(len(attempts), len(arrays)) == most
    for rows in (attempts, arrays):
        if len(rows) == most:
            begin = max(begin, rows[-1].finished_at or begin)
    faulty = [row for row in attempts if row.outcome in _FAULTY] + arrays
    found = sorted((row for row in faulty if chosen.has(row) and (row.finished_at or 0) >= begin), key=_newest_first)
    if len(found) > MOST_FAULTS:
        cut, found = True, found[:MOST_FAULTS]
        begin = found[-1].finished_at or begin
    groups = group(map(_fault, found))
    return Errors(
        begin=begin, end=end, looked_at=len(found), cut=cut or len(groups) > MOST_GROUPS, groups=groups[:MOST_GROUPS]
    )


async def read_timeline(
    tx: Tx, chosen: Chosen, begin: int | None = None, end: int | None = None, limit: int = MOST_BARS
) -> Timeline:
    """Return what ran in a range of time (the last hour), the newest `limit` bars. Raises Invalid.

    Of what ended later only the first thousand jobs are looked at.
    """
    begin, end = _range(begin, end, tx.now, _HOUR)
    most = chosen.most(limit) + 1
    found: dict[tuple[str, int], Tried] = {}
    cut_at = begin
    for look in (tx.ended_between, tx.good_shards, tx.bad_attempts):
        rows = await look(begin, end, most)
        if len(rows) == most:
            cut_at = max(cut_at, rows[-1].finished_at or begin)
        found |= {(row.job, row.attempt): row for row in rows if row.first is not None or row.inputs is None}
    later = [] if end > tx.now else await tx.ended_after(end, _MOST_LATER)
    for row in [*await tx.running_now(most), *later]:
        if (row.started_at or end) < end and (row.first is not None or row.inputs is None):
            found.setdefault((row.job, row.attempt), row)
    ran = [row for row in found.values() if row.worker is not None and row.started_at is not None and chosen.has(row)]
    ran = [row for row in ran if row.finished_at is None or row.finished_at >= cut_at]
    ran.sort(key=_newest_first)
    cut = cut_at > begin or len(ran) > limit
    return Timeline(begin=begin, end=end, cut=cut, bars=_bars(ran[:limit]))


def _range(begin: int | None, end: int | None, now: int, length: int) -> tuple[int, int]:
    end = now + SECOND if end is None else end
    begin = end - length if begin is None else begin
    if begin >= end:
        raise Invalid("from", "is before `to`")
    return begin, end


def _newest_first(row: Tried) -> float:
    return float("-inf") if row.finished_at is None else -row.finished_at


def _fault(row: Tried) -> Fault:
    type_, message = beginning_of(row.error)
    return Fault(row.job, row.finished_at or 0, row.handler, row.kind, type_ or row.outcome or State.FAILED, message)


def _bars(rows: Iterable[Tried]) -> list[Bar]:
    """Make bars, and give each the first row of its worker that is free then."""
    free: dict[str, list[float]] = {}  # by worker: until when each of its rows is taken
    bars = []
    for tried in sorted(rows, key=lambda row: (row.started_at or 0, row.job, row.attempt)):
        assert tried.worker is not None and tried.started_at is not None, "the caller has looked"
        taken = free.setdefault(tried.worker, [])
        end = float("inf") if tried.finished_at is None else tried.finished_at
        at = next((n for n, until in enumerate(taken) if until <= tried.started_at), len(taken))
        taken[at : at + 1] = [end]
        type_, message = beginning_of(tried.error)
        bars.append(
            Bar(
                job=tried.job, attempt=tried.attempt, worker=tried.worker, row=at, begin=tried.started_at,
                end=tried.finished_at, outcome=tried.outcome, kind=tried.kind, handler=tried.handler, owner=tried.owner,
                queue=tried.queue, first=tried.first, inputs=tried.inputs if tried.first is not None else None,
                error=f"{type_}: {message}"[:200] if type_ else None,
            )
        )  # fmt: skip
    return bars
