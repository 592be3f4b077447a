"""Requests that wait for something end when their client goes away, or its token is over. (When the server stops, the
service ends them.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientGone(Exception):
    """The client has closed its connection, or may wait no longer (`over`); `result` is what it will not get, if any."""

    def __init__(self, result: Any = None, *, over: bool = False) -> None:
        super().__init__("the client has gone away")
        self.result = result
        self.over = over


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T], over: asyncio.Event | None = None) -> T:
    """Do the work of a request whose body has been read, and return its result.

    Raises ClientGone when the connection ends first, or `over` is set, after cancelling the work.
    """
    task = asyncio.ensure_future(work)
    ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(_disconnect(receive))]
    if over is not None:
        ends.append(asyncio.ensure_future(over.wait()))
    try:
        await asyncio.wait((task, *ends), return_when=asyncio.FIRST_COMPLETED)
        if any(end.done() for end in ends):
            raise ClientGone(await _cancel(task), over=not ends[0].done())
        return task.result()
    finally:
        for end in ends:
            end.cancel()
        if not task.done():
            await _cancel(task)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(task: asyncio.Task[T]) -> T | None:
    """Cancel a task; return its result if it had one already, or got one nevertheless."""
    task.cancel()
    await asyncio.wait((task,))
    return None if task.cancelled() or task.exception() else task.result()
