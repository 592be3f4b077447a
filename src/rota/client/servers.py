"""Several servers of one store: a client uses one of them until that does not answer or is stopping, and then the next.

Blocking; async_servers.py is the same for asyncio.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from rota.client.address import Address, parse_addresses
from rota.client.problems import NobodyThere, ServerUnreachable
from rota.client.transport import Line, Reply, Request, Transport

GOING = frozenset({502, 503, 504})  # what a server says that stops, or a proxy before one that is gone
L = TypeVar("L", bound=Line)


class SeveralServers(Generic[L]):
    """`first` draws the one to begin with, so that many clients spread over the servers."""

    def __init__(
        self, servers: str, make: Callable[[Address], L], first: Callable[[int], int] = random.randrange
    ) -> None:
        self._lines = [make(address) for address in parse_addresses(servers)]
        self._at = first(len(self._lines))

    @property
    def line(self) -> L:
        """Return what leads to the server that is used now."""
        return self._lines[self._at]

    def leave(self, line: L) -> None:
        """Use the next server, unless another call has seen to that already."""
        if line is self.line:
            self._at = (self._at + 1) % len(self._lines)


class Servers(SeveralServers[Transport]):
    """Blocking. Threads may share one."""

    def send(self, request: Request) -> Reply:
        """Send to a server that can be reached, and return the whole reply. Raises ServerUnreachable."""
        for left in reversed(range(len(self._lines))):
            line = self.line
            try:
                reply = line.send(request)
            except ServerUnreachable as lost:
                self.leave(line)
                if left and isinstance(lost, NobodyThere):  # nothing was sent
                    continue
                raise
            if reply.status in GOING:
                self.leave(line)
            return reply
        raise AssertionError("there is at least one server")

    @contextmanager
    def stream(self, request: Request) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open a reply that goes on. Raises ServerUnreachable, then and later: the next try is another server's."""
        line = self.line
        try:
            with line.stream(request) as (status, pieces):
                if status in GOING:
                    self.leave(line)
                yield status, pieces
        except ServerUnreachable:
            self.leave(line)
            raise

    def close(self) -> None:
        """Close the connections that are kept."""
        for line in self._lines:
            line.close()
