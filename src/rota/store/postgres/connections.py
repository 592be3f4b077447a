"""Connections to PostgreSQL: a bounded number, each used by one transaction at a time.

No statement is prepared and nothing is set but with SET LOCAL, so a transaction may find itself on any connection of a
pooler in between (PgBouncer in transaction mode, also of before 1.21).
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from asyncpg import Connection, exceptions

from rota.core.errors import Invalid, Unavailable

CONNECT_S = 5.0
SERVERS = "rota"  # the name of the connections of servers, and of workers that use the store themselves
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
)


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
    """At most `most` connections; one that was used last is used first. `answer_s` is how long one answer may take."""

    def __init__(self, url: str, *, most: int, answer_s: float) -> None:
        self._url = url
        self._answer_s = answer_s
        self._room = asyncio.Semaphore(most)
        self._idle: list[Connection[Any]] = []
        self._all: set[Connection[Any]] = set()

    async def take(self) -> Connection[Any]:
        """Return a connection, a new one if none is idle; wait for one when there are enough. Raises what LOST names."""
        await self._room.acquire()
        try:
            while self._idle:
                con = self._idle.pop()
                if not con.is_closed():
                    return con
                self._all.discard(con)
            return await self.connect()
        except BaseException:
            self._room.release()
            raise

    async def connect(self) -> Connection[Any]:
        """Make a connection. Raises what LOST names; Invalid, Unavailable for what no second try mends."""
        con = await connect(self._url, name=SERVERS, answer_s=self._answer_s)
        self._all.add(con)
        return con

    def give(self, con: Connection[Any], *, good: bool) -> None:
        """Take a connection back; one that is not `good`, or in the middle of something, is thrown away."""
        if good and not con.is_closed() and not con.is_in_transaction():
            self._idle.append(con)
        else:
            self._all.discard(con)
            con.terminate()
        self._room.release()

    async def close(self) -> None:
        """Close all; those that are in use are cut."""
        for con in self._idle:
            try:
                await con.close(timeout=2)
            except LOST:
                con.terminate()
            self._all.discard(con)
        self._idle.clear()
        for con in self._all:
            con.terminate()
        self._all.clear()
