"""What people do with queues and limits: look, pause, resume, set, remove. `limiting.py` is what holds them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from rota.core.access import Caller, Role
from rota.core.errors import Invalid, NotFound
from rota.core.fairness import MAX_WEIGHT, MIN_WEIGHT
from rota.core.jobs import HandlerSpec
from rota.core.limits import MAX_CONCURRENCY, Limit, LimitKind, Rate, Use, parse_rate, rate_of
from rota.core.states import WAITING, State
from rota.service.admission import check_name
from rota.service.demands import check_key
from rota.service.limiting import uses, uses_of_keys
from rota.service.signals import Signals
from rota.store.protocol import Store, Tx
from rota.store.rows import QueueRow

KINDS: tuple[LimitKind, ...] = ("queue", "handler", "key")


class RateSetting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`n` starts in a period (`per`: seconds, or a text like `1m`), `burst` of them at once after a pause (if unsaid `n`)."""

    n: int
    per: str | float
    burst: int | None = None


class LimitSetting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be set of a limit; what is unset stays, null takes it away. `rate`: `100/1m`, or in its parts."""

    concurrency: int | UnsetType | None = UNSET
    rate: str | RateSetting | UnsetType | None = UNSET


class QueueSetting(LimitSetting, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be set of a queue: its limit, and its `weight` beside other queues; null: 1."""

    weight: float | UnsetType | None = UNSET


class QueueInfo(Struct, frozen=True, kw_only=True):
    """A queue: whether it is paused, how many jobs it has, and what it may use."""

    name: str
    paused_at: int | None
    paused_by: str | None
    jobs: Counter[State]
    use: Use | None
    weight: float = 1.0


class Limits:
    """Every method is one transaction. Changes wake claims."""

    def __init__(self, store: Store, signals: Signals) -> None:
        self._store = store
        self._signals = signals

    async def queues(self) -> list[QueueInfo]:
        """Return all queues that have jobs or settings, by their names."""
        return await self._store.read(_queues)

    async def queue(self, name: str) -> QueueInfo:
        """Return a queue; one of which nothing is known has no jobs."""
        check_name("queue", name, "")
        found = {info.name: info for info in await self.queues()}
        nothing = QueueInfo(name=name, paused_at=None, paused_by=None, jobs=Counter(), use=None)
        return found.get(name, nothing)

    async def pause(self, name: str, caller: Caller) -> QueueInfo:
        """Let no job of a queue start; those that run go on. Again is fine."""
        return await self._set_pause(name, caller, paused=True)

    async def resume(self, name: str, caller: Caller) -> QueueInfo:
        """Let jobs of a queue start again. Again is fine."""
        return await self._set_pause(name, caller, paused=False)

    async def list(self) -> list[Use]:
        """Return all limits, and how much of each is used."""

        async def look(tx: Tx) -> list[Use]:
            return await uses(tx, await tx.limits())

        return await self._store.read(look)

    async def get(self, kind: str, name: str) -> Use:
        """Return a limit, of a key that of its beginning if it has none of its own. Raises NotFound, Invalid."""
        _check_kind(kind)
        for use in await self.list():
            if use.limit.pool == (kind, name):
                return use
        if kind == "key" and (found := await self._store.read(lambda tx: uses_of_keys(tx, [name]))):
            return found[name]
        raise NotFound(f"{kind} {name!r} has no limit")

    async def set(self, kind: str, name: str, setting: LimitSetting) -> None:
        """Set a limit. Nothing that runs is stopped: if more runs than that, no other starts. Raises Invalid."""
        known = _check_kind(kind)
        if known == "key":
            check_key("key", name, "")
        else:
            check_name(kind, name, "")

        await self._change(lambda tx: _set(tx, known, name, setting), kind)

    async def set_queue(self, name: str, setting: QueueSetting) -> QueueInfo:
        """Set what a queue may use, and its weight. Raises Invalid."""
        check_name("queue", name, "")
        weight = setting.weight
        if weight is not UNSET and weight is not None and not MIN_WEIGHT <= weight <= MAX_WEIGHT:
            raise Invalid("weight", f"is {MIN_WEIGHT} to {MAX_WEIGHT:g}, or null; 1 is what every queue has")

        async def write(tx: Tx) -> None:
            if setting.concurrency is not UNSET or setting.rate is not UNSET:
                await _set(tx, "queue", name, setting)
            if weight is not UNSET:
                await tx.put_queue_weight(name, weight)

        await self._change(write)
        return await self.queue(name)

    async def remove(self, kind: str, name: str) -> None:
        """Take a limit away. Raises NotFound, Invalid."""
        known = _check_kind(kind)
        limit = Limit(kind=known, name=name)

        async def write(tx: Tx) -> None:
            if limit.pool not in {each.pool for each in await tx.limits()}:
                raise NotFound(f"{kind} {name!r} has no limit")
            await tx.hold_limits([limit.pool])
            await tx.delete_limit(limit)

        await self._change(write, kind)

    async def _set_pause(self, name: str, caller: Caller, *, paused: bool) -> QueueInfo:
        check_name("queue", name, "")

        async def write(tx: Tx) -> None:
            old = next((row for row in await tx.queue_rows() if row.queue == name), QueueRow(name))
            if (old.paused_at is not None) is not paused:
                await tx.put_queue(QueueRow(name, tx.now, caller.by) if paused else QueueRow(name))

        await self._change(write)
        return await self.queue(name)

    async def _change(self, write: Callable[[Tx], Awaitable[None]], kind: str = "queue") -> None:
        await self._store.write(write)
        if kind == "key":
            self._signals.limits_changed = True
        self._signals.everybody()


async def _set(tx: Tx, kind: LimitKind, name: str, setting: LimitSetting) -> None:
    await tx.hold_limits([(kind, name)])
    old = next((limit for limit in await tx.limits() if limit.pool == (kind, name)), None)
    limit = _changed(old or Limit(kind=kind, name=name), setting)
    if limit.concurrency is None and limit.rate is None:
        await tx.delete_limit(limit)
        return
    if old is not None and old.rate != limit.rate:
        await tx.delete_limit(old)
    await tx.put_limit(limit)


async def _queues(tx: Tx) -> list[QueueInfo]:
    jobs: defaultdict[str, Counter[State]] = defaultdict(Counter)
    for count in await tx.counts():
        jobs[count.queue][count.state] += count.n
    rows = {row.queue: row for row in await tx.queue_rows()}
    limits = [limit for limit in await tx.limits() if limit.kind == "queue"]
    used = {use.limit.name: use for use in await uses(tx, limits)}
    found = []
    for name in sorted({*jobs, *rows, *used}):
        row = rows.get(name, QueueRow(name))
        found.append(
            QueueInfo(
                name=name, paused_at=row.paused_at, paused_by=row.paused_by, jobs=jobs[name], use=used.get(name),
                weight=1.0 if row.weight is None else row.weight,
            )
        )  # fmt: skip
    return found


def waiting(jobs: Counter[State]) -> int:
    """Return how many jobs wait, for whatever it is."""
    return sum(jobs[state] for state in WAITING)


def sees_counts(caller: Caller) -> bool:
    """Say whether a caller may know how many jobs all owners have."""
    return caller.role is Role.ADMIN


def declared_limits(specs: Sequence[HandlerSpec]) -> dict[str, Limit | None]:
    """Return the limits that handlers declare, by name; None of those that declare none. Raises Invalid."""
    found: dict[str, Limit | None] = {}
    for at, spec in enumerate(specs):
        found[spec.name] = None
        if spec.limit is not None or spec.rate is not None:
            setting = LimitSetting(concurrency=spec.limit, rate=spec.rate)
            try:
                limit = _changed(Limit(kind="handler", name=spec.name), setting)
            except Invalid as wrong:
                field = "limit" if wrong.field == "concurrency" else wrong.field
                raise Invalid(f"handlers[{at}].{field}", wrong.message) from None
            found[spec.name] = replace(limit, declared=True)
    return found


async def declare(tx: Tx, declared: Mapping[str, Limit | None]) -> None:
    """Set what handlers declare, but for what an admin has set; one that is declared no more is taken away."""
    there = {limit.name: limit for limit in await tx.limits() if limit.kind == "handler"}
    for name, limit in declared.items():
        old = there.get(name)
        if limit == old or (old is not None and not old.declared):
            continue
        if old is not None:
            await tx.delete_limit(old)
        if limit is not None:
            await tx.put_limit(limit)


def _check_kind(kind: str) -> LimitKind:
    for known in KINDS:
        if kind == known:
            return known
    raise Invalid("kind", f"{kind!r} has no limits; there are limits of a queue, a handler, a key")


def _changed(limit: Limit, setting: LimitSetting) -> Limit:
    """Return a limit as it is to be. Raises Invalid."""
    concurrency, rate = limit.concurrency, limit.rate
    if setting.concurrency is not UNSET:
        concurrency = setting.concurrency
        if concurrency is not None and not 1 <= concurrency <= MAX_CONCURRENCY:
            raise Invalid("concurrency", f"is 1 to {MAX_CONCURRENCY:,}, or null; to start nothing, pause the queue")
    if setting.rate is not UNSET:
        rate = None if setting.rate is None else _rate(setting.rate)
    return replace(limit, concurrency=concurrency, rate=rate, declared=False)


def _rate(setting: str | RateSetting) -> Rate:
    try:
        if isinstance(setting, str):
            return rate_of(*parse_rate(setting), None)
        starts, per_s = parse_rate(f"{setting.n}/{setting.per}")
        return rate_of(starts, per_s, setting.burst)
    except ValueError as error:
        raise Invalid("rate", str(error)) from None
