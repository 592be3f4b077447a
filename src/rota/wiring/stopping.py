"""When a server stops, and how: with the first signal its workers drain, with the second they end at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from rota import log
from rota.wiring.fleet import Fleet

T = TypeVar("T")
_MORE_THAN_DRAIN_S = 8.0  # beyond the drain, a worker's jobs have their grace before they are given back
_log = log.get("server")


class Stop:
    """What SIGTERM and SIGINT ask for: with the first to stop, with the second to stop `now`. From when it is made on."""

    def __init__(self) -> None:
        self.asked, self.now = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def at_once(self) -> None:
        """Ask for it as two signals do."""
        self.asked.set()
        self.now.set()

    def _on_signal(self) -> None:
        (self.now if self.asked.is_set() else self.asked).set()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do work and return its result; when a stop is asked for before it is done, end it and return None."""
        task, asked = asyncio.ensure_future(work), asyncio.ensure_future(self.asked.wait())
        try:
            await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            asked.cancel()
            task.cancel()
            await asyncio.wait((task,))


async def until_stopped(fleet: Fleet, drain_s: float, stop: Stop) -> None:
    """Keep workers running until a stop is asked for; return when they have drained, or were ended at once.

    Raises WorkerFailed.
    """
    workers = asyncio.create_task(fleet.run(), name="workers")
    stopping = asyncio.create_task(stop.asked.wait())
    try:
        await asyncio.wait((stopping, workers), return_when=asyncio.FIRST_COMPLETED)
        if not stop.asked.is_set() and workers.done() and (error := workers.exception()) is not None:
            raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
        await stop.asked.wait()  # a server may have no workers of its own
        if not stop.now.is_set():
            _log.info("server_draining", drain_s=drain_s)
        draining = asyncio.create_task(fleet.stop(drain_s + _MORE_THAN_DRAIN_S))
        at_once = asyncio.create_task(stop.now.wait())
        await asyncio.wait((draining, at_once), return_when=asyncio.FIRST_COMPLETED)
        at_once.cancel()
        if not draining.done():
            fleet.kill()
            await draining
    finally:
        stopping.cancel()
        fleet.kill()
        with suppress(BaseException):
            await workers
