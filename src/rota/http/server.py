"""Answers: on loopback, and on a Unix socket beside the store's file; one event loop, one application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rota.http.listening import listen, listen_at
from rota.service.service import Service

MAX_HEAD = 64 << 10  # bytes of a request line and its headers
_BACKLOG = 2048
_KEEP_ALIVE_S = 75
_GRACE_S = 5  # how long requests that have begun may take when the server stops


class HttpServer:
    """Serves an application until stopped.

    `port` 0 takes a free one; `listeners` are sockets that are bound already, to be served in place of all others. Raises
    Invalid for a host that is not loopback; OSError when the port is taken.
    """

    def __init__(
        self,
        service: Service,
        app: ASGIApp,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        socket_path: Path | None = None,
        listeners: Sequence[socket.socket] = (),
    ) -> None:
        self._service = service
        self._socket_path = socket_path
        self._listeners = list(listeners) or [listen(host, port)]
        self.port: int = 0 if listeners else self._listeners[0].getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        if socket_path is not None:
            try:
                self._listeners.append(listen_at(socket_path))
            except BaseException:
                self._listeners[0].close()
                raise
        config = uvicorn.Config(
            app, http=_Protocol, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False,
            server_header=False, backlog=_BACKLOG, timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=_GRACE_S,
        )  # fmt: skip
        self._uvicorn = _Uvicorn(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._task = asyncio.create_task(self._uvicorn.serve(self._listeners), name="http")
        while not self._uvicorn.started:
            if self._task.done():
                return await self._task
            await asyncio.sleep(0.001)
        return None

    async def stop(self) -> None:
        """Take no more requests, end what waits at once, let what has begun end within seconds."""
        self._service.signals.close()
        self._uvicorn.should_exit = True
        if self._task is not None:
            await self._task
        for listener in self._listeners:
            listener.close()
        if self._socket_path is not None:
            self._socket_path.unlink(missing_ok=True)


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the command: it has more than this server to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class _Protocol(HttpToolsProtocol):
    """Adds two things to uvicorn's: a limit on the head of a request, and a way to drop a connection from inside."""

    _head = 0  # bytes of a head that has begun and not ended
    _in_head = True

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse a head without end."""
        self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > MAX_HEAD:
            self.send_400_response(f"The head of a request has at most {MAX_HEAD} bytes.")

    def on_message_begin(self) -> None:
        """Offer `rota.abort`, and `rota.gone`, which says whether the client is known to have gone."""
        super().on_message_begin()
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
        super().on_message_complete()
