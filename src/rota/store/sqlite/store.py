"""The SQLite store: who owns the file, its schema, and its two threads (one writes, one reads)."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from rota.core.errors import StoreInUse, StoreTooNew, Unavailable
from rota.store import statements
from rota.store.sqlite.runner import InlineRunner, ThreadRunner
from rota.store.sqlite.tx import SqliteTx

T = TypeVar("T")
_TAKE_OVER_S = 10.0
SCHEMA_VERSION = 16


def host_clock() -> int:
    """Return the host's time in microseconds since 1970: the clock of an embedded store."""
    return time.time_ns() // 1000


class SqliteStore:
    """See store/protocol.py.

    `synchronous=FULL`: a commit is on the disk, not in its cache, before anybody is answered. `clock` gives the store's
    time. `inline` runs every transaction at once in the calling thread (for tests); the file is then not locked.
    """

    exclusive = True
    schema_version = SCHEMA_VERSION

    def __init__(self, path: str | Path, *, clock: Callable[[], int] = host_clock, inline: bool = False) -> None:
        self.path = Path(path).absolute()
        self.clock = clock
        self._inline = inline
        self._lock_fd: int | None = None
        self._sql = statements.load("rota.store.sqlite.sql")
        self._writer: InlineRunner | ThreadRunner | None = None
        self._reader: InlineRunner | ThreadRunner | None = None

    @property
    def lock_fd(self) -> int:
        """Return the file descriptor that holds the file's lock. Who inherits it keeps the file owned."""
        assert self._lock_fd is not None, "the store is not open"
        return self._lock_fd

    @property
    def inline_runner(self) -> InlineRunner:
        """Return the runner of an inline store: tests hook into its commit boundaries."""
        assert isinstance(self._writer, InlineRunner)
        return self._writer

    async def open(self) -> None:
        """Lock the file, and migrate its schema."""
        if not self._inline:
            self._lock_fd = take_ownership(self.path)
        try:
            connection = self._connect()
            migrate(connection)
            if self._inline:
                self._writer = self._reader = InlineRunner(connection, self.clock, self._sql)
            else:
                connection.close()
                self._writer = ThreadRunner(self._connect, self.clock, self._sql, writes=True)
                self._reader = ThreadRunner(self._connect, self.clock, self._sql, writes=False)
        except BaseException:
            self._release()
            raise

    async def write(self, function: Callable[[SqliteTx], Awaitable[T]]) -> T:
        """Run a transaction function; return when it is durable."""
        assert self._writer is not None, "the store is not open"
        return await self._writer.run(function)

    async def read(self, function: Callable[[SqliteTx], Awaitable[T]]) -> T:
        """Run a function that only reads."""
        assert self._reader is not None, "the store is not open"
        return await self._reader.run(function)

    async def close(self) -> None:
        """Finish what was begun; let go of the file."""
        for runner in {id(r): r for r in (self._reader, self._writer) if r is not None}.values():
            runner.stop()
        self._reader = self._writer = None
        self._release()

    def _release(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _connect(self) -> sqlite3.Connection:
        try:
            with suppress(OSError):  # what is wrong with the path, SQLite says better
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))  # jobs' data is their owner's alone
            con = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=10
            )
            con.execute("PRAGMA journal_mode = WAL")
            con.execute("PRAGMA synchronous = FULL")
            con.execute("PRAGMA wal_autocheckpoint = 4000")
            con.execute("PRAGMA journal_size_limit = 67108864")
            con.execute("PRAGMA cache_size = -16384")
            con.execute("PRAGMA temp_store = MEMORY")
        except sqlite3.Error as error:
            raise Unavailable(f"{self.path} cannot be opened as an SQLite file: {error}") from error
        return con


def migrate(con: sqlite3.Connection) -> None:
    """Bring the schema up to date, each step in a transaction. Raises StoreTooNew for a file of a later Rota."""
    con.execute("BEGIN IMMEDIATE")
    try:
        con.execute(
            "CREATE TABLE IF NOT EXISTS rota_schema (version INTEGER NOT NULL) STRICT"
        )  # ours, unlike user_version
        (version,) = con.execute("SELECT coalesce(max(version), 0) FROM rota_schema").fetchone()
        if version > SCHEMA_VERSION:
            raise StoreTooNew(
                f"the store has schema {version}, this Rota knows up to {SCHEMA_VERSION}: start a newer Rota on it"
            )
        steps = sorted(p.name for p in files("rota.store.sqlite.migrations").iterdir() if p.name.endswith(".sql"))
        for step in steps[version:]:
            for statement in _split(files("rota.store.sqlite.migrations").joinpath(step).read_text("utf-8")):
                con.execute(statement)
        con.execute("DELETE FROM rota_schema")
        con.execute("INSERT INTO rota_schema VALUES (?)", (SCHEMA_VERSION,))
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise


def _split(script: str) -> list[str]:
    """Split a script into statements: `executescript` would commit the transaction that it runs in."""
    statements_, piece = [], ""
    for line in script.splitlines(keepends=True):
        if not line.lstrip().startswith("--"):
            piece += line
        if sqlite3.complete_statement(piece) and piece.strip():
            statements_.append(piece)
            piece = ""
    return statements_


def lock_path(path: Path) -> Path:
    """Return the side file whose lock says who owns a store's file."""
    return path.with_name(path.name + ".lock")


def take_ownership(path: Path) -> int:
    """Lock the side file and write our pid into it; return its descriptor.

    The server's own workers inherit the descriptor, so the lock is free only when the last of them has ended: whoever
    gets it knows that nothing of the former owner runs any more. Raises StoreInUse at once when the owner is alive;
    while only its workers are left, waits for them to end.
    """
    try:
        fd = os.open(lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"{lock_path(path)} cannot be opened: {error.strerror}") from error
    deadline = time.monotonic() + _TAKE_OVER_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            pid = _pid_in(fd)
            if (pid is not None and is_alive(pid)) or time.monotonic() > deadline:
                os.close(fd)
                raise StoreInUse(
                    f"{path} is owned by process {pid}; stop it first, or use its server instead of a second one", pid
                ) from None
            time.sleep(0.05)
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps({"pid": os.getpid()}).encode(), 0)
    return fd


def _pid_in(fd: int) -> int | None:
    try:
        return int(json.loads(os.pread(fd, 4096, 0))["pid"])
    except (ValueError, KeyError, TypeError):
        return None


def is_alive(pid: int) -> bool:
    """Say whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie is dead: whoever ought to reap it has not come round to it
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return os.path.exists(f"/proc/{pid}") or not os.path.isdir("/proc/self")
