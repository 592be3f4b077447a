"""A live server in a thread: the real service on a SQLite file, on an ephemeral port and a Unix socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvloop

from rota.http.app import create_app
from rota.http.gate import Gate
from rota.http.metrics import Metrics
from rota.http.server import HttpServer
from rota.service.service import Service
from rota.store.protocol import Store
from tests.embedded import store_at

T = TypeVar("T")
DEADLINE_S = 60.0  # the machine may be busy
LEASE_S = 600.0  # no test here takes as long: none has to send heartbeats


class NoHooks:
    """Delivers nothing."""

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        return 204


class Live:
    """A server in a thread of its own."""

    gate: Callable[[Service], Gate | None] = staticmethod(lambda _: None)
    store: Callable[[Path], Store] = staticmethod(lambda folder: store_at(folder / "rota.db"))

    def __init__(self, folder: Path, *, connections: int = 1000, port: int = 0, **settings: Any) -> None:
        self._connections = connections
        self.port = port
        self.socket_path = folder / "rota.db.sock"
        self._folder = folder
        self._settings = settings
        self._started: threading.Event = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(DEADLINE_S)
        if self._failure:
            raise self._failure
        self.client = httpx.Client(base_url=self.url, timeout=DEADLINE_S, verify=False)

    def _run(self) -> None:
        try:
            uvloop.run(self._main())
        except BaseException as error:
            self._failure = error
            self._started.set()
            raise

    async def _main(self) -> None:
        store = self.store(self._folder)
        await store.open()
        metrics = Metrics()
        self.service = Service(store, sender=NoHooks(), observer=metrics, lease_s=LEASE_S, pull_lease_s=LEASE_S)
        await self.service.start()
        app = create_app(self.service, metrics=metrics, gate=self.gate(self.service), **self._settings)
        self.server = HttpServer(
            self.service, app, port=self.port, socket_path=self.socket_path, connections=self._connections
        )
        await self.server.start()
        self.url, self.port = self.server.url, self.server.port
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._started.set()
        await self._stop.wait()
        await self.server.stop()
        await self.service.stop()
        await store.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE_S)

    def begin_stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)

    def stop(self) -> None:
        self.client.close()
        if self._thread.is_alive():
            self.begin_stop()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def raw(self, head: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Send bytes as they are and return the answer's status, headers and body."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S) as connection:
            connection.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
            return read_answer(connection)

    def submit(self, **fields: Any) -> dict[str, Any]:
        """Submit a job that is queued until somebody claims it."""
        answer = self.client.post("/v1/jobs", json={"handler": "h", **fields})
        assert answer.status_code == 201, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def worker(self, *handlers: str, **hello: Any) -> str:
        """Register a worker and return its id."""
        specs = [{"name": name} for name in handlers]
        answer = self.client.post("/v1/workers", json={"name": "w", "handlers": specs, "slots": 4, **hello})
        assert answer.status_code == 201, answer.text
        id_: str = answer.json()["worker"]
        return id_

    def claim(self, worker: str, n: int = 1, wait: float = 0.0) -> list[dict[str, Any]]:
        """Claim jobs."""
        free = {"process": n, "asynchronous": 0, "total": n}
        answer = self.client.post(f"/v1/workers/{worker}/claim", json={"free": free, "wait": wait})
        assert answer.status_code == 200, answer.text
        leases: list[dict[str, Any]] = answer.json()["leases"]
        return leases

    def report(self, worker: str, lease: dict[str, Any], outcome: str = "succeeded", **fields: Any) -> dict[str, Any]:
        """Report how an attempt ended."""
        report = {"job": lease["job"], "attempt": lease["attempt"], "outcome": outcome, **fields}
        answer = self.client.post(f"/v1/workers/{worker}/report", json={"reports": [report]})
        assert answer.status_code == 200, answer.text
        settled: dict[str, Any] = answer.json()["settled"][0]
        return settled


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one answer with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return int(status.split()[1]), headers, body


def eventually(condition: Callable[[], T]) -> T:
    """Return the condition's value once it is true."""
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.005)
    raise AssertionError("it did not come true in time")


def check_problem(answer: httpx.Response, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """Assert that an answer is this problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(answer.content)
    assert problem["type"] == f"urn:rota:problem:{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    if field is not None:
        assert problem.get("field") == field, problem
    return problem
