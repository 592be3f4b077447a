"""Schedules that code declares, brought into the store: what is new is made, what changed is edited, what is gone rests.

All that an app declares is one set, in force until another one is. A set that was replaced does not come back by itself, so
that an older program which still runs somewhere undoes nothing. Schedules that people made are left alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from rota.core.access import Caller
from rota.core.errors import Conflict, Invalid
from rota.core.schedules import Overlap, Schedule
from rota.service.admission import check_name
from rota.service.handlers import NOBODY
from rota.service.schedules import NewSchedule, Schedules, check_rule, update
from rota.service.signals import Signals
from rota.store.protocol import Store, Tx

MAX_DECLARED = 1000
_REMEMBERED = 100  # sets of an app
_DECLARED = (
    "rule", "timezone", "job", "missed", "missed_limit", "overlap", "jitter_s", "starts_at", "ends_at",
)  # fmt: skip
_SLOTS = frozenset({"rule", "timezone", "starts_at", "ends_at"})
_encode = msgspec.json.Encoder(order="deterministic").encode
What = Literal["created", "edited", "resumed", "paused", "removed", "kept"]


class Deploy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All schedules that an app, `origin`, declares: the body of `POST /v1/schedules/deploy`.

    `prune` removes those that it declares no more, instead of pausing them; `anyway` deploys a set that was replaced before;
    `dry_run` writes nothing.
    """

    origin: str
    schedules: list[NewSchedule]
    prune: bool = False
    anyway: bool = False
    dry_run: bool = False


class Deployed(Struct, frozen=True):
    """What became of a schedule."""

    name: str
    owner: str
    what: What


class Deployment(Struct, frozen=True, kw_only=True):
    """What a deploy has done. `older`: nothing, for this set was replaced by another one before."""

    origin: str
    older: bool
    schedules: list[Deployed]


class _Undone(Exception):
    def __init__(self, done: Deployment) -> None:
        self.done = done


class Deploys:
    """Deploys what code declares."""

    def __init__(self, store: Store, signals: Signals, schedules: Schedules) -> None:
        self._store = store
        self._signals = signals
        self._schedules = schedules

    async def deploy(self, deploy: Deploy, caller: Caller) -> Deployment:
        """Bring all schedules of an app in line with its code, or none. Raises Invalid, TooLarge, Forbidden, Conflict."""
        check_name("origin", deploy.origin, "", colons=True)
        if len(deploy.schedules) > MAX_DECLARED:
            raise Invalid("schedules", f"are at most {MAX_DECLARED}")

        async def write(tx: Tx) -> Deployment:
            done = await self._deploy(tx, deploy, caller)
            if deploy.dry_run:
                raise _Undone(done)
            return done

        try:
            done = await self._store.write(write)
        except _Undone as undone:
            return undone.done
        self._signals.wake_upkeep(0)
        return done

    async def _deploy(self, tx: Tx, deploy: Deploy, caller: Caller) -> Deployment:
        await tx.put_deploy(deploy.origin, "")  # whoever deploys the same app waits here
        digest = _digest(b"\n".join(sorted(_encode(new) for new in deploy.schedules)))
        before = await tx.deploys_of(deploy.origin, _REMEMBERED)
        if digest in before[1:] and not deploy.anyway:
            return Deployment(origin=deploy.origin, older=True, schedules=[])
        await tx.put_deploy(deploy.origin, digest)
        there = {(s.name, s.owner): s for s in await tx.schedules_of_origin(deploy.origin)}
        told = []
        for at, new in enumerate(deploy.schedules):
            try:
                told.append(await self._bring(tx, deploy.origin, new, there, caller))
            except Invalid as wrong:
                raise Invalid(f"schedules[{at}].{wrong.field}", wrong.message) from None
        told += await self._drop(tx, list(there.values()), caller, prune=deploy.prune)
        return Deployment(origin=deploy.origin, older=False, schedules=told)

    async def _bring(
        self, tx: Tx, origin: str, new: NewSchedule, there: dict[tuple[str, str], Schedule], caller: Caller
    ) -> Deployed:
        """Make a schedule as it is declared; what is found of it is taken out of `there`."""
        wanted = self._schedules.draw_up(tx, new, caller, NOBODY)  # its handler's new version may not be there yet
        wanted.origin, wanted.deployed = origin, _digest(_encode(new))
        old = there.pop((wanted.name, wanted.owner), None)
        if old is None:
            try:
                await self._schedules.insert(tx, wanted, f"deployed by {origin}", caller)
            except Conflict:
                raise Conflict(
                    f"{wanted.owner!r} has a schedule {wanted.name!r} that {origin} did not declare, or declares twice; "
                    "remove it, or give another name"
                ) from None
            return Deployed(wanted.name, wanted.owner, "created")
        back = old.deployed == ""
        if old.deployed == wanted.deployed:
            return Deployed(old.name, old.owner, "kept")
        changed = [name for name in _DECLARED if getattr(old, name) != getattr(wanted, name)]
        for name in changed:
            setattr(old, name, getattr(wanted, name))
        old.deployed = wanted.deployed
        if back:
            old.paused_at = None
        if back or _SLOTS & set(changed):
            old.seen = max(tx.now, old.seen)
        check_rule(old, tx.now)
        if old.overlap is Overlap.ALLOW:
            await tx.close_all_firings(old.id)
        await update(tx, old, f"deployed by {origin}: " + (", ".join(changed) or "it is back"), caller)
        return Deployed(old.name, old.owner, "resumed" if back else "edited")

    async def _drop(self, tx: Tx, gone: Sequence[Schedule], caller: Caller, *, prune: bool) -> list[Deployed]:
        """Remove, or let rest, what is declared no more. What somebody has paused stays as it is."""
        told = []
        for schedule in gone:
            if prune:
                await tx.close_all_firings(schedule.id)
                await tx.delete_schedule(schedule.id)
                told.append(Deployed(schedule.name, schedule.owner, "removed"))
            elif schedule.paused_at is None:
                await self._schedules.rest(tx, schedule)
                schedule.deployed = ""
                await update(tx, schedule, "paused: the code declares it no more", caller)
                told.append(Deployed(schedule.name, schedule.owner, "paused"))
        return told


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()
