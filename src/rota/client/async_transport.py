"""Requests and replies over TCP or a Unix socket, for asyncio: the one module that knows aiohttp.

docs/decisions/0004-http-client.md has the figures of the others.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from rota.client.address import Address
from rota.client.problems import ServerUnreachable
from rota.client.transport import CONNECT_S, STREAM_SILENCE_S, Line, Reply, Request

_CONNECTIONS = 100
_KEEP_S = 60.0
_LARGE = 1 << 20  # larger bodies are sent piece by piece, so that the loop is not blocked


class AsyncTransport(Line):
    """Keeps connections for the next call. Belongs to the event loop that makes the first one."""

    def __init__(self, address: Address, token: str | None, timeout_s: float, ca_file: str | None = None) -> None:
        super().__init__(address, token, timeout_s, ca_file)
        # What comes before the path; only a Unix socket's server has no port.
        self._origin = "http://localhost" if address.socket is not None else str(address)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Request) -> Reply:
        """Send and return the whole reply, whatever its status. Raises ServerUnreachable."""
        async with self._request(request, self.silence_s(request)) as response:
            body = await response.read()
        return Reply(status=response.status, body=body, retry_after=response.headers.get("Retry-After"))

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open a reply that goes on; give its status and its pieces. Raises ServerUnreachable, then and later."""
        async with self._request(request, max(STREAM_SILENCE_S, self.timeout_s)) as response:
            yield response.status, response.content.iter_any()

    async def aclose(self) -> None:
        """Close the connections. Later calls open new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _request(self, request: Request, silence_s: float) -> AsyncIterator[aiohttp.ClientResponse]:
        body = request.body
        try:
            async with self._opened().request(
                request.method,
                URL(self._origin + request.path, encoded=True),
                data=io.BytesIO(body) if body is not None and len(body) >= _LARGE else body,
                headers=self.headers(request),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(sock_connect=min(self.timeout_s, CONNECT_S), sock_read=silence_s),
            ) as response:
                yield response
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as why:
            raise self.nobody(why) from why
        except (aiohttp.ClientError, OSError) as why:  # TimeoutError is an OSError
            raise why if isinstance(why, ServerUnreachable) else self.broken(why) from why

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            path = self.address.socket
            self._session = aiohttp.ClientSession(
                connector=(
                    aiohttp.TCPConnector(
                        limit=_CONNECTIONS, keepalive_timeout=_KEEP_S, ssl=True if self.tls is None else self.tls
                    )
                    if path is None
                    else aiohttp.UnixConnector(path, limit=_CONNECTIONS, keepalive_timeout=_KEEP_S)
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=["Accept-Encoding", "Content-Type"],
            )
        return self._session
