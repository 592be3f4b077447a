"""What stands around a handler's call: generators with one `yield`, for which the handler runs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any

from rota.worker.context import Context

Sync = Callable[["Call"], Generator[None]]
Async = Callable[["Call"], AsyncGenerator[None]]
Middleware = Sync | Async


class Call:
    """One call of a handler, as its middlewares see it.

    `args` and `kwargs` are what it is called with (without its `ctx`), and may be changed before the `yield`; `result` is
    what it has returned, and may be changed after it. What it raises is raised at the `yield`.
    """

    __slots__ = ("args", "ctx", "handler", "kwargs", "result")

    def __init__(self, handler: str, ctx: Context, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.handler = handler
        self.ctx = ctx
        self.args = args
        self.kwargs = kwargs
        self.result: Any = None


def check_middleware(function: Callable[..., Any]) -> None:
    """Raise TypeError unless a function is a generator, plain or async."""
    if not (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        raise TypeError("a middleware is a generator: it yields once, and the handler runs meanwhile")


def call_within(middlewares: Sequence[Middleware], call: Call, run: Callable[[], Any]) -> Any:
    """Call a handler within its middlewares, the first of which is the outermost; the async ones are not for this."""
    with ExitStack() as stack:
        for each in middlewares:
            if not inspect.isasyncgenfunction(each):
                stack.enter_context(contextmanager(each)(call))  # type: ignore[arg-type]
        call.result = run()
    return call.result


async def await_within(middlewares: Sequence[Middleware], call: Call, run: Callable[[], Any]) -> Any:
    """Await a handler within its middlewares."""
    async with AsyncExitStack() as stack:
        for each in middlewares:
            if inspect.isasyncgenfunction(each):
                await stack.enter_async_context(asynccontextmanager(each)(call))
            else:
                stack.enter_context(contextmanager(each)(call))  # type: ignore[arg-type]
        call.result = await run()
    return call.result
