"""Bare loops: what every figure of the guard is divided by, so that it says the same on a slow machine and a busy one.

Each does in as few lines as it can what the work beside it does too: rows in batches, rows one at a time with a turn of another
thread or process each, a new interpreter. A run begins with empty tables.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import msgspec
import psutil

from bench.guard import meters
from bench.guard.meters import Meter

_BATCH = 100
_SQLITE = """
DROP TABLE IF EXISTS things;
CREATE TABLE things (id TEXT PRIMARY KEY, state TEXT NOT NULL, data BLOB);
CREATE INDEX things_by_state ON things (state, id);
"""
_POSTGRES = """
DROP TABLE IF EXISTS things;
CREATE TABLE things (id text PRIMARY KEY, state text NOT NULL, data text);
CREATE INDEX things_by_state ON things (state, id);
"""
_ECHO = """
import socket, sys
line = socket.socket(fileno=int(sys.argv[1]))
while data := line.recv(65536):
    line.sendall(data)
"""


class Bare(Protocol):
    """A bare loop: how many cycles a run has. A part of the work has a clock in `meters` of who does it here."""

    cycles: int
    meters: dict[str, Meter]

    async def prepare(self) -> None:
        """Empty what a run fills."""

    async def run(self) -> None:
        """Do all cycles."""


class Thing(msgspec.Struct):
    id: str
    state: str
    data: msgspec.Raw
    labels: dict[str, str]


def connect(file: Path) -> sqlite3.Connection:
    """Open a file as the store does."""
    con = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    con.execute("PRAGMA journal_mode = wal")
    con.execute("PRAGMA synchronous = full")
    return con


def names(count: int) -> list[str]:
    return [f"{n:026d}" for n in range(count)]


def coded(id_: str) -> Thing:
    """Encode and decode a thing."""
    thing = Thing(id_, "queued", msgspec.Raw(b'{"n": 1}'), {"a": id_})
    return msgspec.json.decode(msgspec.json.encode(thing), type=Thing)


class Batches:
    """Encodes, decodes, inserts and updates rows, in batches of a transaction each: a job queue without a queue."""

    cycles = 2_000

    def __init__(self, con: sqlite3.Connection, parts: Sequence[str] = ("",)) -> None:
        self._con = con
        self.meters = dict.fromkeys(parts, meters.own)

    async def prepare(self) -> None:
        self._con.executescript(_SQLITE)

    async def run(self) -> None:
        ids = names(self.cycles)
        for at in range(0, self.cycles, _BATCH):
            self._con.execute("BEGIN")
            for id_ in ids[at : at + _BATCH]:
                again = coded(id_)
                self._con.execute("INSERT INTO things VALUES (?, ?, ?)", (again.id, again.state, bytes(again.data)))
            for id_ in ids[at : at + _BATCH]:
                self._con.execute("UPDATE things SET state = 'done' WHERE id = ? AND state = 'queued'", (id_,))
            self._con.execute("COMMIT")


class Turns:
    """Inserts rows one at a time, each in a transaction of a thread that does nothing else."""

    cycles = 300

    def __init__(self, con: sqlite3.Connection) -> None:
        self._con = con
        self._asked: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()
        self.meters: dict[str, Meter] = {"": meters.own}

    def close(self) -> None:
        self._asked.put(None)
        self._thread.join()

    async def prepare(self) -> None:
        self._con.executescript(_SQLITE)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for id_ in names(self.cycles):
            done = loop.create_future()
            self._asked.put(partial(self._insert, loop, coded(id_), done))
            await done

    def _insert(self, loop: asyncio.AbstractEventLoop, thing: Thing, done: asyncio.Future[None]) -> None:
        self._con.execute("BEGIN IMMEDIATE")
        self._con.execute("INSERT INTO things VALUES (?, ?, ?)", (thing.id, thing.state, bytes(thing.data)))
        self._con.execute("COMMIT")
        loop.call_soon_threadsafe(done.set_result, None)

    def _work(self) -> None:
        while (work := self._asked.get()) is not None:
            work()


class Postgres:
    """Inserts rows and updates them, `together` in a statement."""

    def __init__(self, con: asyncpg.Connection[Any], database: Meter, *, together: int, cycles: int) -> None:
        self._con = con
        self._together = together
        self.cycles = cycles
        self.meters = {"server": meters.own, "database": database}

    async def prepare(self) -> None:
        await self._con.execute(_POSTGRES)

    async def run(self) -> None:
        ids = names(self.cycles)
        for at in range(0, self.cycles, self._together):
            some = [coded(id_).id for id_ in ids[at : at + self._together]]
            await self._con.execute(
                "INSERT INTO things SELECT id, 'queued', '{}' FROM unnest($1::text[]) AS t (id)", some
            )
            await self._con.execute(
                "UPDATE things SET state = 'done' FROM unnest($1::text[]) AS t (id) WHERE things.id = t.id", some
            )


class Echo:
    """Sends messages to another process, one after the other, and waits for each to come back."""

    cycles = 1_000

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            self._process = subprocess.Popen([sys.executable, "-c", _ECHO, str(fd)], pass_fds=[fd])
        ours.setblocking(False)
        self._line = ours
        process = psutil.Process(self._process.pid)
        self.meters = {"supervisor": meters.own, "children": meters.of(lambda: [process])}

    def close(self) -> None:
        self._line.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    async def prepare(self) -> None:
        """Wait until it is there."""
        await self._echo(b"x")

    async def run(self) -> None:
        for id_ in names(self.cycles):
            await self._echo(msgspec.json.encode(coded(id_)))

    async def _echo(self, message: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._line, message)
        left = len(message)
        while left:
            left -= len(await loop.sock_recv(self._line, left))


class Start:
    """Starts an interpreter that imports what every program of this kind does."""

    cycles = 1

    def __init__(self) -> None:
        self.meters: dict[str, Meter] = {"": meters.ended_children}

    async def prepare(self) -> None:
        pass

    async def run(self) -> None:
        start("-c", "import asyncio, json, http.client, sqlite3")


def start(*arguments: str) -> None:
    """Run Python until it ends."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
