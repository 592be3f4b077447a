"""What users write handlers with: App, Context, and the exceptions that say more than "it failed"."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar, overload

import msgspec
from msgspec import Raw

from rota.core.jobs import HandlerSpec, Progress
from rota.core.times import parse_duration

F = TypeVar("F", bound=Callable[..., Any])


class Aborted(BaseException):
    """Raised inside a sync handler when its attempt is stopped: clean up, then let it pass.

    Not an Exception, so that `except Exception` does not swallow it. What is still running when the grace is over is
    killed.
    """


class Refuse(Exception):
    """Raise it to say that trying again is useless: the job fails at once, whatever retries are left."""


class Snooze(Exception):
    """Raise it to run again in `seconds`; that costs no retry."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"snoozed for {seconds:g} s")
        self.seconds = seconds


class Retry(Exception):
    """Raise it to fail this attempt and choose the pause before the next one, in seconds."""

    def __init__(self, message: str = "", *, after: float) -> None:
        super().__init__(message or f"retry after {after:g} s")
        self.after = after


class Sink(Protocol):
    """Where a context's words go."""

    def progress(self, progress: Progress) -> None:
        """Pass the newest progress on."""
        ...

    def log(self, text: str) -> None:
        """Pass a text on."""
        ...

    def call_hook(self, data: Raw) -> None:
        """Pass a call of the hook on."""
        ...


class Context:
    """What a handler knows of its attempt, and how it speaks. Given to a handler with a parameter named `ctx`.

    `deadline` is when the attempt times out, by this machine's clock (aware, UTC), or None. `aborting` becomes True
    when the attempt is being stopped; a handler that does not like exceptions may look at it. `index` is the number of
    its input, from 0; None unless the job is an array. `traceparent` is the span that the attempt is in (W3C Trace Context);
    OpenTelemetry, where it is installed, has it as the active one.
    """

    __slots__ = ("_sink", "aborting", "attempt", "deadline", "index", "job_id", "owner", "traceparent")

    def __init__(
        self,
        job_id: str,
        attempt: int,
        owner: str,
        deadline: datetime | None,
        sink: Sink,
        *,
        index: int | None = None,
        traceparent: str | None = None,
    ) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.owner = owner
        self.deadline = deadline
        self.aborting = False
        self.index = index
        self.traceparent = traceparent
        self._sink = sink

    def progress(self, fraction: float | None, message: str = "") -> None:
        """Say how far the attempt is: a fraction in [0, 1] (None: unknown), and a text. Raises ValueError."""
        if fraction is not None:
            fraction = float(fraction)
            if not 0.0 <= fraction <= 1.0:
                raise ValueError(f"progress is a fraction from 0 to 1, not {fraction}")
        self._sink.progress(Progress(fraction=fraction, message=str(message)))

    def log(self, text: str) -> None:
        """Add a line to the attempt's log."""
        text = str(text)
        self._sink.log(text if text.endswith("\n") else text + "\n")

    def call_hook(self, data: Any = None) -> None:
        """Call the job's hook now, with `data`. A job without a hook has none to call.

        Raises TypeError for what is not JSON, ValueError for more than 1 MiB of it.
        """
        self._sink.call_hook(Raw(msgspec.json.encode(data)))


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that jobs name."""

    function: Callable[..., Any]
    spec: HandlerSpec
    wants_ctx: bool

    @property
    def is_async(self) -> bool:
        """Say whether it is an `async def`."""
        return self.spec.mode == "async"


class App:
    """A set of handlers. Importing one needs no server; a worker is told which with `--app MODULE:NAME`."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    @overload
    def handler(self, function: F, /) -> F: ...
    @overload
    def handler(
        self, /, *, name: str | None = None, timeout: str | float | None = None, retries: int = 0
    ) -> Callable[[F], F]: ...

    def handler(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        timeout: str | float | None = None,
        retries: int = 0,
    ) -> Any:
        """Make a function a handler: bare, or with its name, its timeout (`30`, "2m") and how often it is tried again.

        The function stays as it is and can be called. `def` runs in a process of its own, `async def` on an event loop
        that it shares. Raises ValueError for a name that is taken or wrong, and TypeError for what cannot be called.
        """

        def register(function: F) -> F:
            handler = _describe(function, name, None if timeout is None else parse_duration(timeout), retries)
            if handler.spec.name in self.handlers:
                raise ValueError(f"there are two handlers named {handler.spec.name!r}")
            self.handlers[handler.spec.name] = handler
            return function

        return register if function is None else register(function)


def _describe(function: Callable[..., Any], name: str | None, timeout: float | None, retries: int) -> Handler:
    if not callable(function):
        raise TypeError("a handler is a function")
    name = name or getattr(function, "__name__", "")
    if not name or name == "<lambda>" or ":" in name:
        raise ValueError(f"{name!r} is no name for a handler; give one with name=, without a colon")
    if retries < 0:
        raise ValueError(f"retries of {name!r} are 0 or more")
    parameters = inspect.signature(function).parameters
    ctx = parameters.get("ctx")
    if ctx is not None and ctx.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise TypeError(f"{name}: the parameter ctx cannot be positional-only")
    spec = HandlerSpec(
        name=name,
        mode="async" if inspect.iscoroutinefunction(function) else "process",
        timeout=timeout,
        retries=retries,
        doc=(inspect.getdoc(function) or "").partition("\n")[0],
        parameters=[p for p in parameters if p != "ctx"],
    )
    return Handler(function, spec, ctx is not None)
