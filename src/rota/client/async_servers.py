"""Several servers of one store, for asyncio. See servers.py."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rota.client.address import Address
from rota.client.async_transport import AsyncTransport
from rota.client.problems import NobodyThere, ServerUnreachable
from rota.client.servers import GOING, SeveralServers
from rota.client.transport import Reply, Request

_SILENCE_S = 0.5  # how long a server may be silent that is well; workers with the shortest leases wait no longer


class AsyncServers(SeveralServers[AsyncTransport]):
    """The same for asyncio. `clock` is monotonic, in seconds.

    A server that a caller gave up on when its answer was due is left too, unless it has answered another call meanwhile: it
    may be stopped, or cut off, and a caller's patience ends long before a connection does. The calls that still wait for it
    are lost then, to be made again.
    """

    def __init__(
        self,
        servers: str,
        make: Callable[[Address], AsyncTransport],
        first: Callable[[int], int] = random.randrange,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(servers, make, first)
        self._clock = clock
        self._replies = 0

    async def send(self, request: Request) -> Reply:
        """Send to a server that can be reached, and return the whole reply. Raises ServerUnreachable."""
        for left in reversed(range(len(self._lines))):
            line, replies, due_at = self.line, self._replies, self._clock() + request.wait_s + _SILENCE_S
            try:
                reply = await line.send(request)
            except asyncio.CancelledError:
                silent = replies == self._replies and self._clock() >= due_at
                if silent and line is self.line and len(self._lines) > 1:
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
