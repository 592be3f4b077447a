"""Several servers of one store, for asyncio. See servers.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rota.client.async_transport import AsyncTransport
from rota.client.problems import NobodyThere, ServerUnreachable
from rota.client.servers import GOING, SeveralServers
from rota.client.transport import Reply, Request


class AsyncServers(SeveralServers[AsyncTransport]):
    """The same for asyncio.

    A server that a caller gave up on is left too, unless it has answered another call meanwhile: it may be stopped, or cut
    off, and calls end long before a connection does. The calls that still wait for it are lost then, to be made again.
    """

    _replies = 0  # of whichever server: what is silent alone changes nothing

    async def send(self, request: Request) -> Reply:
        """Send to a server that can be reached, and return the whole reply. Raises ServerUnreachable."""
        for left in reversed(range(len(self._lines))):
            line, replies = self.line, self._replies
            try:
                reply = await line.send(request)
            except asyncio.CancelledError:
                if line is self.line and replies == self._replies and len(self._lines) > 1:
                    self.leave(line)
                    await line.aclose()
                raise
            except ServerUnreachable as lost:
                self.leave(line)
                if left and isinstance(lost, NobodyThere):  # nothing was sent
                    continue
                raise
            self._replies += 1
            if reply.status in GOING:
                self.leave(line)
            return reply
        raise AssertionError("there is at least one server")

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a reply that goes on. Raises ServerUnreachable, then and later: the next try is another server's."""
        line = self.line
        try:
            async with line.stream(request) as (status, pieces):
                if status in GOING:
                    self.leave(line)
                yield status, pieces
        except ServerUnreachable:
            self.leave(line)
            raise

    async def aclose(self) -> None:
        """Close the connections."""
        for line in self._lines:
            await line.aclose()
