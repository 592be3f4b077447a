"""Schedules, for both colours of the client: `client.schedules.create(…)`. What they send is in calls.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar, Unpack

from msgspec import Struct

from rota.client import calls
from rota.client.calls import Call, Pages
from rota.client.submission import Duration, Options, body_of, plain
from rota.core.wire import Page

J = TypeVar("J")
T = TypeVar("T")


class Timing(Options, total=False):
    """What may be said of a schedule beside its rule, and of its jobs (see Options; no time, no dependencies, no inputs).

    `timezone` is an IANA name. `missed`, when no server was there: `skip`, `once` (the newest slot) or `all` (the newest
    `missed_limit`). `overlap`, when the job before is not over: `allow`, `skip`, `queue` or `abort`. `jitter`: start up to
    so much later. `starts_at` and `ends_at` are datetimes or RFC 3339 texts, without a zone in the schedule's own.
    `script` (with `variables`) or `image` stand in place of a handler.
    """

    name: str
    timezone: str
    missed: Literal["skip", "once", "all"]
    missed_limit: int
    overlap: Literal["allow", "skip", "queue", "abort"]
    jitter: Duration
    starts_at: datetime | str | None
    ends_at: datetime | str | None
    script: str
    variables: Mapping[str, str]
    image: str


class Schedule(Struct, kw_only=True):
    """A schedule as it was when the server last said so. `next_at` is None while it is paused, and when it is over."""

    id: str
    name: str
    owner: str
    rule: str
    timezone: str
    job: dict[str, Any]
    missed: str
    missed_limit: int
    overlap: str
    jitter: float
    starts_at: datetime | None
    ends_at: datetime | None
    paused_at: datetime | None
    next_at: datetime | None
    waiting: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int


class Slot(Struct, kw_only=True):
    """A slot to come, in UTC, and as the wall clock shows it; `clock`: `skipped`, `first`, `second` where that is set."""

    at: datetime
    local: datetime
    clock: str | None


class Firing(Struct, kw_only=True):
    """What became of a slot: `submitted` (then `job` is its job's id), `waiting`, `skipped`, `missed`, `refused`."""

    slot: datetime
    at: datetime
    fate: str
    job: str | None
    why: str | None
    manual: bool


Found = list[Schedule]
Slots = list[Slot]
Firings = list[Firing]


class Caller(Protocol):
    """A client, as far as it is needed here."""

    def call(self, call: Call[T]) -> T:
        """Send a call and read its answer."""
        ...

    def walk(self, pages: Pages[T]) -> Iterator[T]:
        """Send a listing's calls."""
        ...


class AsyncCaller(Protocol):
    """The same, awaited."""

    async def call(self, call: Call[T]) -> T:
        """Send a call and read its answer."""
        ...

    def walk(self, pages: Pages[T]) -> AsyncIterator[T]:
        """Send a listing's calls."""
        ...


_SETTINGS = ("name", "timezone", "missed", "missed_limit", "overlap", "jitter", "starts_at", "ends_at")
_KIND = ("script", "variables", "image")


def _body(given: Mapping[str, Any], rule: str | None, handler: str | None, data: Any) -> dict[str, Any]:
    """Return the JSON members of a schedule, or of a change of one; only a start and an end may be None."""
    rest = dict(given)
    body = {name: plain(name, rest.pop(name)) for name in _SETTINGS if name in rest}
    kind = {name: rest.pop(name, None) for name in _KIND}
    job = body_of(rest, handler=handler, data=data, **kind)  # type: ignore[arg-type]  # body_of checks the names
    return body | ({"rule": rule} if rule is not None else {}) | ({"job": job} if job else {})


class Schedules(Generic[J]):
    """What can be done with schedules. They are named by id, or by name."""

    def __init__(self, client: Caller, job: type[J], own: Callable[[J], J]) -> None:
        self._client = client
        self._job = job
        self._own = own

    def create(self, rule: str, handler: str | None = None, data: Any = None, **options: Unpack[Timing]) -> Schedule:
        """Make a schedule. Raises Invalid, whose `field` says where; Conflict when there is one of this name."""
        return self._client.call(calls.add_schedule(_body(options, rule, handler, data), Schedule))

    def list(self, owner: str | None = None) -> Found:
        """Read the schedules, the oldest first."""
        return [*self._client.walk(calls.schedule_pages(owner, Schedule))]

    def get(self, which: str) -> Schedule:
        """Read a schedule. Raises NotFound."""
        return self._client.call(calls.schedule(which, Schedule))

    def edit(
        self,
        which: str,
        *,
        rule: str | None = None,
        handler: str | None = None,
        data: Any = None,
        **options: Unpack[Timing],
    ) -> Schedule:
        """Change a schedule: what is named, and the whole job if anything of it is. None takes a start or an end away."""
        return self._client.call(calls.edit_schedule(which, _body(options, rule, handler, data), Schedule))

    def pause(self, which: str) -> Schedule:
        """Let a schedule rest: slots that pass meanwhile do not fire."""
        return self._client.call(calls.schedule_action(which, "pause", Schedule))

    def resume(self, which: str) -> Schedule:
        """Let a paused schedule go on."""
        return self._client.call(calls.schedule_action(which, "resume", Schedule))

    def run(self, which: str) -> J:
        """Submit the job of a schedule now, whatever its rule says."""
        return self._own(self._client.call(calls.schedule_action(which, "run", self._job)))

    def remove(self, which: str) -> None:
        """Remove a schedule. Its jobs stay as they are."""
        self._client.call(calls.remove_schedule(which))

    def preview(self, which: str, n: int = 10) -> Slots:
        """Read when a schedule fires next."""
        return self._client.call(calls.preview_schedule(which, n, Page[Slot])).items

    def preview_rule(
        self, rule: str, n: int = 10, *, timezone: str | None = None, starts_at: datetime | str | None = None
    ) -> Slots:
        """Read when a rule would fire; nothing is stored."""
        return self._client.call(calls.preview_rule(_timing(rule, timezone, starts_at), n, Page[Slot])).items

    def firings(self, which: str, limit: int = 100) -> Firings:
        """Read what became of a schedule's last slots, the newest first."""
        return self._client.call(calls.firings(which, limit, Page[Firing])).items


class AsyncSchedules(Generic[J]):
    """As Schedules, awaited."""

    def __init__(self, client: AsyncCaller, job: type[J], own: Callable[[J], J]) -> None:
        self._client = client
        self._job = job
        self._own = own

    async def create(
        self, rule: str, handler: str | None = None, data: Any = None, **options: Unpack[Timing]
    ) -> Schedule:
        """Make a schedule. As `Schedules.create`."""
        return await self._client.call(calls.add_schedule(_body(options, rule, handler, data), Schedule))

    async def list(self, owner: str | None = None) -> Found:
        """Read the schedules, the oldest first."""
        return [schedule async for schedule in self._client.walk(calls.schedule_pages(owner, Schedule))]

    async def get(self, which: str) -> Schedule:
        """Read a schedule. Raises NotFound."""
        return await self._client.call(calls.schedule(which, Schedule))

    async def edit(
        self,
        which: str,
        *,
        rule: str | None = None,
        handler: str | None = None,
        data: Any = None,
        **options: Unpack[Timing],
    ) -> Schedule:
        """Change a schedule. As `Schedules.edit`."""
        return await self._client.call(calls.edit_schedule(which, _body(options, rule, handler, data), Schedule))

    async def pause(self, which: str) -> Schedule:
        """Let a schedule rest: slots that pass meanwhile do not fire."""
        return await self._client.call(calls.schedule_action(which, "pause", Schedule))

    async def resume(self, which: str) -> Schedule:
        """Let a paused schedule go on."""
        return await self._client.call(calls.schedule_action(which, "resume", Schedule))

    async def run(self, which: str) -> J:
        """Submit the job of a schedule now, whatever its rule says."""
        return self._own(await self._client.call(calls.schedule_action(which, "run", self._job)))

    async def remove(self, which: str) -> None:
        """Remove a schedule. Its jobs stay as they are."""
        await self._client.call(calls.remove_schedule(which))

    async def preview(self, which: str, n: int = 10) -> Slots:
        """Read when a schedule fires next."""
        return (await self._client.call(calls.preview_schedule(which, n, Page[Slot]))).items

    async def preview_rule(
        self, rule: str, n: int = 10, *, timezone: str | None = None, starts_at: datetime | str | None = None
    ) -> Slots:
        """Read when a rule would fire; nothing is stored."""
        return (await self._client.call(calls.preview_rule(_timing(rule, timezone, starts_at), n, Page[Slot]))).items

    async def firings(self, which: str, limit: int = 100) -> Firings:
        """Read what became of a schedule's last slots, the newest first."""
        return (await self._client.call(calls.firings(which, limit, Page[Firing]))).items


def _timing(rule: str, timezone: str | None, starts_at: datetime | str | None) -> dict[str, Any]:
    body = {"rule": rule, "timezone": timezone, "starts_at": plain("starts_at", starts_at)}
    return {name: value for name, value in body.items() if value is not None}
