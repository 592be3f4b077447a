"""Delivers hooks: at least once, signed, with back-off, each try recorded (Standard Webhooks 1.0.0)."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlsplit

from standardwebhooks import Webhook

from rota.core.retry import Backoff
from rota.core.times import SECOND
from rota.service.observer import Nobody, Observer
from rota.store.protocol import DeliveryRow, Store
from rota.store.rows import Try

MAX_TRIES = 12
_BACKOFF = Backoff(base=5, factor=3, limit=6 * 3600)  # 12 tries in about a day
_TIMEOUT_S = 15.0
_AT_ONCE = 64
_AT_ONCE_A_HOST = 8


class Sender(Protocol):
    """Sends one request and returns the HTTP status. Raises OSError or another exception when there is no answer."""

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """POST `body`; redirects are answers like any other."""
        ...


class Hooks:
    """Takes deliveries that are due and makes them, each in a task of its own: a slow receiver slows nobody else."""

    def __init__(
        self,
        store: Store,
        sender: Sender,
        *,
        secret: str | None,
        jitter: Callable[[], float],
        wake: Callable[[int], None] = lambda _: None,
        observer: Observer | None = None,
    ) -> None:
        self._store = store
        self._sender = sender
        self._signer = Webhook(secret) if secret else None
        self._jitter = jitter
        self._wake = wake
        self._observer = observer or Nobody()
        self._tasks: set[asyncio.Task[None]] = set()
        self._of_host: defaultdict[str, int] = defaultdict(int)

    async def step(self) -> None:
        """Start what is due and has room; what has none comes round again."""
        room = _AT_ONCE - len(self._tasks)
        if room <= 0:
            return
        until = round((2 * _TIMEOUT_S + 1) * SECOND)
        due = await self._store.write(lambda tx: tx.take_deliveries(room, tx.now + until))
        for row in due:
            host = urlsplit(row.url).netloc
            if self._of_host[host] >= _AT_ONCE_A_HOST:
                continue  # it is hidden for half a minute, then looked at again
            self._of_host[host] += 1
            task = asyncio.create_task(self._deliver(row, host), name=f"hook {row.id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop; what was not answered yet is tried again by the next server."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, row: DeliveryRow, host: str) -> None:
        began = time.monotonic()
        status, error = None, None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                status = await self._sender.post(row.url, row.body.encode(), self._headers(row))
        except TimeoutError:
            error = f"no answer in {_TIMEOUT_S:.0f} s"
        except Exception as cause:  # whatever a receiver or a network does is noted, and tried again
            error = f"{type(cause).__name__}: {cause}"[:300]
        finally:
            self._of_host[host] -= 1
            if not self._of_host[host]:
                del self._of_host[host]
        took_s = time.monotonic() - began
        await self._note(row, status, error, took_s)

    async def _note(self, row: DeliveryRow, status: int | None, error: str | None, took_s: float) -> None:
        tries, log = row.tries + 1, row.log[-19:]

        async def write(tx):  # type: ignore[no-untyped-def]
            row.tries = tries
            row.log = [*log, Try(at=tx.now, status=status, error=error, took_s=round(took_s, 3))]
            row.gave_up = False
            row.next_at, row.done_at = None, tx.now
            if status is not None and 200 <= status < 300:
                pass
            elif row.tries >= MAX_TRIES or status == 410:  # 410: the receiver says that it is gone for good
                row.gave_up = True
            else:
                row.next_at, row.done_at = tx.now + round(_BACKOFF.delay_s(row.tries, self._jitter()) * SECOND), None
            await tx.note_delivery(row)

        await self._store.write(write)
        if row.next_at is not None:
            self._wake(row.next_at)
        self._observer.hook_called("gave_up" if row.gave_up else "delivered" if row.next_at is None else "failed")

    def _headers(self, row: DeliveryRow) -> dict[str, str]:
        now = datetime.now(UTC)  # a receiver checks it against its own clock
        headers = {
            "content-type": "application/json",
            "user-agent": "rota",
            "webhook-id": row.id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._signer is not None:
            headers["webhook-signature"] = self._signer.sign(row.id, now, row.body)
        return headers
