"""Requests and replies over TCP or a Unix socket, blocking; async_transport.py is the same for asyncio.

The standard library's http.client: the fastest of those measured, and a command line starts sooner without another one.
docs/decisions/0004-http-client.md has the figures.
"""

from __future__ import annotations

import os
import select
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from rota.client.address import Address
from rota.client.problems import NobodyThere, ServerUnreachable
from rota.core.errors import Invalid

if TYPE_CHECKING:
    import ssl

CONNECT_S = 10.0
# A stream that is silent for longer than this is dead: servers send something every 15 s.
STREAM_SILENCE_S = 45.0
_PIECE = 1 << 16


class Request(Struct, frozen=True, kw_only=True):
    """A request to send. `wait_s` is how long the server was asked to hold its answer back; `traceparent` the span it is in."""

    method: str
    path: str
    body: bytes | None = None
    key: str | None = None
    accept: str = "application/json"
    wait_s: float = 0.0
    last_event: str | None = None
    traceparent: str | None = None


class Reply(Struct, frozen=True, kw_only=True):
    """A whole reply. `retry_after` is that header's text."""

    status: int
    body: bytes
    retry_after: str | None = None


class Line:
    """What both transports share: how a request looks on the wire, and what its loss is called."""

    def __init__(self, address: Address, token: str | None, timeout_s: float, ca_file: str | None) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.tls = _tls(ca_file) if address.scheme == "https" else None
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._fixed = {"Host": host if address.port is None else f"{host}:{address.port}", "User-Agent": "rota"}
        if token:
            if not (token.isascii() and token.isprintable()):
                raise Invalid("token", "has characters that no token has")
            self._fixed["Authorization"] = f"Bearer {token}"

    def headers(self, request: Request) -> dict[str, str]:
        """Return a request's headers."""
        headers = self._fixed | {"Accept": request.accept}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        if request.method != "GET":
            headers["Content-Length"] = str(len(request.body or b""))
        if request.key is not None:
            headers["Idempotency-Key"] = request.key
        if request.last_event is not None:
            headers["Last-Event-ID"] = request.last_event
        if request.traceparent is not None:
            headers["traceparent"] = request.traceparent
        return headers

    def silence_s(self, request: Request) -> float:
        """Return how long the answer may take."""
        return self.timeout_s + request.wait_s

    def nobody(self, why: Exception) -> NobodyThere:
        """Return the error of a connection that was never made."""
        text = f"cannot reach a Rota server at {self.address} ({_reason(why)}); {self.address.way_out}"
        return NobodyThere(text)

    def broken(self, why: Exception) -> ServerUnreachable:
        """Return the error of a reply that was lost."""
        if isinstance(why, TimeoutError):
            return ServerUnreachable(f"the server at {self.address} was silent for too long; see whether it is well")
        return ServerUnreachable(f"the connection to {self.address} broke before the answer came ({_reason(why)})")


def _tls(ca_file: str | None) -> ssl.SSLContext:
    """Return what servers are trusted by. Raises Invalid."""
    import ssl

    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise Invalid(
            "ca_file", f"{ca_file} holds no certificates that can be read: {error.strerror or error}"
        ) from None


def _reason(why: BaseException) -> str:
    """Return the operating system's own words where there are any: libraries wrap them in «All attempts failed»."""
    cause: BaseException | None = why
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        elif isinstance(cause, OSError) and cause.errno is not None:
            return (os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)).lower()  # below 0: names
        else:
            cause = cause.__cause__ or cause.__context__
    return str(why) or type(why).__name__


class _Whole(HTTPConnection):
    """Sends a request's head and its body at once: in two packets they would wake the server twice."""

    _head: bytes | None = None
    whole = False

    def send(self, data: Any) -> None:
        """Keep the head back while `whole` says that a body follows."""
        if self.whole:
            self.whole, self._head = False, data
            return
        head, self._head = self._head, None
        super().send(data if head is None else head + data)


class _Secure(_Whole, HTTPSConnection):
    """The same over TLS."""


class _Local(_Whole):
    """The same over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Transport(Line):
    """Keeps connections for the next call. Threads may share one; a forked child gets connections of its own."""

    def __init__(self, address: Address, token: str | None, timeout_s: float, ca_file: str | None = None) -> None:
        super().__init__(address, token, timeout_s, ca_file)
        self._pid = os.getpid()
        self._idle: list[_Whole] = []  # append and pop are atomic: no lock
        weakref.finalize(
            self, _close_all, self._idle
        )  # most clients live as long as their program and are never closed

    def send(self, request: Request) -> Reply:
        """Send and return the whole reply, whatever its status. Raises ServerUnreachable."""
        connection = self._connect()
        try:
            response = self._begin(connection, request, self.silence_s(request))
            body = response.read()
        except BaseException as why:
            connection.close()
            if isinstance(why, OSError | HTTPException):
                raise self.broken(why) from why
            raise
        if response.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return Reply(status=response.status, body=body, retry_after=response.headers.get("Retry-After"))

    @contextmanager
    def stream(self, request: Request) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open a reply that goes on; give its status and its pieces. Raises ServerUnreachable, then and later."""
        connection = self._connect()
        try:
            response = self._begin(connection, request, max(STREAM_SILENCE_S, self.timeout_s))
            yield response.status, iter(lambda: response.read1(_PIECE), b"")
        except (OSError, HTTPException) as why:
            raise why if isinstance(why, ServerUnreachable) else self.broken(why) from why
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connections that are kept. Later calls open new ones."""
        _close_all(self._idle)

    def _begin(self, connection: _Whole, request: Request, silence_s: float) -> HTTPResponse:
        connection.sock.settimeout(silence_s)
        path = self.address.prefix + request.path
        connection.whole = request.body is not None and len(request.body) < _PIECE
        with suppress(BrokenPipeError, ConnectionResetError):  # a server that refuses a body answers before all is sent
            connection.request(request.method, path, request.body, self.headers(request))
        return connection.getresponse()

    def _connect(self) -> _Whole:
        if self._pid != os.getpid():  # two processes on one connection would read each other's answers
            self._pid = os.getpid()
            self.close()
        with suppress(IndexError):
            while True:
                kept = self._idle.pop()
                if not _readable(kept.sock):
                    return kept
                kept.close()  # the server has closed it
        fresh = self._new()
        try:
            fresh.connect()
            if fresh.sock.family != socket.AF_UNIX:
                fresh.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as why:
            fresh.close()
            raise self.nobody(why) from why
        return fresh

    def _new(self) -> _Whole:
        at, timeout = self.address, min(self.timeout_s, CONNECT_S)
        if at.socket is not None:
            return _Local(at.socket, timeout)
        if self.tls is not None:
            return _Secure(at.host, at.port, timeout=timeout, context=self.tls)
        return _Whole(at.host, at.port, timeout=timeout)


def _close_all(idle: list[_Whole]) -> None:
    with suppress(IndexError):
        while True:
            idle.pop().close()


def _readable(sock: socket.socket) -> bool:
    """Say whether something came on an idle connection: its end, or what nobody asked for."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
