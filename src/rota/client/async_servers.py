"""Several servers of one store, for asyncio. See servers.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rota.client.async_transport import AsyncTransport
from rota.client.problems import NobodyThere, ServerUnreachable
from rota.client.servers import GOING, SeveralServers
from rota.client.transport import Reply, Request


class AsyncServers(SeveralServers[AsyncTransport]):
    """The same for asyncio."""

    async def send(self, request: Request) -> Reply:
        """Send to a server that can be reached, and return the whole reply. Raises ServerUnreachable."""
        for left in reversed(range(len(self._lines))):
            line = self.line
            try:
                reply = await line.send(request)
            except ServerUnreachable as lost:
                self.leave(line)
                if left and isinstance(lost, NobodyThere):  # nothing was sent
                    continue
                raise
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
