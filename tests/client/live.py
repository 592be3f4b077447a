"""A real server (HTTP edge, service, SQLite store) in a thread, and a worker of a few lines that speaks HTTP to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from rota.client.work_queue import HttpWorkQueue
from rota.core.errors import NotFound, Unavailable
from rota.core.jobs import (
    Failure,
    Free,
    HandlerSpec,
    Held,
    InputReport,
    Lease,
    LogChunk,
    Orders,
    Progress,
    ProgressNote,
    Proof,
    Report,
    Welcome,
    WorkerHello,
)
from rota.core.states import Outcome
from rota.http.app import create_app
from rota.http.server import HttpServer
from rota.service.service import Service
from tests.embedded import store_at
from tests.processes import PATIENCE_S

Key = tuple[str, int]  # a job and its attempt
LEASE_S = 60.0


class NoSender:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        return 204

    async def close(self) -> None:
        pass


class LiveServer:
    """Runs until `stop`; can be started again on the same port and file."""

    def __init__(self, file: Path, port: int = 0) -> None:
        self.file = file
        self.socket = Path(f"{file}.sock")
        self.port = port
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        self._ready.result(PATIENCE_S)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> str:
        return f"sqlite:///{self.file}"

    async def _main(self) -> None:
        try:
            store = store_at(self.file)
            await store.open()
            service = Service(store, sender=NoSender(), lease_s=LEASE_S)
            await service.start()
            server = HttpServer(service, create_app(service), port=self.port, socket_path=self.socket)
            await server.start()
            self.port = server.port
            self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
            self._ready.set_result(None)
        except BaseException as wrong:
            self._ready.set_exception(wrong)
            raise
        await self._stopped.wait()
        await server.stop()
        await service.stop()
        await store.close()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()


class Hands:
    """Runs `echo`, `fail`, `talk`, `hang` (until it is aborted) and scripts (whose text is their result).

    It lives as long as the server, whatever that takes: its heartbeats name what it runs, and a server that has forgotten
    it hears of it again.
    """

    def __init__(self, server: str, *, scripts: bool = True) -> None:
        specs = [HandlerSpec(name=name) for name in ("echo", "fail", "talk", "hang")]
        self._hello = WorkerHello(name="hands", handlers=specs, scripts=scripts, arrays=True, slots=4)
        self._server = server
        self.started = threading.Event()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        self._ready.result(PATIENCE_S)

    async def _main(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        queue = HttpWorkQueue(self._server)
        living = asyncio.create_task(self._live(queue))
        await self._stopped.wait()
        living.cancel()
        await asyncio.wait([living])
        with suppress(ConnectionError, Unavailable, NotFound):
            await queue.leave(self.worker)
        await queue.aclose()

    async def _live(self, queue: HttpWorkQueue) -> None:
        """Be one worker until the server has forgotten it, then the next."""
        while True:
            welcome = await self._register(queue)
            self.worker, self._heartbeat_s = welcome.worker, welcome.heartbeat_s
            self._running: dict[Key, asyncio.Task[None]] = {}
            self._aborts: dict[Key, asyncio.Event] = {}
            steps = [asyncio.create_task(self._repeat(step, queue)) for step in (self._claim, self._beat, self._watch)]
            if not self._ready.done():
                self._ready.set_result(None)
            try:
                await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                tasks = [*steps, *self._running.values()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _register(self, queue: HttpWorkQueue) -> Welcome:
        while True:
            try:
                return await queue.register(self._hello)
            except (ConnectionError, Unavailable):
                await asyncio.sleep(0.05)  # before another try: the server is being started again

    async def _repeat(self, step: Callable[[HttpWorkQueue], Awaitable[None]], queue: HttpWorkQueue) -> None:
        with suppress(NotFound):
            while True:
                try:
                    await step(queue)
                except (ConnectionError, Unavailable):
                    await asyncio.sleep(0.05)  # the same

    async def _claim(self, queue: HttpWorkQueue) -> None:
        for lease in await queue.claim(self.worker, Free(process=4, asynchronous=0, total=4), 5.0):
            key = lease.job, lease.attempt
            self._aborts[key] = asyncio.Event()
            task = self._running[key] = asyncio.create_task(self._run(queue, lease))
            task.add_done_callback(lambda _, key=key: (self._running.pop(key), self._aborts.pop(key)))

    async def _beat(self, queue: HttpWorkQueue) -> None:
        self._obey(await queue.heartbeat(self.worker, [Held(job=job, attempt=n) for job, n in self._running]))
        await asyncio.sleep(self._heartbeat_s)

    async def _watch(self, queue: HttpWorkQueue) -> None:
        self._obey(await queue.watch(self.worker, 5.0))

    def _obey(self, orders: Orders) -> None:
        for order in orders.abort:
            if aborted := self._aborts.get((order.job, order.attempt)):
                aborted.set()
        for lost in orders.lost:
            if task := self._running.get((lost.job, lost.attempt)):
                task.cancel()

    async def _run_shard(self, queue: HttpWorkQueue, lease: Lease) -> None:
        """Run a shard: an input is its own result and output; `fail` fails odd numbers."""
        for index, value in enumerate(lease.inputs, lease.first or 0):
            text = bytes(value).decode()
            bad = lease.handler == "fail" and msgspec.json.decode(value) % 2 == 1
            report = InputReport(
                job=lease.job,
                attempt=lease.attempt,
                index=index,
                outcome=Outcome.ERRORED if bad else Outcome.SUCCEEDED,
                stdout=f"out {text}\n",
                result=msgspec.Raw(b"null") if bad else value,
                error=Failure(type="ValueError", message=text) if bad else None,
            )
            await queue.tell(self.worker, [], [], [], [report])
        await queue.settle(self.worker, [Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED)])

    async def _run(self, queue: HttpWorkQueue, lease: Lease) -> None:
        if lease.inputs:
            await self._run_shard(queue, lease)
            return
        report: dict[str, Any]
        match lease.handler:
            case "fail":
                error = Failure(
                    type="ValueError", message="no good", traceback="Traceback\n  here\nValueError: no good\n"
                )
                report = {"outcome": Outcome.ERRORED, "error": error}
            case "hang":
                self.started.set()
                await self._aborts[lease.job, lease.attempt].wait()
                report = {"outcome": Outcome.ABORTED, "proof": Proof(processes=1)}
            case "talk":
                for n in range(3):
                    chunk = LogChunk(job=lease.job, attempt=lease.attempt, n=n, stream="stdout", text=f"line {n}\n")
                    note = ProgressNote(
                        job=lease.job, attempt=lease.attempt, progress=Progress((n + 1) / 4, f"step {n}")
                    )
                    await queue.tell(self.worker, [chunk], [note], [], [])
                report = {"outcome": Outcome.SUCCEEDED, "result": msgspec.Raw(b'"said"')}
            case "echo":
                report = {"outcome": Outcome.SUCCEEDED, "result": lease.data}
            case _:
                report = {"outcome": Outcome.SUCCEEDED, "result": msgspec.Raw(msgspec.json.encode(lease.script))}
        await queue.settle(self.worker, [Report(job=lease.job, attempt=lease.attempt, **report)])

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(PATIENCE_S)


@contextmanager
def running(file: Path) -> Iterator[tuple[LiveServer, Callable[[], Hands]]]:
    """Run a server; the function starts a worker beside it."""
    server = LiveServer(file)
    hands: list[Hands] = []

    def start() -> Hands:
        hands.append(Hands(server.url))
        return hands[-1]

    try:
        yield server, start
    finally:
        for each in hands:
            each.stop()
        server.stop()
