"""Carries the hints between servers by LISTEN and NOTIFY, on connections of their own: no transaction that writes waits for it.

A pooler in between that gives each transaction another connection forbids it. Such a bell does not hear itself, and says
so: it rings by one connection and listens by another, for one that notifies is always told of what it notified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from rota.core.errors import Unavailable
from rota.store.postgres.connections import Connections

CHANNEL = "rota"
_NOTIFY = "SELECT pg_notify($1, $2)"
_SESSION = "SET synchronous_commit = off"  # a hint need not reach the disk before it is heard
_ANSWER_S = 5.0  # of a statement; and a bell that has not heard itself for so long is not heard
_CHECK_S = 15.0  # between two of its own messages: a connection may be cut without a word


class NotifyBell:
    """Satisfies `rota.service.relay.Bell`."""

    mode = "notify"

    def __init__(self, url: str, name: str) -> None:
        """`name` is one that no other bell has."""
        self._connections = Connections(url, most=2, answer_s=_ANSWER_S, session=_SESSION)
        self._probe = f"?{name}"  # no message begins so
        self._heard_itself = asyncio.Event()
        self._ringing = asyncio.Lock()

    async def ring(self, message: str) -> None:
        """Notify all that listen. Raises what asyncpg raises."""
        async with self._ringing:
            con = await self._connections.take()
            good = False
            try:
                prepared = self._connections.prepared(con)
                if prepared is None:
                    await con.execute(_NOTIFY, CHANNEL, message)
                else:
                    await (await prepared.get("notify", _NOTIFY)).fetch(CHANNEL, message)
                good = True
            finally:
                self._connections.give(con, good=good)

    async def listen(self, heard: Callable[[str], None], joined: Callable[[], None]) -> None:
        """Listen until the connection is lost. Raises Unavailable, and what asyncpg raises."""
        con = await self._connections.take()
        lost = asyncio.Event()

        def on_message(_con: object, _pid: int, _channel: str, message: object) -> None:
            if message == self._probe:
                self._heard_itself.set()
            elif not str(message).startswith("?"):
                heard(str(message))

        try:
            con.add_termination_listener(lambda _con: lost.set())
            await con.add_listener(CHANNEL, on_message)
            await self._hear_itself()
            joined()
            while not lost.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(lost.wait(), _CHECK_S)
                    break
                await self._hear_itself()
            raise Unavailable("the connection that hints come by was lost")
        finally:
            self._connections.give(con, good=False)

    async def _hear_itself(self) -> None:
        self._heard_itself.clear()
        await self.ring(self._probe)
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._heard_itself.wait()
        except TimeoutError:
            raise Unavailable("NOTIFY does not come through: a pooler in between forbids it") from None

    async def close(self) -> None:
        """Close the connection."""
        await self._connections.close()
