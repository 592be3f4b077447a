"""Owners: what is set for them, which share each gets, and what each has used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from rota.core.access import Caller
from rota.core.errors import Invalid, NotFound
from rota.core.fairness import MAX_WEIGHT, MIN_WEIGHT, START, Turn
from rota.core.owners import Owner, OwnerUse, Running, ShareView, TurnView
from rota.core.quotas import MOST, Kept, Places
from rota.core.times import SECOND
from rota.service import admission
from rota.service.signals import Signals
from rota.store.protocol import Store, Tx

_MOST_ROWS = 20_000  # of turns that are looked at to say who is active
_MOST_COUNTED = 10_000
_MOST_SHOWN = 100
MINUTE = 60 * SECOND
HOUR = 60  # minutes
_FLUSH_S = 10.0
_BATCH = 500
_KEPT = ("max_waiting", "max_bytes")
_QUOTAS = (*_KEPT, "max_running")


class OwnerEdit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be set for an owner; what is unset stays, and null takes a limit away."""

    weight: float | UnsetType = UNSET
    max_priority: int | UnsetType | None = UNSET
    max_waiting: int | UnsetType | None = UNSET
    max_running: int | UnsetType | None = UNSET
    max_bytes: int | UnsetType | None = UNSET


class Owners:
    """Every method is one transaction. A user sees its own owner, and no other."""

    def __init__(self, store: Store, signals: Signals) -> None:
        self._store = store
        self._signals = signals

    async def find(self, caller: Caller, after: str, limit: int) -> list[Owner]:
        """Return a page of the owners that have jobs, or that something was set for, by name."""
        if caller.owner is not None:
            return [await self.get(caller.owner, caller)] if after < caller.owner else []

        async def look(tx: Tx) -> list[Owner]:
            return await _with_use(tx, await tx.owners_after(after, limit))

        return await self._store.read(look)

    async def get(self, owner: str, caller: Caller) -> Owner:
        """Return what is set for an owner. Raises NotFound for another one than the caller sees."""
        _check(owner, caller)

        async def look(tx: Tx) -> Owner:
            found = (await tx.get_owners([owner])).get(owner, Owner(owner=owner))
            return (await _with_use(tx, [found]))[0]

        return await self._store.read(look)

    async def edit(self, owner: str, edit: OwnerEdit, caller: Caller) -> Owner:
        """Set what is given. It counts from the next start, and the next submission, on.

        Raises Invalid, also for a quota below what is in use, NotFound.
        """
        _check(owner, caller)
        if edit.weight is not UNSET and not MIN_WEIGHT <= edit.weight <= MAX_WEIGHT:
            raise Invalid("weight", f"is between {MIN_WEIGHT} and {MAX_WEIGHT:g}; 1 is what everybody has")
        if isinstance(edit.max_priority, int) and not 0 <= edit.max_priority <= admission.MAX_PRIORITY:
            raise Invalid("max_priority", f"is between 0 and {admission.MAX_PRIORITY}, or null for no limit")
        for name in _QUOTAS:
            value = getattr(edit, name)
            if isinstance(value, int) and not 0 <= value <= MOST:
                raise Invalid(name, f"is between 0 and {MOST:,}, or null for no quota")
        given = {name: value for name in edit.__struct_fields__ if (value := getattr(edit, name)) is not UNSET}

        async def write(tx: Tx) -> Owner:
            before = await tx.lock_owner(owner)
            changed = replace(before, **given)
            if _is_kept(changed) and any(given.get(name) is not None for name in _KEPT):
                _check_use(given, await tx.count_kept(owner))
            elif _is_kept(before) and not _is_kept(changed):
                await tx.forget_kept(owner)
            if given.get("max_running") is not None:
                await tx.hold_places([owner])
            await tx.put_owner(changed)
            if given.get("max_running") is not None:
                _check_places((await tx.places_of([owner]))[owner])
            return (await _with_use(tx, [changed]))[0]

        return await self._store.write(write)

    async def share(self, owner: str, caller: Caller) -> ShareView:
        """Return what an owner gets and uses now, and in the last hour. Raises NotFound as `get` does."""
        _check(owner, caller)
        pending = self._signals.used.copy()

        return await self._store.read(lambda tx: share_of(tx, owner, pending))


class Usage:
    """Keeps what attempts have used: in memory, and every few seconds in the store. A crash forgets those seconds."""

    def __init__(self, store: Store, signals: Signals, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._signals = signals
        self._monotonic = monotonic
        self._flush_at = 0.0

    @property
    def due(self) -> bool:
        """Say whether there is something to write."""
        return bool(self._signals.used) and self._monotonic() >= self._flush_at

    async def flush(self) -> int:
        """Write what was used since the last time, and forget what is older than an hour; return 0: there is no more."""
        used, self._signals.used = self._signals.used, Counter()
        self._flush_at = self._monotonic() + _FLUSH_S

        async def write(tx: Tx) -> None:
            minute = tx.now // MINUTE
            rows = [(owner, minute, n) for owner, n in used.items()]
            await tx.add_usage([*rows, ("", minute, used.total())])
            await tx.forget_usage(minute - HOUR - 1, _BATCH)

        try:
            await self._store.write(write)
        except BaseException:
            self._signals.used.update(used)
            raise
        return 0


async def share_of(tx: Tx, owner: str, pending: Counter[str]) -> ShareView:
    """Return what an owner gets and uses; `pending` is what this server has not written yet of what was used."""
    set_ = (await tx.get_owners([owner])).get(owner, Owner(owner=owner))
    since = tx.now - HOUR * MINUTE
    rows = await tx.ready_owners(_MOST_ROWS)
    running = {each.owner: each for each in await tx.running_by_owner(since)}
    mine_running = running.get(owner, Running(owner, 0, 0))
    weights = {row.name.owner: row.weight for row in rows}
    missing = [name for name in running if name not in weights]
    others = await tx.get_owners(missing)
    weights |= {name: others[name].weight if name in others else 1.0 for name in missing}
    mine = [row for row in rows if row.name.owner == owner][:_MOST_SHOWN]
    ready = await tx.ready_counts([(row.name, _MOST_COUNTED) for row in mine])
    minute = since // MINUTE + 1
    used = await tx.usage_of(owner, minute) + mine_running.recent + pending[owner]
    whole = await tx.usage_of("", minute) + sum(each.recent for each in running.values()) + pending.total()
    return ShareView(
        owner=owner, weight=set_.weight, share=weights.get(owner, set_.weight) / (sum(weights.values())
        + (0 if owner in weights else set_.weight)), used=used / whole if whole else 0.0,
        slot_seconds=round(whole / SECOND, 3), running=mine_running.n, waiting=sum(ready),
        active_owners=len(weights), turns=[_turn(row, n) for row, n in zip(mine, ready, strict=True) if n],
        max_priority=set_.max_priority, max_waiting=set_.max_waiting, max_running=set_.max_running,
        max_bytes=set_.max_bytes, use=(await _with_use(tx, [set_]))[0].use,
    )  # fmt: skip


async def _with_use(tx: Tx, owners: Sequence[Owner]) -> list[Owner]:
    """Return owners with how much each uses of the quotas that it has."""
    kept = await tx.kept_of(names) if (names := [owner.owner for owner in owners if _is_kept(owner)]) else {}
    limited = [owner.owner for owner in owners if owner.max_running is not None]
    places = await tx.places_of(limited) if limited else {}
    return [replace(owner, use=_use(owner, kept.get(owner.owner), places.get(owner.owner))) for owner in owners]


def _use(owner: Owner, kept: Kept | None, places: Places | None) -> OwnerUse | None:
    if kept is None and places is None:
        return None
    return OwnerUse(
        waiting=None if kept is None or owner.max_waiting is None else kept.waiting,
        running=None if places is None else places.running,
        bytes=None if kept is None or owner.max_bytes is None else kept.size,
    )


def _is_kept(owner: Owner) -> bool:
    return owner.max_waiting is not None or owner.max_bytes is not None


def _check_use(given: Mapping[str, Any], kept: Kept) -> None:
    """Raise Invalid for a quota that is below what is in use."""
    for name, used, what in (("max_waiting", kept.waiting, "jobs wait"), ("max_bytes", kept.size, "bytes are in use")):
        if (most := given.get(name)) is not None and most < used:
            raise Invalid(
                name, f"is below what is in use: {used:,} {what}; let it be at least that, or cancel jobs first"
            )


def _check_places(places: Places) -> None:
    """Raise Invalid when more run than there are places for."""
    if places.most < places.running:
        raise Invalid(
            "max_running", f"is below what is in use: {places.running:,} run; let it be at least that, or wait"
        )


def _check(owner: str, caller: Caller) -> None:
    admission.check_name("owner", owner, "")
    if not caller.sees(owner):
        raise NotFound(f"there is no owner {owner!r}")


def _turn(row: Turn, ready: int) -> TurnView:
    queue, priority, _, lane = row.name
    return TurnView(
        queue=queue, lane=lane, priority=priority, ready=ready, due_in=round((row.due - row.clock) / START, 6)
    )
