"""From a job's data to a call of its handler, and from what that did to an outcome. Shared by all children, and by tests."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from rota.core import inputs
from rota.core.jobs import Failure
from rota.core.states import Outcome
from rota.worker.app import App, Handler
from rota.worker.context import Aborted, Context, Fail, Retry, Sink, Snooze
from rota.worker.frames import Done, Start
from rota.worker.middleware import Call, await_within, call_within

MAX_RESULT = 1 << 20  # bytes of JSON
MAX_MESSAGE = 8 << 10  # characters
MAX_TRACEBACK = 32 << 10

_OURS = __name__.rpartition(".")[0]
_encode = msgspec.json.Encoder().encode


def arguments(
    handler: Handler, data: bytes, args: bytes, item: bytes | None = None
) -> tuple[list[Any], dict[str, Any]]:
    """Return what a handler is called with: `core.inputs` says what, its annotations as what. Raises TypeError."""
    positional, keywords = inputs.arguments(data, args, item)
    if handler.wants_ctx:
        keywords.pop("ctx", None)
    if handler.signature.typed:
        handler.signature.decode(positional, keywords)
    return positional, keywords


def run(handler: Handler, context: Context, positional: list[Any], keywords: dict[str, Any]) -> Any:
    """Call a handler, within its middlewares; of an async one the answer is to be awaited."""
    if not handler.app.middlewares:
        if handler.wants_ctx:
            keywords["ctx"] = context
        return handler.function(*positional, **keywords)
    call = Call(handler.name, context, positional, keywords)
    more = {"ctx": context} if handler.wants_ctx else {}
    within = await_within if handler.is_async else call_within
    return within(handler.app.middlewares, call, lambda: handler.function(*call.args, **call.kwargs, **more))


class Started:
    """Which apps have been started in this process."""

    def __init__(self) -> None:
        self._apps: set[App] = set()

    def start(self, app: App) -> None:
        """Do what an app wants done once in each process. Raises what that raises, and does it again the next time."""
        if app.starts and app not in self._apps:
            for function in app.starts:
                function()
            self._apps.add(app)


def context(start: Start, sink: Sink) -> Context:
    """Return the context of an attempt that starts now."""
    return Context(
        start.job, start.attempt, start.owner, deadline_of(start.timeout_s), sink, index=start.index,
        traceparent=start.traceparent, checkpoint=start.checkpoint,
    )  # fmt: skip


def deadline_of(timeout_s: float | None, now: datetime | None = None) -> datetime | None:
    """Return when an attempt that starts now times out, by this machine's clock."""
    return None if timeout_s is None else (now or datetime.now(UTC)) + timedelta(seconds=timeout_s)


def succeeded(run: int, value: Any) -> Done:
    """Turn what a handler returned into its outcome: a result that is not JSON, or is too long, is a bad one."""
    if value is None:
        return Done(run, Outcome.SUCCEEDED, b"null")
    try:
        result = _encode(value)
    except Exception as wrong:  # the value's own code may raise anything
        return Done(
            run,
            Outcome.BAD_RESULT,
            error=Failure(type(wrong).__name__, f"the result is not JSON: {wrong}"[:MAX_MESSAGE]),
        )
    if len(result) > MAX_RESULT:
        text = f"the result has {len(result)} bytes of JSON; max_result allows {MAX_RESULT}"
        return Done(run, Outcome.BAD_RESULT, error=Failure("TooLarge", text))
    return Done(run, Outcome.SUCCEEDED, result)


def raised(run: int, error: BaseException) -> Done:
    """Turn what a handler raised into its outcome."""
    match error:
        case Snooze():
            return Done(run, Outcome.SNOOZED, retry_in_s=float(error.seconds))
        case Retry():
            return Done(run, Outcome.ERRORED, error=failure(error), retry_in_s=float(error.after))
        case Fail():
            return Done(run, Outcome.ERRORED, error=failure(error), refused=True)
        case MemoryError():
            return Done(run, Outcome.OUT_OF_MEMORY, error=failure(error))
        case Aborted():
            return Done(run, Outcome.ABORTED)
        case _:
            return Done(run, Outcome.ERRORED, error=failure(error))


def failure(error: BaseException) -> Failure:
    """Describe an exception, with the traceback from the handler's own code on; bounded, and never raising."""
    try:
        message = str(error)
    except Exception:  # the exception's own code may raise anything
        message = "(its text cannot be had)"
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        trace = trace.tb_next
    try:
        lines = "".join(traceback.format_exception(type(error), error, trace))
    except Exception:
        lines = ""
    return Failure(type(error).__name__, _clip(message, MAX_MESSAGE), _clip(lines, MAX_TRACEBACK) or None)


def _clip(text: str, limit: int) -> str:
    """Shorten a text in its middle: both ends of a traceback say most. Lone surrogates have no UTF-8: they go."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) <= limit:
        return text
    half = limit // 2 - 10
    return f"{text[:half]}\n[...]\n{text[-half:]}"
