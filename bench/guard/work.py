"""What the guard watches: each piece of work, how many jobs it is for, and whose processor time it takes."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import psutil
from msgspec import Raw, Struct
from tests import postgres

from bench.guard import bare, meters
from bench.guard.bare import Bare
from bench.guard.meters import Meter
from bench.guard.queue import MemoryQueue
from rota.core.jobs import Free, HandlerSpec, Lease, Report, Submission, WorkerHello
from rota.core.states import Outcome
from rota.http.app import create_app
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Store
from rota.store.sqlite.store import SqliteStore
from rota.worker.pool import Pool
from rota.worker.supervisor import Supervisor

SINGLE = 200
BATCH = 250
BULK = 1_000
_DRAINED = 2_000
ASGI = 200
_FREE = Free(process=BATCH, asynchronous=0, total=BATCH)
_BODY = msgspec.json.encode({"handler": "a", "data": {"n": 1, "payload": "x" * 80}, "labels": {"k": "v"}})


async def nothing() -> None:
    """Have nothing to prepare."""


class Task(Struct, frozen=True):
    """Work for `jobs` jobs, whose time each of `meters` reads in part, after `prepare`, which nobody counts."""

    name: str
    jobs: int
    run: Callable[[], Awaitable[None]]
    bare: Bare
    meters: Mapping[str, Meter]
    prepare: Callable[[], Awaitable[None]] = nothing

    def names(self) -> list[str]:
        """Return what the figures of its parts are called."""
        return [f"{self.name}{part and f', {part}'}" for part in self.meters]


class Jobs:
    """A service on a store, in this process and without its upkeep: nothing happens that is not asked for."""

    def __init__(self, store: Store) -> None:
        self.service = Service(store, sender=_Nobody(), lease_s=3600)
        self._app = create_app(self.service)
        self._store = store

    async def open(self) -> None:
        await self._store.open()
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="a")], slots=BATCH)
        self._worker = (await self.service.work.register(hello)).worker

    async def close(self) -> None:
        await self._store.close()

    async def singly(self) -> None:
        for _ in range(SINGLE):
            await self.service.jobs.submit(Submission(handler="b", data=Raw(b'{"n":1}')))

    async def in_bulk(self) -> None:
        await self.service.jobs.submit_many([Submission(handler="b", data=Raw(b'{"n":1}')) for _ in range(BULK)])

    async def fill(self) -> None:
        await self.service.jobs.submit_many([Submission(handler="a") for _ in range(BATCH)])

    async def claim_and_settle(self) -> None:
        leases = await self.service.work.claim(self._worker, _FREE)
        reports = [Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED) for lease in leases]
        answers = await self.service.work.settle(self._worker, reports)
        if len(leases) != BATCH or not all(answer.accepted for answer in answers):
            raise RuntimeError(f"{len(leases)} jobs were claimed")

    async def over_http(self) -> None:
        """Submit as a server's protocol would have it: without sockets."""
        for _ in range(ASGI):
            await self._post("/v1/jobs", _BODY)

    async def _post(self, path: str, body: bytes) -> None:
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        headers.append((b"content-length", b"%d" % len(body)))
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "extensions": {},
        }  # fmt: skip
        came = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return came.pop() if came else await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] != 201:
                raise RuntimeError(f"answered {message['status']}")

        await self._app(scope, receive, send)


class _Nobody:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:  # noqa: ARG002
        raise AssertionError("no job here has a hook")


class Hands:
    """A worker with real children, whose queue is in memory."""

    def __init__(self) -> None:
        self._queue = MemoryQueue()
        self._pool = Pool(["bench.handlers:app"], slots=1, scripts=False, on_output=lambda _: None)
        self._next = 0

    async def open(self) -> None:
        handlers = await self._pool.start()
        hello = WorkerHello(name="w", handlers=handlers, slots=1, async_slots=BATCH)
        supervisor = Supervisor(self._queue, self._pool, hello)
        self._supervisor = supervisor
        self._life = asyncio.create_task(supervisor.run())

    async def close(self) -> None:
        self._supervisor.request_drain()
        await self._life
        await self._pool.close()

    def children(self) -> list[psutil.Process]:
        found: list[psutil.Process] = psutil.Process().children(recursive=True)
        return found

    async def drain(self, handler: str, count: int, *, asynchronous: bool) -> None:
        names = [f"j{self._next + n}" for n in range(count)]
        self._next += count
        leases = [Lease(job=name, attempt=1, handler=handler, data=Raw(b'{"n":1}')) for name in names]
        done = asyncio.ensure_future(self._queue.drain(leases, asynchronous=asynchronous))
        await asyncio.wait((done, self._life), return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            done.cancel()
            raise RuntimeError("the worker has ended") from self._life.exception()


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[Task]]:
    """Open stores and a worker; yield all that is watched."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rota-bench-")))
        yield [*await _on_sqlite(stack, folder), *await _on_postgres(stack), *await _hands(stack, folder), *_starts()]


async def opened_in(stack: AsyncExitStack, jobs: Jobs) -> Jobs:
    """Open jobs until a stack is left."""
    await jobs.open()
    stack.push_async_callback(jobs.close)
    return jobs


async def _on_sqlite(stack: AsyncExitStack, folder: Path) -> list[Task]:
    jobs = await opened_in(stack, Jobs(SqliteStore(folder / "bench.db")))
    batches = bare.Batches(stack.enter_context(closing(bare.connect(folder / "batches.db"))))
    turns = bare.Turns(stack.enter_context(closing(bare.connect(folder / "turns.db"))))
    stack.callback(turns.close)
    mine = {"": meters.own}
    return [
        Task("SQLite: submit one by one", SINGLE, jobs.singly, turns, mine),
        Task("SQLite: submit one by one over HTTP", ASGI, jobs.over_http, turns, mine),
        Task("SQLite: submit in bulk", BULK, jobs.in_bulk, batches, mine),
        Task("SQLite: claim and settle", BATCH, jobs.claim_and_settle, batches, mine, jobs.fill),
    ]


async def _on_postgres(stack: AsyncExitStack) -> list[Task]:
    programs = postgres.found()
    if programs is None:
        print("LEFT OUT: PostgreSQL is not installed (Debian: apt-get install postgresql)", file=sys.stderr)
        return []
    cluster = postgres.Cluster(programs)
    stack.callback(cluster.remove)
    jobs = await opened_in(stack, Jobs(PostgresStore(cluster.new_database())))
    parts = {"server": meters.own, "database": meters.of(psutil.Process(cluster.pid).children)}
    con = await asyncpg.connect(cluster.new_database())
    stack.push_async_callback(con.close)
    one = bare.Postgres(con, parts["database"], together=1, cycles=200)
    many = bare.Postgres(con, parts["database"], together=200, cycles=4_000)
    return [
        Task("PostgreSQL: submit one by one", SINGLE, jobs.singly, one, parts),
        Task("PostgreSQL: submit in bulk", BULK, jobs.in_bulk, many, parts),
        Task("PostgreSQL: claim and settle", BATCH, jobs.claim_and_settle, many, parts, jobs.fill),
    ]


async def _hands(stack: AsyncExitStack, folder: Path) -> list[Task]:
    hands = Hands()
    await hands.open()
    stack.push_async_callback(hands.close)
    echo = bare.Echo()
    stack.callback(echo.close)
    parts = {"supervisor": meters.own, "children": meters.of(hands.children)}
    batches = bare.Batches(stack.enter_context(closing(bare.connect(folder / "hands.db"))), list(parts))

    async def asynchronous() -> None:
        await hands.drain("noop", _DRAINED, asynchronous=True)

    async def isolated() -> None:
        await hands.drain("noop_process", BATCH, asynchronous=False)

    return [
        Task("worker: async jobs", _DRAINED, asynchronous, batches, parts),
        Task("worker: isolated jobs", BATCH, isolated, echo, parts),
    ]


def _starts() -> list[Task]:
    async def command() -> None:
        bare.start("-m", "rota", "map", "--help")

    async def program() -> None:
        bare.start("-c", "import rota; rota.Client('http://127.0.0.1:1').close()")

    spent = {"": meters.ended_children}
    return [
        Task("start of a command: rota map --help", 1, command, bare.Start(), spent),
        Task("start of a program: import rota", 1, program, bare.Start(), spent),
    ]
