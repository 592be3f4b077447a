"""A real server (HTTP edge, service, SQLite store) in a thread, and a worker of a few lines that speaks HTTP to it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from rota.client.work_queue import HttpWorkQueue
from rota.core.errors import NotFound, Unavailable
from rota.core.jobs import (
    Failure,
    Free,
    HandlerSpec,
    InputReport,
    Lease,
    LogChunk,
    Progress,
    ProgressNote,
    Proof,
    Report,
    WorkerHello,
)
from rota.core.states import Outcome
from rota.http.app import create_app
from rota.service.service import Service
from rota.store.sqlite.store import SqliteStore


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
        self._port = port
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        self._ready.result(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> str:
        return f"sqlite:///{self.file}"

    async def _main(self) -> None:
        try:
            store = SqliteStore(self.file)
            await store.open()
            service = Service(store, sender=NoSender(), lease_s=60.0)
            await service.start()
            tcp = socket.socket(
                socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
            )  # asyncio: no protocol, no NODELAY
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(("127.0.0.1", self._port))
            self.port = tcp.getsockname()[1]
            self.socket.unlink(missing_ok=True)
            local = socket.socket(socket.AF_UNIX)
            local.bind(str(self.socket))
            local.listen()
            config = uvicorn.Config(create_app(service), log_config=None, lifespan="off", access_log=False)
            self._loop = asyncio.get_running_loop()
            self._server = uvicorn.Server(config)
            self._stopped = asyncio.Event()
            serving = asyncio.create_task(self._server.serve([tcp, local]))
            while not self._server.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.002)
            self._ready.set_result(None)
        except BaseException as wrong:
            self._ready.set_exception(wrong)
            raise
        await self._stopped.wait()
        self._server.should_exit = True
        await service.stop()
        await serving
        await store.close()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)
            assert not self._thread.is_alive()


class Hands:
    """Runs `echo`, `fail`, `talk`, `hang` (until it is aborted) and scripts (whose text is their result)."""

    def __init__(self, server: str, *, scripts: bool = True) -> None:
        self._server = server
        self._scripts = scripts
        self.started = threading.Event()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        self._ready.result(10)

    async def _main(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        queue = HttpWorkQueue(self._server)
        specs = [HandlerSpec(name=name) for name in ("echo", "fail", "talk", "hang")]
        hello = WorkerHello(name="hands", handlers=specs, scripts=self._scripts, arrays=True, slots=4)
        self.worker = (await queue.register(hello)).worker
        self._ready.set_result(None)
        working = asyncio.create_task(self._work(queue))
        await self._stopped.wait()
        working.cancel()
        await asyncio.wait([working])
        await queue.leave(self.worker)
        await queue.aclose()

    async def _work(self, queue: HttpWorkQueue) -> None:
        running: set[asyncio.Task[None]] = set()
        self._aborts: dict[str, asyncio.Event] = {}
        watching = asyncio.create_task(self._watch(queue))
        try:
            while True:
                try:
                    leases = await queue.claim(self.worker, Free(process=4, asynchronous=0, total=4), 5.0)
                except (ConnectionError, Unavailable, NotFound):
                    await asyncio.sleep(0.05)
                    continue
                for lease in leases:
                    self._aborts[lease.job] = asyncio.Event()
                    task = asyncio.create_task(self._run(queue, lease))
                    running.add(task)
                    task.add_done_callback(running.discard)
        finally:
            for task in (watching, *running):
                task.cancel()

    async def _watch(self, queue: HttpWorkQueue) -> None:
        while True:
            try:
                orders = await queue.watch(self.worker, 5.0)
            except (ConnectionError, Unavailable, NotFound):
                await asyncio.sleep(0.05)
                continue
            for order in orders.abort:
                self._aborts[order.job].set()

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
                await self._aborts[lease.job].wait()
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
            self._thread.join(10)


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
