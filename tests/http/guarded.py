"""A live server that asks for tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from rota.core.access import Caller
from rota.http.gate import Gate
from tests.http.live import Live


class Guarded(Live):
    """A live server that asks for tokens."""

    def __init__(self, *args: Any, anonymous: Caller | None = None, rate: float | None = None, **settings: Any) -> None:
        self.gate = lambda service: Gate(service.tokens, anonymous=anonymous, rate=rate)
        self._clients: list[httpx.Client] = []
        super().__init__(*args, **settings)

    def stop(self) -> None:
        for client in self._clients:
            client.close()
        super().stop()

    def token(self, role: str, **fields: Any) -> str:
        """Make a token over the store's socket, and return its text."""
        with self.beside() as client:
            answer = client.post("/v1/tokens", json={"role": role, **fields})
        assert answer.status_code == 201, answer.text
        text: str = answer.json()["token"]
        return text

    def beside(self) -> httpx.Client:
        """Return a client of the socket beside the store."""
        transport = httpx.HTTPTransport(uds=str(self.socket_path))
        return httpx.Client(transport=transport, base_url="http://localhost", timeout=30)

    def as_(self, token: str | None) -> httpx.Client:
        """Return a client with a token."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=30)
        self._clients.append(client)
        return client

    @contextmanager
    def run_in_thread(self, work: Callable[[], httpx.Response]) -> Iterator[Future[httpx.Response]]:
        """Ask something in another thread."""
        with ThreadPoolExecutor(1) as threads:
            yield threads.submit(work)
