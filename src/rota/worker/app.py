"""What users write handlers with: App, whose handlers jobs name, and what stands around their calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar, overload

import msgspec

from rota.core.arguments import Fit
from rota.core.errors import Invalid
from rota.core.jobs import NO_SCHEMA, HandlerSpec
from rota.core.keys import check_places
from rota.core.limits import parse_rate, rate_of
from rota.core.times import parse_duration
from rota.worker.middleware import Middleware, check_middleware
from rota.worker.signatures import Signature

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Middleware)
S = TypeVar("S", bound=Callable[[], None])


class Handler:
    """A function that jobs name; `app` is where it was registered."""

    def __init__(self, app: App, function: Callable[..., Any], name: str, timeout: float | None, retries: int) -> None:
        self.app = app
        self._limit: int | None = None
        self._rate: str | None = None
        self._limit_key: str | None = None
        self._needs: dict[str, str | bool | int | float] = {}
        self._slots: int | None = None
        self.function = function
        self.name = name
        self.is_async = inspect.iscoroutinefunction(function)
        self._timeout = timeout
        self._retries = retries
        ctx = inspect.signature(function).parameters.get("ctx")
        if ctx is not None and ctx.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise TypeError(f"{name}: the parameter ctx cannot be positional-only")
        self.wants_ctx = ctx is not None

    def limit_to(self, limit: int | None, rate: str | None) -> None:
        """Note what all workers together may run of it. Raises ValueError."""
        if rate is not None:
            rate_of(*parse_rate(rate), None)
        if limit is not None and limit < 1:
            raise ValueError(f"the limit of {self.name!r} is 1 or more")
        self._limit = limit
        self._rate = rate

    def demand(
        self, limit_key: str | None, needs: dict[str, str | bool | int | float] | None, slots: int | None
    ) -> None:
        """Note what its jobs are limited by, need, and take, if they do not say so. Raises ValueError."""
        if limit_key is not None:
            check_places(limit_key)
        if slots is not None and slots < 1:
            raise ValueError(f"the slots of {self.name!r} are 1 or more")
        self._limit_key, self._needs, self._slots = limit_key, needs or {}, slots

    @cached_property
    def signature(self) -> Signature:
        """Return what the function takes; asked for when its module is whole."""
        return Signature(self.function)

    @cached_property
    def spec(self) -> HandlerSpec:
        """Return the handler as a worker offers it."""
        doc = inspect.getdoc(self.function) or ""
        return HandlerSpec(
            name=self.name,
            mode="async" if self.is_async else "process",
            timeout=self._timeout,
            retries=self._retries,
            doc=doc.partition("\n")[0],
            parameters=self.signature.names,
            schema=self.signature.schema(self.name, doc) or NO_SCHEMA,
            limit=self._limit,
            rate=self._rate,
            limit_key=self._limit_key,
            needs=self._needs,
            slots=self._slots,
        )


class App:
    """A set of handlers. Importing one needs no server; a worker is told which with `--app MODULE:NAME`."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.middlewares: list[Middleware] = []
        self.starts: list[Callable[[], None]] = []
        self._scheduled: list[tuple[Callable[..., Any], dict[str, Any]]] = []

    @overload
    def handler(self, function: F, /) -> F: ...
    @overload
    def handler(
        self,
        /,
        *,
        name: str | None = None,
        timeout: str | float | None = None,
        retries: int = 0,
        limit: int | None = None,
        rate: str | None = None,
        limit_key: str | None = None,
        needs: dict[str, str | bool | int | float] | None = None,
        slots: int | None = None,
    ) -> Callable[[F], F]: ...

    def handler(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        timeout: str | float | None = None,
        retries: int = 0,
        limit: int | None = None,
        rate: str | None = None,
        limit_key: str | None = None,
        needs: dict[str, str | bool | int | float] | None = None,
        slots: int | None = None,
    ) -> Any:
        """Make a function a handler: bare, or with its name, its timeout (`30`, "2m") and how often it is tried again.

        The function stays as it is and can be called. `def` runs in a process of its own, `async def` on an event loop
        that it shares. What its parameters are annotated with is checked when a job is submitted, and decoded before the
        call. At most `limit` of its jobs run at once on all workers together, and start as fast as `rate` says (`100/1m`),
        unless an admin has set otherwise. `limit_key` (like `{customer}`, filled from the data), `needs` and `slots` are those
        of its jobs that do not say otherwise, where a server knows the handler. Raises ValueError for a name that is taken or
        wrong, and TypeError for what cannot be called.
        """

        def register(function: F) -> F:
            handler = self._describe(function, name, None if timeout is None else parse_duration(timeout), retries)
            handler.limit_to(limit, rate)
            handler.demand(limit_key, needs, slots)
            if handler.name in self.handlers:
                raise ValueError(f"there are two handlers named {handler.name!r}")
            self.handlers[handler.name] = handler
            return function

        return register if function is None else register(function)

    def schedule(
        self, rule: str, /, *, tz: str | None = None, name: str | None = None, missed: str | None = None,
        overlap: str | None = None, jitter: str | float | None = None, start: str | None = None, end: str | None = None,
        data: Any = None, **options: Any,
    ) -> Callable[[F], F]:  # fmt: skip
        """Declare that a handler runs by a rule: cron, `every 15m`, `at TIME`. Workers bring it to their server.

        `missed` is skip, once, all or all:N; `overlap` allow, skip, queue or abort; the rest as `rota schedule add` has them;
        `options` are those of a submission. A handler may have several: each then has a `name`.
        """
        missed, _, most = (missed or "").partition(":")
        timing: dict[str, Any] = {
            "rule": rule, "timezone": tz, "name": name, "missed": missed or None, "missed_limit": int(most) if most else None,
            "overlap": overlap, "jitter": jitter, "starts_at": start, "ends_at": end,
        }  # fmt: skip
        declared: dict[str, Any] = {key: value for key, value in timing.items() if value is not None}
        declared["job"] = {"data": data, **options} if data is not None else options

        def register(function: F) -> F:
            self._scheduled.append((function, declared))
            return function

        return register

    def schedules(self) -> list[dict[str, Any]]:
        """Return what is declared, as the server takes it. Raises ValueError for what is wrong on its face."""
        names = {handler.function: handler for handler in self.handlers.values()}
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for function, declared in self._scheduled:
            if (handler := names.get(function)) is None:
                raise ValueError(
                    f"{getattr(function, '__name__', function)!r} has a schedule, and is no handler of this app"
                )
            job = {"handler": handler.name, **declared["job"]}
            name = declared.get("name", handler.name)
            if handler.spec.schema != NO_SCHEMA:
                try:
                    data, args = msgspec.json.encode(job.get("data")), msgspec.json.encode(job.get("args", []))
                    Fit(bytes(handler.spec.schema)).check(data, args)
                except Invalid as wrong:
                    raise ValueError(f"schedule {name!r}: {wrong}") from None
            key = (name, job.get("owner", ""))
            if found.setdefault(key, {**declared, "name": name, "job": job})["job"] is not job:
                raise ValueError(f"there are two schedules named {name!r}; give each a name")
        return list(found.values())

    def middleware(self, function: M, /) -> M:
        """Put a generator around every call of this app's handlers: it gets a `rota.Call`, and yields once.

        The first one that is registered is the outermost. A plain generator is for sync and async handlers; an async one is
        for async handlers alone. What it raises is the handler's error. Raises TypeError for what is no generator.
        """
        check_middleware(function)
        self.middlewares.append(function)
        return function

    def on_start(self, function: S, /) -> S:
        """Call a function once in each process that runs this app's handlers, within the first attempt there.

        What it raises is that attempt's error, and the next one tries again. Raises TypeError for an `async def`.
        """
        if inspect.iscoroutinefunction(function):
            raise TypeError("what runs at the start of a process is a plain function")
        self.starts.append(function)
        return function

    def _describe(self, function: Callable[..., Any], name: str | None, timeout: float | None, retries: int) -> Handler:
        if not callable(function):
            raise TypeError("a handler is a function")
        name = name or getattr(function, "__name__", "")
        if not name or name == "<lambda>" or ":" in name:
            raise ValueError(f"{name!r} is no name for a handler; give one with name=, without a colon")
        if retries < 0:
            raise ValueError(f"retries of {name!r} are 0 or more")
        return Handler(self, function, name, timeout, retries)
