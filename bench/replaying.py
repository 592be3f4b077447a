"""Records what the service asks of a store, and asks it again of a copy, from one loop without the service."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import asyncpg
from msgspec import Raw, Struct

from bench import cluster
from rota.core.jobs import Free, HandlerSpec, Report, Submission, WorkerHello
from rota.core.states import Outcome
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Store
from rota.store.sqlite.store import SqliteStore

_BULK = 1_000
_BATCH = 250
_FREE = Free(process=0, asynchronous=_BATCH, total=_BATCH)
_READY = b"Z"  # PostgreSQL's ReadyForQuery
_SIZE = 1 << 16


class _Nobody:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:  # noqa: ARG002
        raise AssertionError("no job here has a hook")


class _Jobs:
    """A service and a worker that calls it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._service = Service(store, sender=_Nobody(), lease_s=3600)

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def submit(self, count: int) -> int:
        """Submit in bulks; return how many."""
        for _ in range(count // _BULK):
            jobs = [Submission(handler="noop", data=Raw(b'{"n":1}')) for _ in range(_BULK)]
            await self._service.jobs.submit_many(jobs)
        return count // _BULK * _BULK

    async def register(self) -> None:
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="noop", mode="async")], slots=1, async_slots=_BATCH)
        self._worker = (await self._service.work.register(hello)).worker

    async def drain(self) -> None:
        """Claim and settle until nothing is left."""
        while leases := await self._service.work.claim(self._worker, _FREE):
            reports = [
                Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED, result=Raw(b"1"))
                for lease in leases
            ]
            await self._service.work.settle(self._worker, reports)


def _at_least(count: int) -> int:
    return max(count // _BULK, 2) * _BULK


# -- SQLite


class _Recording(SqliteStore):
    """Notes each statement that is run on the connections that it opens."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[tuple[bool, str, Any]] = []

    def _connect(self) -> sqlite3.Connection:
        return cast(sqlite3.Connection, _Noting(super()._connect(), self.asked))


class _Noting:
    def __init__(self, con: sqlite3.Connection, asked: list[tuple[bool, str, Any]]) -> None:
        self._con = con
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        self._asked.append((False, sql, values))
        return self._con.execute(sql, values)

    def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
        kept = list(rows)
        self._asked.append((True, sql, kept))
        return self._con.executemany(sql, kept)


async def sqlite(count: int) -> tuple[float, float]:
    """Return jobs a second of the same SQL: submitted; claimed and settled."""
    count = _at_least(count)
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as name:
        folder = Path(name)
        store = _Recording(folder / "bench.db")
        jobs = _Jobs(store)
        await jobs.open()
        await jobs.close()
        shutil.copy(folder / "bench.db", folder / "copy.db")
        await jobs.open()
        store.asked.clear()
        await jobs.submit(count)
        submitted = store.asked.copy()
        await jobs.register()
        registered = store.asked[len(submitted) :]
        await jobs.drain()
        drained = store.asked[len(submitted) + len(registered) :]
        await jobs.close()
        copy = SqliteStore(folder / "copy.db")
        con = copy._connect()
        try:
            taken = [_again(con, asked) for asked in (submitted, registered, drained)]
            (over,) = con.execute("SELECT count(*) FROM rota_jobs WHERE state = 'succeeded'").fetchone()
        finally:
            con.close()
    if over != count:
        raise RuntimeError(f"{over} of {count} jobs succeeded in the copy")
    return count / taken[0], count / taken[2]


def _again(con: sqlite3.Connection, asked: Sequence[tuple[bool, str, Any]]) -> float:
    began = time.perf_counter()
    for many, sql, values in asked:
        if many:
            con.executemany(sql, values)
        else:
            con.execute(sql, values).fetchall()
    return time.perf_counter() - began


# -- PostgreSQL


class _Exchange(Struct):
    """Bytes that a connection sent until all was answered, and how many times PostgreSQL said that it was ready."""

    connection: int
    sent: bytes
    ready: int


class _Wire:
    """Stands between a store and PostgreSQL, and notes what goes by."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.exchanges: list[_Exchange] = []
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        """Return the port that it listens on."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self._connections
        self._connections += 1
        answers, questions = await asyncio.open_connection("127.0.0.1", self._port)
        open_: list[_Exchange] = []

        async def ask() -> None:
            while data := await reader.read(_SIZE):
                if not open_:
                    open_.append(_Exchange(number, b"", 0))
                    self.exchanges.append(open_[0])
                open_[0].sent += data
                questions.write(data)
            questions.close()

        async def answer() -> None:
            parser = _Parser()
            while data := await answers.read(_SIZE):
                ready, whole = parser.feed(data)
                if open_:
                    open_[0].ready += ready
                    if ready and whole:
                        open_.clear()
                writer.write(data)
            writer.close()

        for each in (ask(), answer()):
            task = asyncio.ensure_future(each)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


class _Parser:
    """Reads the types of PostgreSQL's messages."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> tuple[int, bool]:
        """Return how many of the messages that are whole now say that it is ready, and whether the last of all is one."""
        data = self._left + data
        at = ready = 0
        last = b""
        while len(data) - at >= 5:
            end = at + 1 + int.from_bytes(data[at + 1 : at + 5], "big")
            if end > len(data):
                break
            last = data[at : at + 1]
            ready += last == _READY
            at = end
        self._left = data[at:]
        return ready, last == _READY and not self._left


async def postgres(count: int) -> tuple[float, float]:
    """Return jobs a second of the same SQL: submitted; claimed and settled."""
    count = _at_least(count)
    with cluster.new_database() as database:
        url, _, name = database.url.rpartition("/")
        store = PostgresStore(database.url)
        await store.open()
        await store.close()
        database.sql("VACUUM ANALYZE")
        database.cluster.sql(f"CREATE DATABASE copy TEMPLATE {name}")
        wire = _Wire(database.cluster.port)
        port = await wire.listen()
        host = url.rpartition(":")[0]
        jobs = _Jobs(PostgresStore(f"{host}:{port}/{name}?sslmode=disable"))
        await jobs.open()
        await jobs.submit(count)
        marks = [len(wire.exchanges)]
        await jobs.register()
        marks.append(len(wire.exchanges))
        await jobs.drain()
        asked = wire.exchanges.copy()
        await jobs.close()
        wire.close()
        database.sql("CHECKPOINT")
        taken = await asyncio.to_thread(_replay, database.cluster.port, name, asked, marks)
        con = await asyncpg.connect(f"{url}/copy")
        over = await con.fetchval("SELECT count(*) FROM rota_jobs WHERE state = 'succeeded'")
        await con.close()
    if over != count:
        raise RuntimeError(f"{over} of {count} jobs succeeded in the copy")
    return count / taken[0], count / taken[2]


def _replay(port: int, name: str, asked: Sequence[_Exchange], marks: Sequence[int]) -> list[float]:
    """Send all again, in order, to the copy; return the seconds of each part between marks."""
    import socket

    lines: dict[int, tuple[socket.socket, _Parser]] = {}
    taken = []
    try:
        for first, end in zip((0, *marks), (*marks, len(asked)), strict=True):
            began = time.perf_counter()
            for exchange in asked[first:end]:
                sent = exchange.sent
                if exchange.connection not in lines:
                    line = socket.create_connection(("127.0.0.1", port))
                    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    lines[exchange.connection] = (line, _Parser())
                    sent = _elsewhere(sent, name)
                line, parser = lines[exchange.connection]
                line.sendall(sent)
                ready = 0
                while ready < exchange.ready:
                    data = line.recv(_SIZE)
                    if not data:
                        raise RuntimeError("PostgreSQL has closed the connection")
                    ready += parser.feed(data)[0]
            taken.append(time.perf_counter() - began)
    finally:
        for line, _ in lines.values():
            line.close()
    return taken


def _elsewhere(startup: bytes, name: str) -> bytes:
    """Return the first message of a connection with the name of the copy in it, and what came after it."""
    size = int.from_bytes(startup[:4], "big")
    body = startup[4:size].replace(f"database\0{name}\0".encode(), b"database\0copy\0")
    return (len(body) + 4).to_bytes(4, "big") + body + startup[size:]
