"""What an operation answers with: one body of bytes, or a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.types import Send

Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
_encode = msgspec.json.Encoder().encode
_EVERYWHERE: Headers = [(b"x-content-type-options", b"nosniff")]
NOT_KEPT = b"no-store"


class Reply:
    """A whole answer. `headers` come on top of those that every answer has; `kept` says for how long a browser keeps it."""

    __slots__ = ("body", "headers", "kept", "media", "status")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: Headers | None = None,
        media: bytes = JSON,
        kept: bytes = NOT_KEPT,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.media = media
        self.kept = kept

    async def send(self, send: Send) -> None:
        """Write the answer."""
        headers = [*_EVERYWHERE, (b"cache-control", self.kept)]
        if self.status not in (204, 304):
            headers.append((b"content-type", self.media))
            headers.append((b"content-length", b"%d" % len(self.body)))
        if self.headers:
            headers += self.headers
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Stream:
    """An answer whose parts come as they come into being; none is sent to a HEAD. It ends when `over` is set."""

    __slots__ = ("chunks", "media", "over")

    def __init__(self, chunks: AsyncIterator[bytes], media: bytes) -> None:
        self.chunks = chunks
        self.media = media
        self.over: asyncio.Event | None = None

    async def begin(self, send: Send) -> None:
        """Write the headers."""
        headers = [*_EVERYWHERE, (b"cache-control", NOT_KEPT), (b"content-type", self.media)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


def json_reply(value: Any, status: int = 200, headers: Headers | None = None) -> Reply:
    """Answer with a value as JSON."""
    return Reply(status, _encode(value), headers)
