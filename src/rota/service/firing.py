"""Fires the slots of schedules: what becomes of each is decided, and its job made, in one transaction.

Every server looks; schedules are taken as due jobs are, and a slot has one row, so that it fires once. `core.schedules`
decides; `service/schedules.py` is what people do with schedules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from rota.core import calendars, schedules
from rota.core.calendars import BadRule
from rota.core.errors import QuotaFull, RotaError
from rota.core.ids import Ids
from rota.core.jobs import Job, Submission
from rota.core.schedules import Fate, Firing, OpenFiring, Overlap, Schedule
from rota.core.states import FINAL, State
from rota.core.times import SECOND, rfc3339
from rota.service import admission, graphs
from rota.service.changes import insert_jobs
from rota.service.graphs import Draft
from rota.service.observer import Observer
from rota.service.quotas import measure, room_of
from rota.service.signals import Effects, Signals
from rota.service.stopping import stop
from rota.service.uniques import Taken, take_keys
from rota.store.protocol import Store, Tx

LABEL = "schedule"  # of the jobs of a schedule: its name
_BATCH = 500
_MOST_SLOTS = 2000  # in a transaction, give or take those of one schedule
_ZONES_S = 3600.0  # how often the rules of zones are looked at
_submission = msgspec.json.Decoder(Submission).decode


class ScheduleUpkeep:
    """What goes on by itself with schedules. Each method is a step that takes its rows in transactions."""

    def __init__(
        self, store: Store, signals: Signals, observer: Observer, ids: Ids, *, monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._signals = signals
        self._observer = observer
        self._ids = ids
        self._monotonic = monotonic
        self._zones_at = 0.0

    async def fire(self) -> int:
        """Decide the slots that have come, and return how many schedules had some."""

        async def write(tx: Tx, effects: Effects) -> tuple[int, int]:
            look = _Look(tx, self._ids)
            due = await tx.due_schedules(_BATCH)
            await look.decide(due, effects)
            return len(due), await look.write(effects, due)

        return await self._do(write)

    async def free(self) -> int:
        """Let slots fire that waited for a job which is over, and return how many schedules had one."""

        async def write(tx: Tx, effects: Effects) -> tuple[int, int]:
            look = _Look(tx, self._ids)
            free = await tx.free_schedules(_BATCH)
            look.free(free)
            return len(free), await look.write(effects, free)

        return await self._do(write)

    async def take_back(self, tx: Tx) -> bool:
        """Let slots come again that a clock decided which was ahead; False when there are more such schedules.

        What fired then does not fire again: its firings are there.
        """
        ahead = await tx.schedules_ahead(tx.now + SECOND, _BATCH)
        for schedule in ahead:
            schedule.seen = tx.now
            _find_next(schedule, tx.now)
        await tx.move_schedules(ahead)
        return len(ahead) < _BATCH

    @property
    def zones_due(self) -> bool:
        """Say whether it is time to look at the rules of zones."""
        return self._monotonic() >= self._zones_at

    async def look_at_zones(self) -> int:
        """Find next slots anew where the rules of a zone have changed: at the start, and once an hour."""
        schedules.read_zones_anew()
        stale = [zone for zone in await self._store.read(lambda tx: tx.zone_marks()) if not _is_current(*zone)]
        moved = 0
        for zone, mark in stale:
            more = True
            while more:

                async def write(tx: Tx, zone: str = zone, mark: str = mark) -> int:
                    found = await tx.schedules_by_mark(zone, mark, _BATCH)
                    for schedule in found:
                        _find_next(schedule, tx.now)
                    await tx.move_schedules(found)
                    return len(found)

                n = await self._store.write(write)
                moved += n
                more = n == _BATCH
        self._zones_at = self._monotonic() + _ZONES_S
        return moved

    async def _do(self, step: Callable[[Tx, Effects], Awaitable[tuple[int, int]]]) -> int:
        effects = Effects()

        async def write(tx: Tx) -> tuple[int, int]:
            effects.begin()
            return await step(tx, effects)

        looked_at, jobs = await self._store.write(write)
        self._signals.publish(effects)
        if jobs:
            self._observer.submitted(jobs)
        return looked_at


class _Plan(Struct):
    """A due schedule, the slots that have come, and those of its firings whose jobs may not be over.

    `broken` says why its rule cannot be read any more.
    """

    schedule: Schedule
    due: schedules.Due
    open: list[OpenFiring] = []
    lives: bool = False
    broken: str | None = None


class _Look:
    """One look at schedules that are held: collects what becomes of their slots, and writes it."""

    def __init__(self, tx: Tx, ids: Ids) -> None:
        self._tx = tx
        self._drafting = admission.Drafting(ids, tx.now, UTC)
        self._drafts: list[Draft] = []
        self._new: list[Firing] = []
        self._changed: list[Firing] = []
        self._closed: list[OpenFiring] = []

    async def decide(self, due: list[Schedule], effects: Effects) -> None:
        """Decide the slots of due schedules; those there is no room for are taken off the list, and come next time."""
        tx = self._tx
        plans = self._plans(due)
        del due[len(plans) :]
        slots = [
            (plan.schedule.id, slot) for plan in plans for slot in (*plan.due.fire, plan.due.missed) if slot is not None
        ]
        fired = await tx.fired_slots(slots)
        opened: defaultdict[str, list[OpenFiring]] = defaultdict(list)
        for firing in await tx.open_firings([p.schedule.id for p in plans if p.schedule.overlap is not Overlap.ALLOW]):
            opened[firing.schedule].append(firing)
        for plan in plans:
            plan.open = opened[plan.schedule.id]
            plan.lives = any(firing.lives for firing in plan.open)
            self._closed += [firing for firing in plan.open if not firing.lives]
        await self._stop_old(
            [p for p in plans if p.lives and p.due.fire and p.schedule.overlap is Overlap.ABORT], effects
        )
        for plan in plans:
            self._settle(plan, fired)

    def free(self, free: Sequence[Schedule]) -> None:
        """Fire the slots that waited."""
        for schedule in free:
            assert schedule.waiting is not None
            self._changed.append(self._fire(schedule, schedule.waiting))
            schedule.waiting = None

    async def write(self, effects: Effects, looked_at: Sequence[Schedule]) -> int:
        """Write what was decided, and return how many jobs that makes."""
        tx = self._tx
        await self._refuse_over_quota()
        jobs = await self._with_keys(effects)
        await tx.close_firings(self._closed)
        await tx.insert_firings(self._new)
        await tx.update_firings(self._changed)
        await tx.move_schedules(looked_at)
        await insert_jobs(tx, jobs, effects, by="schedule", admitted=True)  # its name is their label
        return len(jobs)

    async def _refuse_over_quota(self) -> None:
        """Refuse the firings whose jobs their owners have no room for."""
        measure(draft.job for draft in self._drafts)
        room = await room_of(self._tx, {draft.job.owner for draft in self._drafts})
        refused: dict[str | None, str] = {}
        for draft in self._drafts:
            try:
                room.take(draft.job.owner, draft.job.size)
            except QuotaFull as full:
                refused[draft.job.id] = str(full)
        if refused:
            self._drafts = [draft for draft in self._drafts if draft.job.id not in refused]
            for firings in (self._new, self._changed):
                for at, firing in enumerate(firings):
                    if firing.job in refused:
                        why = refused[firing.job]
                        firings[at] = replace(firing, fate=Fate.REFUSED, job=None, why=why, open=False)

    async def _with_keys(self, effects: Effects) -> list[Job]:
        """Take the unique keys of the jobs, and return the jobs that there are to be then; of the others their firings tell."""
        wishes = [draft.wish for draft in self._drafts if draft.wish is not None]
        taken = await take_keys(self._tx, wishes, effects, by="schedule") if wishes else {}
        for firings in (self._new, self._changed) if taken else ():
            for at, firing in enumerate(firings):
                if firing.job in taken:
                    firings[at] = without_key(firing, taken[firing.job])
        return [draft.job for draft in self._drafts if draft.job.id not in taken]

    def _plans(self, due: Iterable[Schedule]) -> list[_Plan]:
        plans: list[_Plan] = []
        room = _MOST_SLOTS
        for schedule in due:
            if room <= 0:
                break
            try:
                plan = _Plan(schedule, schedules.due(schedule, self._tx.now))
                schedule.zone_mark = schedules.mark_of(schedule, self._tx.now)
            except BadRule as wrong:  # a zone that is no more, a rule that is read otherwise now: it cannot go on
                assert schedule.next_at is not None
                plan = _Plan(schedule, schedules.Due([schedule.next_at], None, None), broken=str(wrong))
            room -= len(plan.due.fire)
            plans.append(plan)
        return plans

    async def _stop_old(self, plans: Sequence[_Plan], effects: Effects) -> None:
        """Stop the jobs before, in favour of the slots that have come; what has not started is over at once."""
        names = {firing.job: plan for plan in plans for firing in plan.open if firing.lives}
        for plan in plans:
            plan.lives = False
        for id_, job in (await self._tx.lock_jobs(names)).items():
            plan = names[id_]
            if job.state not in FINAL:
                plan.lives = plan.lives or job.state is State.RUNNING
                await stop(self._tx, job, effects, by=by_of(plan.schedule), why="its next slot has come")

    def _settle(self, plan: _Plan, fired: set[tuple[str, int]]) -> None:
        schedule, due = plan.schedule, plan.due
        if due.missed is not None and (schedule.id, due.missed) not in fired:
            why = f"nobody looked before {rfc3339(self._tx.now)}"
            self._new.append(self._firing(schedule, due.missed, Fate.MISSED, why=why))
        slots = [slot for slot in due.fire if (schedule.id, slot) not in fired]
        decided = schedules.overlapping(schedule.overlap, slots, lives=plan.lives, waits=schedule.waiting)
        for slot, fate in decided.fates:
            if plan.broken is not None:
                firing = self._firing(schedule, slot, Fate.REFUSED, why=plan.broken)
            elif fate is Fate.SUBMITTED:
                firing = self._fire(schedule, slot)
            else:
                firing = self._firing(schedule, slot, fate)
            self._new.append(firing)
        if decided.given_up is not None:
            self._give_up(schedule, decided.given_up)
        schedule.waiting = decided.waits
        schedule.seen = max(schedule.seen, self._tx.now)
        schedule.next_at = due.next_at

    def _give_up(self, schedule: Schedule, slot: int) -> None:
        skipped = self._firing(schedule, slot, Fate.SKIPPED, why="a newer slot waits in its place")
        at = next(
            (at for at, firing in enumerate(self._new) if (firing.schedule, firing.slot) == (schedule.id, slot)), None
        )
        if at is None:
            self._changed.append(skipped)
        else:
            self._new[at] = skipped

    def _fire(self, schedule: Schedule, slot: int) -> Firing:
        try:
            draft = make_job(schedule, self._drafting, self._tx.now, slot)
        except (RotaError, msgspec.MsgspecError) as refused:
            return self._firing(schedule, slot, Fate.REFUSED, why=str(refused)[:300].replace("\0", " "))
        self._drafts.append(draft)
        return self._firing(schedule, slot, Fate.SUBMITTED, job=draft.job.id)

    def _firing(
        self, schedule: Schedule, slot: int, fate: Fate, *, job: str | None = None, why: str | None = None
    ) -> Firing:
        is_open = job is not None and schedule.overlap is not Overlap.ALLOW
        return Firing(schedule=schedule.id, slot=slot, at=self._tx.now, fate=fate, job=job, why=why, open=is_open)


def make_job(schedule: Schedule, drafting: admission.Drafting, now: int, slot: int) -> Draft:
    """Return the job of a slot, which runs then, or at once if that has passed. Raises Invalid, TooLarge, MsgspecError."""
    draft = drafting.draft(_submission(schedule.job), "job.")
    job = draft.job
    job.labels = {LABEL: schedule.name, **(job.labels or {})}
    job.run_at = max(now, schedules.runs_at(schedule, slot))
    graphs.place(job, {}, now)
    return draft


def without_key(firing: Firing, taken: Taken) -> Firing:
    """Return what a firing is whose job's unique key another job has."""
    why = f"job {taken.job} has its unique key"
    if taken.stands:
        return replace(firing, job=taken.job, why=why)
    return replace(firing, fate=Fate.REFUSED, job=None, why=why, open=False)


def by_of(schedule: Schedule) -> str:
    """Return how events name a schedule as the one who did something."""
    return f"schedule {schedule.name}"


def _find_next(schedule: Schedule, now: int) -> None:
    """Find the next slot anew, unless there is to be none."""
    if schedule.paused_at is None:
        try:
            schedule.next_at = schedules.following(schedule, schedule.seen)
            schedule.zone_mark = schedules.mark_of(schedule, now)
        except BadRule:
            schedule.next_at = None


def _is_current(zone: str, mark: str) -> bool:
    try:
        return calendars.is_current(zone, mark)
    except BadRule:
        return False
