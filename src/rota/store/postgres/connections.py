"""Connections to PostgreSQL: a bounded number, each used by one transaction at a time.

A connection is *straight* when what answers is the process that greeted us: its session is ours, so statements are
prepared in it, once each, and limits are set for all of it. Otherwise a pooler is in between (PgBouncer in transaction
mode, also of before 1.21): each transaction may find itself in another session, so nothing is prepared there, and nothing
set but with SET LOCAL.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from typing import Any

import asyncpg
from asyncpg import Connection, exceptions
from asyncpg.prepared_stmt import PreparedStatement

from rota.core.errors import Invalid, Unavailable
from rota.store.postgres.pipeline import execution

CONNECT_S = 5.0
SERVERS = "rota"  # the name of the connections of servers, and of workers that use the store themselves
_PID = "SELECT pg_backend_pid()"
BAD_VALUE = exceptions.DataError  # what cannot be stored: NUL in a text, a number too large
# A connection that is good for nothing any more, or that leads to a server which cannot write.
LOST = (
    OSError,
    TimeoutError,
    exceptions.InterfaceError,
    exceptions.InternalClientError,
    exceptions.PostgresConnectionError,
    exceptions.AdminShutdownError,
    exceptions.CrashShutdownError,
    exceptions.CannotConnectNowError,
    exceptions.IdleInTransactionSessionTimeoutError,
    exceptions.IdleSessionTimeoutError,
    exceptions.ReadOnlySQLTransactionError,
    exceptions.TooManyConnectionsError,
    exceptions.InvalidCachedStatementError,  # the tables have changed below it
)
# A session that has not got what we prepared, or has it from somebody else: a pooler that hid well is in between.
NOT_OURS = (exceptions.InvalidSQLStatementNameError, exceptions.DuplicatePreparedStatementError)


class Prepared:
    """The statements that were prepared in the session of a straight connection."""

    def __init__(self, con: Connection[Any]) -> None:
        self._con = con
        self._by_name: dict[str, tuple[str, PreparedStatement[Any]]] = {}

    async def get(self, name: str, sql: str) -> PreparedStatement[Any]:
        """Return a statement, prepared now if it was not yet. A name in the session always stands for the same text."""
        return (self._by_name.get(name) or await self._prepare(name, sql))[1]

    async def execution(self, name: str, sql: str, values: Sequence[Any]) -> bytes:
        """Return the messages that run a statement which returns no rows, for `pipeline.send`."""
        unique, statement = self._by_name.get(name) or await self._prepare(name, sql)
        assert not statement.get_attributes(), f"{name} returns rows"
        return execution(unique, values)

    async def _prepare(self, name: str, sql: str) -> tuple[str, PreparedStatement[Any]]:
        unique = f"rota_{name}_{zlib.crc32(sql.encode()):08x}"
        made = unique, await self._con.prepare(sql, name=unique)
        await self._con.execute(
            "SELECT"
        )  # with a Sync: what asyncpg leaves open would be a transaction without a beginning
        self._by_name[name] = made
        return made


async def connect(url: str, *, name: str, answer_s: float | None) -> Connection[Any]:
    """Make a connection that PostgreSQL knows by a name (`application_name`). An answer may take `answer_s`, or any time.

    Raises what LOST names; Invalid, Unavailable for what no second try mends.
    """
    try:
        return await asyncpg.connect(
            url, statement_cache_size=0, timeout=CONNECT_S, command_timeout=answer_s,
            server_settings={"application_name": name},
        )  # fmt: skip
    except (exceptions.InvalidAuthorizationSpecificationError, exceptions.InvalidCatalogNameError) as error:
        raise Unavailable(f"PostgreSQL refuses us: {error}") from None
    except (exceptions.ClientConfigurationError, ValueError) as error:
        raise Invalid("store", str(error)) from None


class Connections:
    """At most `most` connections; one that was used last is used first. `answer_s` is how long one answer may take.

    `session` is what is set at the start of straight ones.
    """

    def __init__(self, url: str, *, most: int, answer_s: float, session: str = "") -> None:
        self._url = url
        self._answer_s = answer_s
        self._session = session
        self._room = asyncio.Semaphore(most)
        self._idle: list[Connection[Any]] = []
        self._all: dict[Connection[Any], Prepared | None] = {}
        self.may_prepare = bool(session)

    def prepared(self, con: Connection[Any]) -> Prepared | None:
        """Return what is prepared on a connection; None: it is not straight."""
        return self._all.get(con) if self.may_prepare else None

    async def take(self) -> Connection[Any]:
        """Return a connection, a new one if none is idle; wait for one when there are enough. Raises what LOST names."""
        await self._room.acquire()
        try:
            while self._idle:
                con = self._idle.pop()
                if not con.is_closed():
                    return con
                self._all.pop(con, None)
            return await self.connect()
        except BaseException:
            self._room.release()
            raise

    async def connect(self) -> Connection[Any]:
        """Make a connection. Raises what LOST names; Invalid, Unavailable for what no second try mends."""
        con = await connect(self._url, name=SERVERS, answer_s=self._answer_s)
        self._all[con] = None
        try:
            if self.may_prepare and await con.fetchval(_PID) == con.get_server_pid():
                await con.execute(self._session)
                self._all[con] = Prepared(con)
        except BaseException:
            del self._all[con]
            con.terminate()
            raise
        return con

    def give(self, con: Connection[Any], *, good: bool) -> None:
        """Take a connection back; one that is not `good`, or in the middle of something, is thrown away."""
        if good and not con.is_closed() and not con.is_in_transaction():
            self._idle.append(con)
        else:
            self._all.pop(con, None)
            con.terminate()
        self._room.release()

    async def close(self) -> None:
        """Close all; those that are in use are cut."""
        for con in self._idle:
            try:
                await con.close(timeout=2)
            except LOST:
                con.terminate()
            self._all.pop(con, None)
        self._idle.clear()
        for con in self._all:
            con.terminate()
        self._all.clear()
