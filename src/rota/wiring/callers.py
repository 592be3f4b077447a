"""The connections that callers have: which there are, and how the named statements of a store run on each.

What runs on a connection that blocks never suspends, so that it needs no event loop. SQLAlchemy is asked for the driver's own
connection, once it has begun its transaction; only SQLite under its asyncio is reached through it.
"""

from __future__ import annotations

import inspect
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from rota.core.errors import Invalid

T = TypeVar("T")
InFile = Callable[[Any], T]
InDatabase = Callable[[Any], Coroutine[Any, Any, T]]
_BEGIN = "SELECT 1"  # SQLAlchemy begins a transaction with whatever comes first


def submit_through(connection: Any, in_file: InFile[T], in_database: InDatabase[T]) -> T | Awaitable[T]:
    """Run `in_file` with what SqliteTx takes, or `in_database` with what PostgresTx takes, of a caller's connection.

    The answer of a connection that is awaited is to be awaited. Raises Invalid for one that cannot be used.
    """
    if isinstance(connection, sqlite3.Connection):
        return in_file(_begun(connection, connection))
    if _is(connection, "asyncpg", "Connection", "pool.PoolConnectionProxy"):
        return in_database(_asyncpg(connection))
    if _is(connection, "psycopg", "Connection"):
        return _at_once(in_database(Psycopg(connection)))
    if _is(connection, "psycopg", "AsyncConnection"):
        return in_database(Psycopg(connection))
    if _is(connection, "sqlalchemy.ext.asyncio", "AsyncSession", "AsyncConnection", "async_scoped_session"):
        return _through_async_sqlalchemy(connection, in_file, in_database)
    if _is(connection, "sqlalchemy.orm", "Session", "scoped_session"):
        return submit_through(connection.connection(), in_file, in_database)
    if _is(connection, "sqlalchemy", "Connection"):
        _check_open(connection.closed)
        connection.exec_driver_sql(_BEGIN)
        return submit_through(_driver(connection, connection.connection), in_file, in_database)
    raise _unknown(connection)


async def _through_async_sqlalchemy(connection: Any, in_file: InFile[T], in_database: InDatabase[T]) -> T:
    if not _is(connection, "sqlalchemy.ext.asyncio", "AsyncConnection"):
        connection = await connection.connection()
    _check_open(connection.closed)
    await connection.exec_driver_sql(_BEGIN)
    if connection.dialect.name == "sqlite":
        found: T = await connection.run_sync(lambda con: in_file(_through_dbapi(con.connection)))
        return found
    answer = submit_through(_driver(connection, await connection.get_raw_connection()), in_file, in_database)
    if inspect.isawaitable(answer):
        return await answer
    return answer


def _driver(connection: Any, raw: Any) -> Any:
    """Return the driver's connection under one of SQLAlchemy. Raises Invalid for a driver that we do not know."""
    driver = raw.driver_connection
    known = isinstance(driver, sqlite3.Connection) or _is(driver, "asyncpg", "Connection")
    if not known and not _is(driver, "psycopg", "Connection", "AsyncConnection"):
        dialect = f"{connection.dialect.name}+{connection.dialect.driver}"
        raise Invalid(
            "connection", f"is SQLAlchemy's, with {dialect}; it can be sqlite, postgresql+psycopg or postgresql+asyncpg"
        )
    return driver


class Psycopg:
    """A connection of psycopg 3, blocking or not, that takes statements as asyncpg's does."""

    def __init__(self, connection: Any) -> None:
        import psycopg

        _check_open(connection.closed)
        if connection.autocommit and connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE:
            raise _no_transaction()
        self._blocks = isinstance(connection, psycopg.Connection)
        self._connection = connection
        self._cursor: Any = psycopg.RawCursor if self._blocks else psycopg.AsyncRawCursor
        self._row = psycopg.rows.tuple_row  # the caller's own rows may be anything

    async def fetch(self, sql: str, *values: Any) -> Sequence[Sequence[Any]]:
        """Run a statement, and return its rows."""
        cursor = self._cursor(self._connection, row_factory=self._row)
        if self._blocks:
            cursor.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []
        await cursor.execute(sql, values or None)
        return await cursor.fetchall() if cursor.description else []

    async def fetchval(self, sql: str, *values: Any) -> Any:
        """Run a statement, and return the first value of its first row."""
        rows = await self.fetch(sql, *values)
        return rows[0][0] if rows else None

    async def execute(self, sql: str) -> None:
        """Run statements that take no values."""
        await self.fetch(sql)


class _Cursors:
    """A DBAPI connection that takes statements as sqlite3's does, each with a cursor of its own."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement, and return its cursor."""
        cursor = self._connection.cursor()
        cursor.execute(sql, values)
        return cursor

    def executemany(self, sql: str, rows: Any) -> Any:
        """Run a statement for each row of values."""
        cursor = self._connection.cursor()
        if rows := list(rows):
            cursor.executemany(sql, rows)
        return cursor


def _through_dbapi(raw: Any) -> _Cursors:
    cursors = _Cursors(raw.dbapi_connection)
    if not raw.driver_connection.in_transaction:
        cursors.execute("BEGIN IMMEDIATE")
    return cursors


def _begun(connection: sqlite3.Connection, at: Any) -> sqlite3.Cursor:
    try:
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")
        cursor: sqlite3.Cursor = at.cursor()
    except sqlite3.ProgrammingError as error:
        raise Invalid("connection", f"cannot be used: {error}") from error
    cursor.row_factory = None  # the caller's own rows may be anything
    return cursor


def _asyncpg(connection: Any) -> Any:
    _check_open(connection.is_closed())
    if not connection.is_in_transaction():
        raise _no_transaction()
    return connection


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end what never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise RuntimeError("something waits on a connection that blocks")


def _is(connection: Any, module: str, *names: str) -> bool:
    """Say whether a connection is of one of these classes; of a library that nobody has imported it is not."""
    if (found := sys.modules.get(module)) is None:
        return False
    for name in names:
        kind: Any = found
        for part in name.split("."):
            kind = getattr(kind, part, None)
        if kind is not None and isinstance(connection, kind):
            return True
    return False


def _check_open(closed: object) -> None:
    if closed:
        raise Invalid("connection", "is closed")


def _no_transaction() -> Invalid:
    return Invalid("connection", "is in no transaction: begin one, and commit it with what belongs to the job")


def _unknown(connection: Any) -> Invalid:
    kind = type(connection)
    return Invalid(
        "connection",
        f"is a {kind.__module__}.{kind.__qualname__}; it can be one of sqlite3, psycopg (3), asyncpg, or a connection "
        "or session of SQLAlchemy on these",
    )
