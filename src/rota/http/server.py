"""Answers: at an address, and on a Unix socket beside the store's file; one event loop, one application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rota.core.errors import Invalid
from rota.http.listening import listen, listen_at, url_of
from rota.service.service import Service

MAX_HEAD = 64 << 10  # bytes of a request line and its headers
HEAD_S = 30.0  # how long the head of a request may take to come
STALL_S = 60.0  # how long nothing of a body that has begun may come
MAX_CONNECTIONS = 10_000
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_BACKLOG = 2048
_KEEP_ALIVE_S = 75
_GRACE_S = 5  # how long requests that have begun may take when the server stops


class Tls(Struct, frozen=True):
    """A server's certificate with its chain, and its key, as files in PEM; without `key` the first holds both."""

    cert: str
    key: str | None = None


class HttpServer:
    """Serves an application until stopped.

    `port` 0 takes a free one; `listeners` are sockets that are bound already, to be served in place of all others;
    `inherited` are one that is bound to the host and port, and a Unix socket. With `tls` all but the Unix socket speak TLS.
    `connections` is how many there may be beside those of the Unix socket. Raises Invalid for a host that is not loopback,
    unless it is meant to be `public`, and for a certificate that cannot be used; OSError when the port is taken.
    """

    def __init__(
        self,
        service: Service,
        app: ASGIApp,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        public: bool = False,
        tls: Tls | None = None,
        connections: int = MAX_CONNECTIONS,
        socket_path: Path | None = None,
        listeners: Sequence[socket.socket] = (),
        inherited: tuple[socket.socket, socket.socket] | None = None,
    ) -> None:
        self._service = service
        self._socket_path = socket_path
        web = _Uvicorn(_config(app, tls, connections))
        sockets = list(listeners) or [inherited[0] if inherited else listen(host, port, public=public)]
        self.port: int = 0 if listeners else sockets[0].getsockname()[1]
        self.url = url_of(host, self.port, tls=tls is not None)
        # Each has connections of its own to count: strangers cannot keep the server's own workers out.
        self._servers = [(web, sockets)]
        if socket_path is not None:
            try:
                self._servers.append((_Uvicorn(_config(app, None, MAX_CONNECTIONS)), [listen_at(socket_path)]))
            except BaseException:
                sockets[0].close()
                raise
        elif inherited is not None:
            self._servers.append((_Uvicorn(_config(app, None, MAX_CONNECTIONS)), [inherited[1]]))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to answer."""
        for server, sockets in self._servers:
            task = asyncio.create_task(server.serve(sockets), name="http")
            self._tasks.append(task)
            while not server.started:
                if task.done():
                    return await task
                await asyncio.sleep(0.001)
        return None

    async def stop(self) -> None:
        """Take no more requests, end what waits at once, let what has begun end within seconds."""
        self._service.signals.close()
        for server, _ in self._servers:
            server.should_exit = True
        for task in self._tasks:
            await task
        for _, sockets in self._servers:
            for listener in sockets:
                listener.close()
        if self._socket_path is not None:
            self._socket_path.unlink(missing_ok=True)


def _config(app: ASGIApp, tls: Tls | None, connections: int) -> uvicorn.Config:
    config = uvicorn.Config(
        app, http=_Protocol, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False,
        server_header=False, backlog=_BACKLOG, timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=_GRACE_S,
        limit_concurrency=connections + 1,  # it refuses the request of the one that reaches its limit: see _Protocol
        ssl_certfile=tls.cert if tls else None, ssl_keyfile=tls.key if tls else None, ssl_ciphers="DEFAULT",
    )  # fmt: skip
    try:
        config.load()
    except OSError as error:  # a file that is not there, or no certificate (ssl.SSLError)
        raise Invalid("tls_cert", f"cannot be used, with its key: {error.strerror or error}") from error
    return config


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the command: it has more than this server to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class _Protocol(HttpToolsProtocol):
    """Adds to uvicorn's: limits on connections, and on the size and the time of what comes; a way to drop a connection."""

    _head = 0  # bytes of a head that has begun and not ended
    _in_head = True
    _idle = True  # nothing of a request has come, or all of it
    _refused = False
    _since = 0.0  # when the head began, or the last piece of a body came
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, unless there are too many."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._refused = True
            self.transport.write(_FULL)
            self.transport.close()
        else:
            self._watch()  # also who sends nothing at all

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse a head without end."""
        if self._refused:
            return
        self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > MAX_HEAD:
            self.send_400_response(f"The head of a request has at most {MAX_HEAD} bytes.")
        elif not self._idle:
            if not self._in_head:
                self._since = self.loop.time()
            if self._timer is None:
                self._watch()

    def _watch(self) -> None:
        """Look later whether what has begun has come."""
        self._since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_S if self._in_head else STALL_S, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._idle and self.cycle is not None:
            return
        left_s = self._since + (HEAD_S if self._in_head else STALL_S) - self.loop.time()
        if left_s <= 0 and not (self.cycle is not None and self.flow.read_paused):
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(max(left_s, 1.0), self._look)

    def on_message_begin(self) -> None:
        """Offer `rota.abort`, and `rota.gone`, which says whether the client is known to have gone."""
        super().on_message_begin()
        self._idle = False
        self._since = self.loop.time()
        offered = {"rota.abort": self.transport.abort, "rota.gone": self.transport.is_closing}
        self.scope["extensions"] = offered  # type: ignore[typeddict-item]

    def on_headers_complete(self) -> None:
        """Note the end of the head."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._in_head = True
        self._head = 0
        self._idle = True
        super().on_message_complete()
