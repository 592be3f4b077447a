"""Requests that wait for something end when their client goes away. (When the server stops, the service ends them.)"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientGone(Exception):
    """The client has closed its connection; `result` is what it will not get, if there is something."""

    def __init__(self, result: Any = None) -> None:
        super().__init__("the client has gone away")
        self.result = result


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work of a request whose body has been read, and return its result.

    Raises ClientGone when the connection ends first, after cancelling the work.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            raise ClientGone(await _cancel(task))
        return task.result()
    finally:
        gone.cancel()
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
