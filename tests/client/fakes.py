"""A server of a few lines that answers what a test tells it to, and does to connections what servers should not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

Answer = bytes | None  # None: close the connection without a word


def reply(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@dataclass
class Seen:
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeServer:
    """Answers the n-th request with the n-th answer (the last one again and again)."""

    answers: list[Answer | Callable[[Seen], Answer]]
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline().decode().strip():
                headers = {}
                while header := reader.readline().decode().strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = reader.read(int(headers.get("content-length", 0)))
                self.seen.append(Seen(line, headers, body))
                answer = self.answers[min(len(self.seen), len(self.answers)) - 1]
                raw = answer(self.seen[-1]) if callable(answer) else answer
                if raw is None:
                    return
                connection.sendall(raw)
                if b"Connection: close" in raw:
                    return

    def close(self) -> None:
        self._socket.close()
