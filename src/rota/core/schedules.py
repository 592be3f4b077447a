"""Schedules: which of their slots fire when a server looks. Pure.

Slots are decided in order and once each: `seen` is the time up to which a schedule's slots are decided, and a firing has its
own row, unique by schedule and slot. So it does not matter how many servers look, how often, or when one was last there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

from msgspec import Raw, Struct

from rota.core import calendars
from rota.core.calendars import Rule, Slot
from rota.core.states import FINAL, State
from rota.core.times import SECOND, from_micros

LATE = 60 * SECOND  # a slot that nobody saw for so long was missed
MAX_MISSED = 1000  # slots that fire at once when a server is back

rule_of = lru_cache(maxsize=10_000)(Rule)  # of (text, zone, anchor): to read one costs more than a slot


class Missed(StrEnum):
    """What becomes of slots that passed while no server was there, or that were seen too late."""

    SKIP = "skip"  # nothing: the newest fires if it is no older than a minute
    ONCE = "once"  # the newest fires, however old it is
    ALL = "all"  # they all fire, at most `missed_limit` of them: the newest


class Overlap(StrEnum):
    """What becomes of a slot while a job of the schedule is not over."""

    ALLOW = "allow"  # it fires
    SKIP = "skip"  # it does not
    QUEUE = "queue"  # it fires when that job is over; one slot waits, others that come meanwhile do not fire
    ABORT = "abort"  # that job is aborted, and it fires when it is over; of several that come meanwhile the newest


class Fate(StrEnum):
    """What became of a slot."""

    SUBMITTED = "submitted"  # a job was made
    WAITING = "waiting"  # for the job before
    SKIPPED = "skipped"  # because of the job before
    MISSED = "missed"  # nobody looked in time
    REFUSED = "refused"  # the job could not be made any more


class Schedule(Struct, kw_only=True):
    """A rule that submits jobs. Times are microseconds since 1970.

    `job` is the submission, as JSON; `seen` the time up to which slots are decided, `next_at` the next slot, None when there
    is none any more or the schedule is paused; `waiting` the slot that waits for the job before. `zone_mark` is the
    fingerprint of the zone's rules that `next_at` was found with; `revision` counts changes.
    """

    id: str
    name: str
    owner: str
    rule: str
    timezone: str
    job: Raw
    missed: Missed = Missed.ONCE
    missed_limit: int = 100
    overlap: Overlap = Overlap.ALLOW
    jitter_s: float = 0.0
    starts_at: int | None = None
    ends_at: int | None = None
    paused_at: int | None = None
    seen: int
    next_at: int | None = None
    waiting: int | None = None
    zone_mark: str = ""
    created_at: int
    updated_at: int
    revision: int = 1
    origin: str | None = None  # the app whose code declares it
    deployed: str | None = None  # the fingerprint of what that declared; empty when it was paused because it is gone


class Firing(Struct, frozen=True, kw_only=True):
    """What became of one slot, and when; `job` is the one that was made. `manual`: somebody asked for it.

    `open` says that its job may not be over, and that slots to come have to ask.
    """

    schedule: str
    slot: int
    at: int
    fate: Fate
    job: str | None = None
    why: str | None = None
    manual: bool = False
    open: bool = False


class OpenFiring(Struct, frozen=True):
    """A firing that is `open`; `state` is its job's, None when that was removed."""

    schedule: str
    slot: int
    job: str
    state: State | None

    @property
    def lives(self) -> bool:
        """Say whether its job is not over."""
        return self.state is not None and self.state not in FINAL


class Change(Struct, frozen=True, kw_only=True):
    """A change of a schedule: what was done, by whom, and what its settings were from then on."""

    schedule: str
    revision: int
    at: int
    by: str | None
    what: str
    settings: Raw


class Due(Struct, frozen=True):
    """What a look at a schedule decides: slots that fire, the newest last, the oldest of those that were missed, the next."""

    fire: list[int]
    missed: int | None
    next_at: int | None


class Fates(Struct):
    """What becomes of slots that fire, in view of the job before: each one's fate, and the slot that `waits` from now on.

    `given_up` is the slot that waited, and gave way to a newer one.
    """

    fates: list[tuple[int, Fate]]
    waits: int | None
    given_up: int | None = None


def overlapping(policy: Overlap, slots: Sequence[int], *, lives: bool, waits: int | None) -> Fates:
    """Decide what becomes of slots, the newest last, while a job of the schedule `lives`, or the slot `waits`."""
    if policy is Overlap.ALLOW:
        return Fates([(slot, Fate.SUBMITTED) for slot in slots], waits)
    decided = Fates([], waits)
    if policy is Overlap.ABORT and slots:  # only the newest is wanted
        decided.fates = [(slot, Fate.SKIPPED) for slot in slots[:-1]]
        slots = slots[-1:]
    for slot in slots:
        fate = Fate.SKIPPED
        if not lives and decided.waits is None:
            fate, lives = Fate.SUBMITTED, True
        elif policy is Overlap.ABORT or (policy is Overlap.QUEUE and decided.waits is None):
            fate, decided.waits, decided.given_up = Fate.WAITING, slot, decided.waits
        decided.fates.append((slot, fate))
    return decided


def read_zones_anew() -> None:
    """Forget the rules of all zones, and all rules that were made with them."""
    calendars.read_zones_anew()
    rule_of.cache_clear()


def mark_of(schedule: Schedule, now: int) -> str:
    """Return the mark of a schedule's zone, from this year on."""
    return calendars.zone_mark(schedule.timezone, from_micros(now).year)


def following(schedule: Schedule, after: int) -> int | None:
    """Return the first slot after a time, within the schedule's start and end; None when there is none."""
    if schedule.starts_at is not None:
        after = max(after, schedule.starts_at - 1)
    slot = _rule(schedule).after(after)
    return None if slot is None or (schedule.ends_at is not None and slot > schedule.ends_at) else slot


def preview(schedule: Schedule, after: int, n: int, until: int) -> list[Slot]:
    """Return the next `n` slots after a time, at most until another, as people want to see them."""
    if schedule.starts_at is not None:
        after = max(after, schedule.starts_at - 1)
    return _rule(schedule).preview(after, n, until if schedule.ends_at is None else min(until, schedule.ends_at))


def due(schedule: Schedule, now: int) -> Due:
    """Decide the slots that have come since `seen`, of which `next_at` is the first."""
    first = schedule.next_at
    if first is None or first > now:
        return Due([], None, first)
    following_at = following(schedule, first)
    if following_at is None or following_at > now:  # as nearly always
        slots, next_at = [first], following_at
    else:
        limit = schedule.missed_limit if schedule.missed is Missed.ALL else 1
        slots, next_at = _newest(schedule, now, limit, apart=following_at - first), following(schedule, now)
    fire = slots
    if schedule.missed is Missed.SKIP and now - slots[-1] > LATE:
        fire = []
    return Due(fire, first if first not in fire else None, next_at)


def runs_at(schedule: Schedule, slot: int) -> int:
    """Return when the job of a slot is to run: up to `jitter_s` later, always as much for the same slot."""
    spread = round(schedule.jitter_s * SECOND)
    if spread == 0:
        return slot
    digest = hashlib.blake2b(f"{schedule.id} {slot}".encode(), digest_size=8).digest()
    return slot + int.from_bytes(digest) % spread


def _newest(schedule: Schedule, now: int, n: int, *, apart: int) -> list[int]:
    """Return the newest `n` slots that are not decided, in order, without walking over all of a long outage.

    `apart` is how far apart two slots are, for a guess at where to begin.
    """
    begin = schedule.seen if schedule.starts_at is None else max(schedule.seen, schedule.starts_at - 1)
    end = now if schedule.ends_at is None else min(now, schedule.ends_at)
    window = apart * n + SECOND
    while True:
        since = max(begin, end - window)
        slots = list(_rule(schedule).slots(since, end))
        if len(slots) >= n or since <= begin:
            return slots[-n:]
        window *= 8


def _rule(schedule: Schedule) -> Rule:
    counts = schedule.rule.startswith("every")  # no other rule has an anchor
    anchor = schedule.created_at if schedule.starts_at is None else schedule.starts_at
    return rule_of(schedule.rule, schedule.timezone, anchor if counts else 0)
