"""Send prepared HTTP requests over many connections, each the next when its answer is there; count the answers."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import uvloop


def post_all(port: int, path: str, body: bytes, *, count: int, connections: int) -> float:
    """POST `body` `count` times; return the seconds that it took. Raises RuntimeError for an answer other than 201."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "\r\n",
    ]
    return uvloop.run(_post_all(port, "\r\n".join(lines).encode() + body, count, connections))


async def _post_all(port: int, request: bytes, count: int, connections: int) -> float:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = _Left(count, connections, done)
    opened = [
        await loop.create_connection(lambda: _Connection(request, left), "127.0.0.1", port) for _ in range(connections)
    ]
    began = time.perf_counter()
    for _, connection in opened:
        connection.send()
    await done
    took = time.perf_counter() - began
    for transport, _ in opened:
        transport.close()
    return took


class _Left:
    """How many requests are to be sent, and how many connections are not done."""

    def __init__(self, requests: int, connections: int, done: asyncio.Future[None]) -> None:
        self.requests = requests
        self.connections = connections
        self.done = done

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, left: _Left) -> None:
        self._request = request
        self._left = left
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._left.fail(f"a connection broke: {exc}")

    def send(self) -> None:
        if self._left.requests > 0:
            self._left.requests -= 1
            self._transport.write(self._request)
            return
        self._left.connections -= 1
        if self._left.connections == 0 and not self._left.done.done():
            self._left.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 201"):
            self._left.fail(f"answered {head[:80]!r} {body[:200]!r}")
            return
        self._received = b""
        self.send()
