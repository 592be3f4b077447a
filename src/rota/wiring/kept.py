"""Processes that a server starts and keeps: one that ends by itself is started again, at a bounded pace."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress

_PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # before a process that died is started again
_STEADY_S = 30.0  # one that lived that long has its first pause again


class Kept(ABC):
    """Processes, by their `names`; `died(name, status)` hears of each that ends by itself."""

    def __init__(self, names: Sequence[str], died: Callable[[str, int], None]) -> None:
        self.names = list(names)
        self._died = died
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._empty = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep the processes running until `stop`. Raises what `_goes_on` does."""
        async with asyncio.TaskGroup() as group:
            for name in self.names:
                group.create_task(self._keep(name))

    async def stop(self, patience_s: float) -> None:
        """Send SIGTERM to all, wait for up to `patience_s`, then end what is left."""
        self._stopping.set()
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        if self._running:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), patience_s)
        self.kill()
        if self._running:
            await self._empty.wait()

    @abstractmethod
    def kill(self) -> None:
        """End all at once, and start none again."""

    def pids(self) -> dict[str, int]:
        """Return the process ids of those that run, by name."""
        return {name: process.pid for name, process in self._running.items()}

    @abstractmethod
    def _start(self, name: str) -> subprocess.Popen[bytes]:
        """Start one."""

    def _goes_on(self, name: str, status: int) -> bool:  # noqa: ARG002  # for who keeps them
        """Say whether one that ended is to be started again. May raise, which ends `run`."""
        return True

    async def _keep(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        while not self._stopping.is_set():
            began = loop.time()
            process = self._running[name] = self._start(name)
            self._empty.clear()
            status = await _end_of(process)
            del self._running[name]
            if not self._running:
                self._empty.set()
            if self._stopping.is_set():
                return
            if not self._goes_on(name, status):
                return
            self._died(name, status)
            deaths = 0 if loop.time() - began > _STEADY_S else deaths + 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _PAUSES_S[min(deaths, len(_PAUSES_S) - 1)])


def _set(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


async def _end_of(process: subprocess.Popen[bytes]) -> int:
    """Return the status that a process ends with. Takes none of the loop's threads, of which there are a few in all."""
    loop = asyncio.get_running_loop()
    try:
        fd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not on Linux; or it has ended, and been waited for
        return await asyncio.to_thread(process.wait)
    over: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _set, over)
    try:
        await over
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    return process.wait()
