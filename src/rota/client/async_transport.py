"""Requests and replies over TCP or a Unix socket, for asyncio: the one module that knows httpcore."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpcore

from rota.client.address import Address
from rota.client.problems import ServerUnreachable
from rota.client.transport import CONNECT_S, STREAM_SILENCE_S, Line, Reply, Request

_CONNECTIONS = 100
_KEEP_S = 60.0
_LOST = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)


class AsyncTransport(Line):
    """Keeps connections for the next call. Belongs to one event loop."""

    def __init__(self, address: Address, token: str | None, timeout_s: float) -> None:
        super().__init__(address, token, timeout_s)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=_CONNECTIONS, keepalive_expiry=_KEEP_S, uds=address.socket
        )

    async def send(self, request: Request) -> Reply:
        """Send and return the whole reply, whatever its status. Raises ServerUnreachable."""
        try:
            response = await self._pool.request(
                request.method,
                self._url(request),
                headers=self._headers(request),
                content=request.body,
                extensions=self._timeouts(self.silence_s(request)),
            )
        except _LOST as why:
            raise self._lost(why) from why
        after = next((value for name, value in response.headers if name.lower() == b"retry-after"), None)
        retry_after = None if after is None else after.decode("latin-1")
        return Reply(status=response.status, body=response.content, retry_after=retry_after)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a reply that goes on; give its status and its pieces. Raises ServerUnreachable, then and later."""
        try:
            async with self._pool.stream(
                request.method,
                self._url(request),
                headers=self._headers(request),
                extensions=self._timeouts(max(STREAM_SILENCE_S, self.timeout_s)),
            ) as response:
                yield response.status, response.aiter_stream()
        except _LOST as why:
            raise self._lost(why) from why

    async def aclose(self) -> None:
        """Close the connections. Later calls open new ones."""
        await self._pool.aclose()

    def _url(self, request: Request) -> httpcore.URL:
        at = self.address
        target = (at.prefix + request.path).encode()
        return httpcore.URL(scheme=at.scheme.encode(), host=at.host.encode(), port=at.port, target=target)

    def _headers(self, request: Request) -> list[tuple[bytes, bytes]]:
        return [(name.encode(), value.encode()) for name, value in self.headers(request).items()]

    def _timeouts(self, silence_s: float) -> dict[str, dict[str, float]]:
        bound = self.timeout_s
        return {"timeout": {"connect": min(bound, CONNECT_S), "write": bound, "pool": bound, "read": silence_s}}

    def _lost(self, why: Exception) -> ServerUnreachable:
        if isinstance(why, httpcore.ConnectError | httpcore.ConnectTimeout):
            return self.nobody(why)
        return self.broken(TimeoutError() if isinstance(why, httpcore.TimeoutException) else why)
