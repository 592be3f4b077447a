"""How events are kept: one to a row, or many that differ in nothing but their jobs in one.

A bulk of submissions, a claim of a hundred jobs, a hundred successes that were reported together: each is one row, which
has the last event's number and job, and in `others` the jobs of those before it, whose numbers go down from there one by
one. So a job costs neither a row nor entries of indexes for them. What finds a job's part in such a row is the row's time,
which stands in the job's own row, or its attempt's: only events for which that holds may share one (`NewEvent.shared`).

A job that is deleted is taken out of the rows that it shares: its place stays empty, and a row of which nothing is left goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rota.core.jobs import Event
from rota.store.rows import STATES, NewEvent

_MOST = 500  # events in a row
_BETWEEN = ","  # jobs; an id has none


class EventRow(NamedTuple):
    """`n` events, of which `job` is the last one's, and `others` those of the others, if there are any."""

    n: int
    job: str
    owner: str
    kind: str
    state: str
    attempt: int
    by: str | None
    why: str | None
    others: str | None


class SharedRow(NamedTuple):
    """A row of events, or of what is left of them."""

    seq: int
    job: str
    others: str | None

    def places(self) -> list[str]:
        """Return the jobs, the last one's number being `seq`; an empty text stands for one that was deleted."""
        return [*_jobs(self.others), self.job]

    def without(self, gone: set[str]) -> SharedRow | None:
        """Return the row without these jobs; None: nothing is left."""
        places = ["" if job in gone else job for job in self.places()]
        first = next((at for at, job in enumerate(places) if job), None)
        return None if first is None else SharedRow(self.seq, places[-1], _BETWEEN.join(places[first:-1]) or None)


def taken_out(jobs: set[str], rows: Iterable[Sequence[Any]]) -> tuple[list[SharedRow], list[int]]:
    """Return what becomes of rows (seq, job, others) without these jobs: those of which less is left, and the numbers of those
    that go."""
    trimmed, gone = [], []
    for row in rows:
        shared = SharedRow(*row)
        left = shared.without(jobs)
        if left is None:
            gone.append(shared.seq)
        elif left != shared:
            trimmed.append(left)
    return trimmed, gone


def rows_of(events: Sequence[NewEvent]) -> list[EventRow]:
    """Return the rows of events, in the order in which they are numbered; that of the events of one job stays."""
    rows: list[tuple[NewEvent, list[str]]] = []
    alike: dict[tuple[Any, ...], list[str]] = {}
    kind = None  # of the events that are being brought together: of one kind a job has one in a transaction
    for event in events:
        if not event.shared or event.kind != kind:
            alike.clear()
            kind = event.kind
        if not event.shared:
            rows.append((event, [event.job]))
            continue
        what = (event.owner, event.state, event.attempt, event.by, event.why)
        jobs = alike.get(what)
        if jobs is None or len(jobs) == _MOST:
            alike[what] = jobs = []
            rows.append((event, jobs))
        jobs.append(event.job)
    return [
        EventRow(
            len(jobs), jobs[-1], e.owner, e.kind, e.state, e.attempt, e.by, e.why, _BETWEEN.join(jobs[:-1]) or None
        )
        for e, jobs in rows
    ]


def event_of(row: Sequence[Any]) -> Event:
    """Return the event of a row (seq, at, job, owner, kind, state, attempt, by, why, …), the last one if several share it."""
    return Event(
        seq=row[0], at=row[1], job=row[2], owner=row[3], kind=row[4], state=STATES[row[5]], attempt=row[6], by=row[7],
        why=row[8],
    )  # fmt: skip


def spread(rows: Iterable[Sequence[Any]], after: int, limit: int) -> list[Event]:
    """Return the events of rows (as `event_of` takes them, with `others`) whose numbers are higher than `after`.

    Takes no more rows than it needs.
    """
    found: list[Event] = []
    for row in rows:
        found += [event for event in _spread(row) if event.seq > after]
        if len(found) >= limit:
            break
    return found[:limit]


def of_job(
    job: str, own: Iterable[Sequence[Any]], shared: Iterable[Sequence[Any]], after: int, limit: int
) -> list[Event]:
    """Return a job's events: its `own` rows, the first `limit` after `after`, and its part in those that it may share."""
    found = [event_of(row) for row in own]
    found += [event for row in shared for event in _spread(row) if event.job == job and event.seq > after]
    return sorted(found, key=lambda event: event.seq)[:limit]


def is_there(seq: int, row: SharedRow | None) -> bool:
    """Say whether there is an event of this number, from the first row that does not come before it."""
    if row is None:
        return False
    places = row.places()
    at = len(places) - 1 - (row.seq - seq)
    return at >= 0 and places[at] != ""


def _spread(row: Sequence[Any]) -> Iterator[Event]:
    others = _jobs(row[9])
    for number, job in enumerate(others, row[0] - len(others)):
        if job:
            yield event_of((number, row[1], job, *row[3:]))
    if row[2]:
        yield event_of(row)


def _jobs(others: str | None) -> list[str]:
    return [] if others is None else others.split(_BETWEEN)
