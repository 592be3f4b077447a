"""The server's own workers: started with it, started again when they die, and dead when it dies, whatever kills it.

Each inherits a descriptor or two. The *lifeline* is a pipe that only the server holds the other end of: when it reads
end-of-file the server is gone, and the worker ends everything at once. The *lock* keeps the embedded store's file owned
until the last of them has ended, so the next server knows that nothing of this one runs any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from rota.worker.link import clean_environment

_PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # before a worker that died is started again
_STEADY_S = 30.0  # a worker that lived that long has its first pause again
BAD_APP = 4  # exit status of a worker whose handlers do not import


class WorkerFailed(Exception):
    """A worker cannot start: its handlers do not import. It has said why on its standard error."""


class Fleet:
    """`count` workers that take their jobs from `server`; `died(name, status)` hears of each that ends by itself."""

    def __init__(
        self,
        count: int,
        server: str,
        arguments: Sequence[str],
        lock_fd: int | None,
        *,
        died: Callable[[str, int], None] = lambda _name, _status: None,
    ) -> None:
        self._count = count
        self._server = server
        self._arguments = list(arguments)
        self._lock_fd = lock_fd
        self._died = died
        self._lifeline, self._our_end = os.pipe()  # not inherited, unless passed on by name
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._empty = asyncio.Event()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep the workers running until `stop`. Raises WorkerFailed when one cannot start for good."""
        async with asyncio.TaskGroup() as group:
            for at in range(self._count):
                group.create_task(self._keep(f"worker-{at + 1}"))

    async def stop(self, patience_s: float) -> None:
        """Ask all to drain, wait for up to `patience_s`, then end what is left."""
        self._stopping.set()
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        if self._running:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), patience_s)
        self.kill()
        if self._running:
            await self._empty.wait()

    def kill(self) -> None:
        """End all workers, and all that they run, at once."""
        self._stopping.set()
        if self._our_end >= 0:
            os.close(self._our_end)
            os.close(self._lifeline)
            self._our_end = self._lifeline = -1

    def pids(self) -> dict[str, int]:
        """Return the process ids of the workers that run, by name."""
        return {name: process.pid for name, process in self._running.items()}

    async def _keep(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        deaths = 0
        while not self._stopping.is_set():
            began = loop.time()
            process = self._running[name] = self._start(name)
            self._empty.clear()
            status = await asyncio.to_thread(process.wait)
            del self._running[name]
            if not self._running:
                self._empty.set()
            if self._stopping.is_set():
                return
            self._died(name, status)
            if status == BAD_APP:
                raise WorkerFailed(f"{name} cannot import its handlers")
            deaths = 0 if loop.time() - began > _STEADY_S else deaths + 1
            await asyncio.sleep(_PAUSES_S[min(deaths, len(_PAUSES_S) - 1)])

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        lock = [] if self._lock_fd is None else [self._lock_fd]
        command = [
            sys.executable, "-m", "rota", "worker", "--server", self._server, "--name", name,
            "--lifeline-fd", str(self._lifeline), *(f"--lock-fd={fd}" for fd in lock), *self._arguments,
        ]  # fmt: skip
        fds = (self._lifeline, *lock)
        # A session of its own: Ctrl-C goes to the server alone, which then asks its workers to drain. Until a process has
        # hidden itself its user's other processes can read its environment, jobs among them: so no secrets are in there.
        return subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command,
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=clean_environment(os.environ),
        )
