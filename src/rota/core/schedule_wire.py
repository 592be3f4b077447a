"""Schedules, slots and firings as JSON: what `/v1` sends and the client reads. Times are RFC 3339, in UTC."""

from __future__ import annotations

from msgspec import Raw, Struct

from rota.core.calendars import ClockChange, Slot
from rota.core.schedules import Change, Firing, Schedule
from rota.core.times import rfc3339


class ScheduleView(Struct, kw_only=True):
    """A schedule in JSON. `job` is what is submitted at each slot; `waiting` the slot that waits for the job before.

    `origin` is the app whose code declares it.

    `next_at` is null while it is paused (since `paused_at`), and when it has no slot any more; `jitter` is in seconds.
    """

    id: str
    name: str
    owner: str
    rule: str
    timezone: str
    job: Raw
    missed: str
    missed_limit: int
    overlap: str
    jitter: float
    starts_at: str | None
    ends_at: str | None
    paused_at: str | None
    next_at: str | None
    waiting: str | None
    created_at: str
    updated_at: str
    revision: int
    origin: str | None


class SlotView(Struct, kw_only=True):
    """A slot to come, as the wall clock shows it. `clock`: it is set about then: this time of day is `skipped`, or this
    is the `first` or the `second` time that it shows it.
    """

    at: str
    local: str
    offset: int
    clock: ClockChange | None


class FiringView(Struct, kw_only=True):
    """What became of a slot, and when: `submitted` (then `job` is its job), `waiting`, `skipped`, `missed`, `refused`."""

    slot: str
    at: str
    fate: str
    job: str | None
    why: str | None
    manual: bool


class ChangeView(Struct, kw_only=True):
    """A change of a schedule: `what` was done, `by` whom (null: without a token), and its settings from then on."""

    revision: int
    at: str
    by: str | None
    what: str
    settings: Raw


def schedule_view(s: Schedule) -> ScheduleView:
    """Render a schedule."""
    return ScheduleView(
        id=s.id, name=s.name, owner=s.owner, rule=s.rule, timezone=s.timezone, job=s.job, missed=s.missed.value,
        missed_limit=s.missed_limit, overlap=s.overlap.value, jitter=s.jitter_s, starts_at=_time(s.starts_at),
        ends_at=_time(s.ends_at), paused_at=_time(s.paused_at), next_at=_time(s.next_at), waiting=_time(s.waiting),
        created_at=rfc3339(s.created_at), updated_at=rfc3339(s.updated_at), revision=s.revision, origin=s.origin,
    )  # fmt: skip


def slot_view(slot: Slot) -> SlotView:
    """Render a slot to come."""
    return SlotView(at=rfc3339(slot.at), local=slot.local, offset=slot.offset_s, clock=slot.clock)


def firing_view(f: Firing) -> FiringView:
    """Render a firing."""
    return FiringView(slot=rfc3339(f.slot), at=rfc3339(f.at), fate=f.fate.value, job=f.job, why=f.why, manual=f.manual)


def change_view(change: Change) -> ChangeView:
    """Render a line of a schedule's history."""
    c = change
    return ChangeView(revision=c.revision, at=rfc3339(c.at), by=c.by, what=c.what, settings=c.settings)


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
