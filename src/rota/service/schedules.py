"""What people do with schedules: make, look, change, pause, resume, run now, remove. `firing.py` does what goes on by itself.

Each method is told who calls. For a user there are only its owner's schedules; one is named by its id, or by its name,
which is its owner's alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, tzinfo
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace

from rota.core import schedules
from rota.core.access import DEFAULT_OWNER, Caller
from rota.core.calendars import BadRule, Rule, Slot, find_zone
from rota.core.errors import Conflict, Invalid, KeyTaken, NotFound
from rota.core.ids import Ids
from rota.core.jobs import NO_INPUTS, Job, Submission
from rota.core.schedules import MAX_MISSED, Change, Fate, Firing, Missed, Overlap, Schedule
from rota.core.times import SECOND, parse_duration, parse_time, rfc3339
from rota.service import admission, graphs
from rota.service.access import check_owner, check_submission, own_submission
from rota.service.changes import insert_jobs
from rota.service.firing import make_job
from rota.service.handlers import NOBODY, Handlers, Known
from rota.service.observer import Observer
from rota.service.quotas import hold_quotas
from rota.service.signals import Effects, Signals
from rota.service.uniques import take_keys
from rota.store.protocol import Store, Tx

MAX_PREVIEW = 100
_FAR = 100 * 366 * 86400 * SECOND  # what a schedule's times are within, from now
_MAX_JITTER_S = 86400.0
_END = (1 << 63) - 1
_encode = msgspec.json.Encoder().encode
_submission = msgspec.json.Decoder(Submission).decode
_NOT_IN_A_SCHEDULE = {
    "run_at": "the schedule says when its jobs run",
    "delay": "the schedule says when its jobs run",
    "ref": "names a job of a bulk",
    "after": "a schedule's jobs wait for no others",
}


class Timing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule to look at: when it fires, without a schedule."""

    rule: str
    timezone: str | None = None
    starts_at: str | None = None
    ends_at: str | None = None


class NewSchedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule to make: the body of `POST /v1/schedules`.

    `rule` is cron (five fields, or six with seconds in front), `every 15m`, or `at TIME`; `job` is what is submitted at
    each of its slots. Times without a zone are of `timezone`. Without a `name` it is called as its handler is.
    """

    rule: str
    job: Submission
    name: str | None = None
    timezone: str | None = None
    missed: Missed = Missed.ONCE
    missed_limit: int = 100
    overlap: Overlap = Overlap.ALLOW
    jitter: str | float = 0.0
    starts_at: str | None = None
    ends_at: str | None = None


class ScheduleEdit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed of a schedule; what is unset stays. null takes a start or an end away."""

    rule: str | UnsetType = UNSET
    job: Submission | UnsetType = UNSET
    name: str | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    missed: Missed | UnsetType = UNSET
    missed_limit: int | UnsetType = UNSET
    overlap: Overlap | UnsetType = UNSET
    jitter: str | float | UnsetType = UNSET
    starts_at: str | UnsetType | None = UNSET
    ends_at: str | UnsetType | None = UNSET


_RESTARTS = {
    "rule",
    "timezone",
    "starts_at",
    "ends_at",
}  # a change of these makes other slots: those to come count from now


class Schedules:
    """Every method is one transaction. `zone` is that of rules without one, where it has a name; else they are in UTC."""

    def __init__(
        self, store: Store, signals: Signals, observer: Observer, ids: Ids, *, zone: tzinfo, handlers: Handlers
    ) -> None:
        self._store = store
        self._signals = signals
        self._observer = observer
        self._ids = ids
        self._zone: str = getattr(zone, "key", "UTC")
        self._handlers = handlers

    async def add(self, new: NewSchedule, caller: Caller) -> Schedule:
        """Make a schedule. Raises Invalid, TooLarge, Forbidden; Conflict when its owner has one of this name."""
        known = await self._handlers.known()

        async def write(tx: Tx) -> Schedule:
            schedule = self.draw_up(tx, new, caller, known)
            await self.insert(tx, schedule, "created", caller)
            return schedule

        return await self._changed(write)

    def draw_up(self, tx: Tx, new: NewSchedule, caller: Caller, known: Known) -> Schedule:
        """Return a schedule that is checked, and not written. Raises Invalid, TooLarge, Forbidden."""
        job = own_submission(caller, new.job, "job.")
        job = replace(job, owner=job.owner or DEFAULT_OWNER)
        schedule = Schedule(
            id=self._ids.new(tx.now), name=new.name or job.handler or "", owner=job.owner or DEFAULT_OWNER, rule=new.rule,
            timezone=new.timezone or self._zone, job=Raw(_encode(job)), missed=new.missed,
            missed_limit=new.missed_limit, overlap=new.overlap, seen=tx.now, created_at=tx.now, updated_at=tx.now,
        )  # fmt: skip
        _set_times(schedule, new, tx.now)
        self._check(schedule, job, tx.now, known)
        return schedule

    async def insert(self, tx: Tx, schedule: Schedule, what: str, caller: Caller) -> None:
        """Write a new schedule. Raises Conflict when its owner has one of this name."""
        await _check_name_is_free(tx, schedule)
        await tx.insert_schedule(schedule)
        await _note(tx, schedule, what, caller)

    async def get(self, which: str, caller: Caller) -> Schedule:
        """Return a schedule. Raises NotFound; Conflict when several owners have one of this name."""
        return await self._store.read(lambda tx: _find(tx, which, caller))

    async def find(self, caller: Caller, owner: str | None, after: str, limit: int) -> list[Schedule]:
        """Return schedules, the oldest first, from after the id `after` on. Raises Forbidden for another owner's."""
        check_owner(caller, owner, "owner")
        whose = owner if caller.owner is None else caller.owner
        return await self._store.read(lambda tx: tx.list_schedules(whose, after, limit))

    async def edit(self, which: str, edit: ScheduleEdit, caller: Caller) -> Schedule:
        """Change a schedule. What it was before stays in its history. Raises as `add` and `get` do."""
        given = {name for name in edit.__struct_fields__ if getattr(edit, name) is not UNSET}
        job = None if edit.job is UNSET else own_submission(caller, edit.job, "job.")
        known = NOBODY if job is None else await self._handlers.known()

        async def write(tx: Tx) -> Schedule:
            old = await _lock(tx, which, caller)
            schedule = replace(old)
            for name in given - {"job", "jitter", "starts_at", "ends_at"}:
                setattr(schedule, name, getattr(edit, name))
            _set_times(schedule, edit, tx.now)
            wanted = _submission(old.job) if job is None else replace(job, owner=job.owner or old.owner)
            schedule.owner = wanted.owner or old.owner
            schedule.job = Raw(_encode(wanted))
            if given & _RESTARTS:
                schedule.seen = max(tx.now, schedule.seen)
            self._check(schedule, wanted, tx.now, known)
            changed = sorted(name for name, value in settings_of(schedule).items() if value != settings_of(old)[name])
            if not changed:
                return old
            if (schedule.name, schedule.owner) != (old.name, old.owner):
                await _check_name_is_free(tx, schedule)
            if schedule.overlap is Overlap.ALLOW:
                await tx.close_all_firings(schedule.id)
            await update(tx, schedule, "edited: " + ", ".join(changed), caller)
            return schedule

        return await self._changed(write)

    async def pause(self, which: str, caller: Caller) -> Schedule:
        """Let a schedule rest: its slots do not fire, nor does one that waits. Again is fine."""

        async def write(tx: Tx) -> Schedule:
            schedule = await _lock(tx, which, caller)
            if schedule.paused_at is None:
                await self.rest(tx, schedule)
                await update(tx, schedule, "paused", caller)
            return schedule

        return await self._changed(write)

    async def rest(self, tx: Tx, schedule: Schedule) -> None:
        """Give up the slot that waits, and have none to come; the caller writes the schedule."""
        if schedule.waiting is not None:
            slot, why = schedule.waiting, "the schedule was paused"
            await tx.update_firings([Firing(schedule=schedule.id, slot=slot, at=tx.now, fate=Fate.SKIPPED, why=why)])
        schedule.paused_at, schedule.next_at, schedule.waiting = tx.now, None, None

    async def resume(self, which: str, caller: Caller) -> Schedule:
        """Let a paused schedule go on, with the slots that are to come."""

        async def write(tx: Tx) -> Schedule:
            schedule = await _lock(tx, which, caller)
            if schedule.paused_at is not None:
                schedule.paused_at = None
                schedule.seen = max(tx.now, schedule.seen)
                schedule.next_at = schedules.following(schedule, schedule.seen)
                schedule.zone_mark = schedules.mark_of(schedule, tx.now)
                await update(tx, schedule, "resumed", caller)
            return schedule

        return await self._changed(write)

    async def run(self, which: str, caller: Caller) -> Job:
        """Submit the job of a schedule now, whatever its rule says, and whether or not the one before is over."""
        effects = Effects()

        async def write(tx: Tx) -> Job:
            effects.begin()
            schedule = await _lock(tx, which, caller)
            check_submission(caller, _submission(schedule.job), "job.")
            slot = await _free_slot(tx, schedule)
            draft = make_job(schedule, admission.Drafting(self._ids, tx.now, UTC), tx.now, tx.now)
            job = draft.job
            await hold_quotas(tx, [job.owner])
            if draft.wish is not None and (taken := await take_keys(tx, [draft.wish], effects, by=caller.by)):
                other = taken[job.id]
                raise KeyTaken(other.sentence(draft.wish.key), other.job, other.state)
            job.run_at = tx.now  # jitter is for the crowd of a slot
            graphs.place(job, {}, tx.now)
            asks = schedule.overlap is not Overlap.ALLOW
            firing = Firing(
                schedule=schedule.id, slot=slot, at=tx.now, fate=Fate.SUBMITTED, job=job.id, manual=True, open=asks
            )  # fmt: skip
            await tx.insert_firings([firing])
            await insert_jobs(tx, [job], effects, by=caller.by)
            return job

        job = await self._store.write(write)
        self._signals.publish(effects)
        self._observer.submitted(1)
        return job

    async def remove(self, which: str, caller: Caller) -> None:
        """Remove a schedule. Its jobs stay as they are."""

        async def write(tx: Tx) -> None:
            schedule = await _lock(tx, which, caller)
            await tx.close_all_firings(schedule.id)
            await tx.delete_schedule(schedule.id)

        await self._store.write(write)

    async def preview(self, which: str, n: int, caller: Caller) -> list[Slot]:
        """Return the next slots of a schedule, as they would be if it were not paused."""

        async def look(tx: Tx) -> list[Slot]:
            schedule = await _find(tx, which, caller)
            after = max(tx.now, schedule.seen)
            return schedules.preview(schedule, after, n, tx.now + _FAR)

        return await self._store.read(look)

    async def preview_rule(self, timing: Timing, n: int) -> list[Slot]:
        """Return the next slots of a rule. Raises Invalid."""

        async def look(tx: Tx) -> list[Slot]:
            schedule = Schedule(
                id="", name="", owner="", rule=timing.rule, timezone=timing.timezone or self._zone, job=Raw(b"{}"),
                seen=tx.now, created_at=tx.now, updated_at=tx.now,
            )  # fmt: skip
            _set_times(schedule, timing, tx.now)
            check_rule(schedule, tx.now)
            return schedules.preview(schedule, tx.now, n, tx.now + _FAR)

        return await self._store.read(look)

    async def firings(self, which: str, caller: Caller, before: int | None, limit: int) -> list[Firing]:
        """Return what became of a schedule's slots, the newest first, from before the slot `before` on."""

        async def look(tx: Tx) -> list[Firing]:
            schedule = await _find(tx, which, caller)
            return await tx.firings_of(schedule.id, _END if before is None else before, limit)

        return await self._store.read(look)

    async def history(self, which: str, caller: Caller, before: int | None, limit: int) -> list[Change]:
        """Return how a schedule was changed, the newest first, from before the revision `before` on."""

        async def look(tx: Tx) -> list[Change]:
            schedule = await _find(tx, which, caller)
            return await tx.schedule_changes(schedule.id, _END if before is None else before, limit)

        return await self._store.read(look)

    async def _changed(self, write: Callable[[Tx], Awaitable[Schedule]]) -> Schedule:
        schedule = await self._store.write(write)
        if schedule.next_at is not None:
            self._signals.wake_upkeep(schedule.next_at)
        return schedule

    def _check(self, schedule: Schedule, job: Submission, now: int, known: Known) -> None:
        """Check all that a schedule is, and find its next slot. Raises Invalid, TooLarge."""
        if not 1 <= schedule.missed_limit <= MAX_MISSED:
            raise Invalid("missed_limit", f"is between 1 and {MAX_MISSED}")
        for field, why in _NOT_IN_A_SCHEDULE.items():
            if getattr(job, field) not in (None, []):
                raise Invalid(f"job.{field}", why)
        if job.inputs != NO_INPUTS:
            raise Invalid("job.inputs", "a schedule's job is no array")
        admission.draft(job, "job.", self._ids, now, UTC, known=known)
        if not schedule.name:
            raise Invalid("name", "is required where there is no handler to name it after")
        admission.check_name("name", schedule.name, "", colons=True)
        if "/" in schedule.name or schedule.name in ("preview", "deploy"):
            raise Invalid("name", "stands in paths: it has no slash, and is neither preview nor deploy")
        check_rule(schedule, now)


def check_rule(schedule: Schedule, now: int) -> None:
    """Find the next slot of a schedule. Raises Invalid for a rule that is none, or has no slot to come."""
    try:
        schedule.rule = Rule(schedule.rule, schedule.timezone, 0).text
        next_at = schedules.following(schedule, schedule.seen)
        schedule.zone_mark = schedules.mark_of(schedule, now)
    except BadRule as wrong:
        raise Invalid(wrong.field, str(wrong)) from None
    if next_at is None or next_at > now + _FAR:
        bounded = schedule.starts_at is not None or schedule.ends_at is not None
        raise Invalid("rule", f"{schedule.rule!r} has no slot " + ("between start and end" if bounded else "to come"))
    schedule.next_at = next_at if schedule.paused_at is None else None


def _set_times(schedule: Schedule, given: NewSchedule | ScheduleEdit | Timing, now: int) -> None:
    """Set start, end and jitter as they are given; a time without a zone is of the schedule's own."""
    jitter = getattr(given, "jitter", UNSET)
    if jitter is not UNSET:
        try:
            schedule.jitter_s = parse_duration(jitter)
        except ValueError as error:
            raise Invalid("jitter", str(error)) from None
        if schedule.jitter_s > _MAX_JITTER_S:
            raise Invalid("jitter", "is at most a day")
    for field in ("starts_at", "ends_at"):
        text = getattr(given, field)
        if text is not UNSET:
            setattr(schedule, field, None if text is None else _time(field, text, schedule.timezone, now))
    if schedule.starts_at is not None and schedule.ends_at is not None and schedule.ends_at < schedule.starts_at:
        raise Invalid("ends_at", "is before starts_at")


def _time(field: str, text: str, timezone: str, now: int) -> int:
    try:
        at = parse_time(text, find_zone(timezone))
    except BadRule as wrong:
        raise Invalid(wrong.field, str(wrong)) from None
    except ValueError as error:
        raise Invalid(field, str(error)) from None
    if abs(at - now) > _FAR:
        raise Invalid(field, "is within 100 years")
    return at


async def _find(tx: Tx, which: str, caller: Caller) -> Schedule:
    if "\0" in which:  # not all stores can look for it
        raise NotFound("there is no schedule of this name")
    schedule = await tx.get_schedule(which)
    if schedule is None or not caller.sees(schedule.owner):
        named = await tx.schedules_named(which, caller.owner, 2)
        if len(named) > 1:
            raise Conflict(f"several owners have a schedule {which!r}; name it by its id")
        schedule = await tx.get_schedule(named[0]) if named else None
    if schedule is None:
        raise NotFound(f"there is no schedule {which!r}")
    return schedule


async def _lock(tx: Tx, which: str, caller: Caller) -> Schedule:
    found = await tx.lock_schedule((await _find(tx, which, caller)).id)
    if found is None:
        raise NotFound(f"there is no schedule {which!r}")
    return found


async def _free_slot(tx: Tx, schedule: Schedule) -> int:
    """Return a time that is no slot of the rule, and of which nothing has become: about now."""
    slot = tx.now
    while await tx.fired_slots([(schedule.id, slot)]) or _is_slot(schedule, slot):
        slot += 1
    return slot


def _is_slot(schedule: Schedule, at: int) -> bool:
    try:
        return schedules.following(schedule, at - 1) == at
    except BadRule:
        return False


async def _check_name_is_free(tx: Tx, schedule: Schedule) -> None:
    if await tx.schedules_named(schedule.name, schedule.owner, 1):
        raise Conflict(f"{schedule.owner!r} has a schedule {schedule.name!r} already; give another name")


async def update(tx: Tx, schedule: Schedule, what: str, caller: Caller) -> None:
    """Write a change of a schedule, and say so in its history."""
    schedule.updated_at = tx.now
    schedule.revision += 1
    await tx.update_schedule(schedule)
    await _note(tx, schedule, what, caller)


async def _note(tx: Tx, schedule: Schedule, what: str, caller: Caller) -> None:
    settings = Raw(_encode(settings_of(schedule)))
    await tx.append_schedule_change(
        Change(schedule=schedule.id, revision=schedule.revision, at=tx.now, by=caller.by, what=what, settings=settings)
    )


def settings_of(schedule: Schedule) -> dict[str, Any]:
    """Return what people set of a schedule."""
    s = schedule
    times = {name: getattr(s, name) for name in ("starts_at", "ends_at")}
    return {
        "name": s.name, "owner": s.owner, "rule": s.rule, "timezone": s.timezone, "job": s.job, "missed": s.missed,
        "missed_limit": s.missed_limit, "overlap": s.overlap, "jitter": s.jitter_s, "paused": s.paused_at is not None,
        **{name: None if at is None else rfc3339(at) for name, at in times.items()},
    }  # fmt: skip
