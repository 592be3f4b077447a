"""Hints between the servers of one store: what one publishes wakes those who wait at the others, a moment later.

A message may be lost, doubled or late: whoever is woken looks at the store, and upkeep looks once a second anyhow.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

import msgspec
from msgspec import Struct

LONGEST = 7900  # bytes of a message; PostgreSQL's NOTIFY carries less than 8000
PAUSE_S = 0.01  # between two messages: the first goes at once, a crowd's share the second
EVENTS_S = 0.01  # how long news that nobody waits for, but who follows all events, may wait for other news
_BACK_OFF_S = (0.1, 5.0)  # before another try to listen: the first, and the longest


class Bell(Protocol):
    """Carries short texts to all servers that listen, this one among them. `mode` names its way, for people."""

    mode: str

    async def ring(self, message: str) -> None:
        """Send a text. Raises any exception when it cannot."""

    async def listen(self, heard: Callable[[str], None], joined: Callable[[], None]) -> None:
        """Call `joined` when from now on every text is heard, and `heard` with each; goes on until it is lost or canceled."""

    async def close(self) -> None:
        """Let go of what it holds."""


class News(Struct, omit_defaults=True, kw_only=True):
    """Whom the other servers are to wake. Short names: many of these are sent."""

    server: str = msgspec.field(name="s", default="")
    over: set[str] = msgspec.field(name="o", default_factory=set)
    told: set[str] = msgspec.field(name="t", default_factory=set)
    orders: set[str] = msgspec.field(name="w", default_factory=set)
    ready: list[tuple[str, str, int]] = msgspec.field(name="r", default_factory=list)
    events: bool = msgspec.field(name="e", default=False)
    everybody: bool = msgspec.field(name="x", default=False)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(News).decode


class Relay:
    """Gathers what is published here, rings it, and hands what the others ring to `hear`.

    `server` is a name that no other server has. `failed` is told when the bell is lost or cannot ring: once, until it is
    heard again.
    """

    def __init__(
        self,
        bell: Bell,
        server: str,
        hear: Callable[[News], None],
        *,
        failed: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        self._bell = bell
        self._server = server
        self._hear = hear
        self._failed = failed
        self._some = asyncio.Event()
        self.listening = False
        self._said = False  # that it fails
        self._later: asyncio.TimerHandle | None = None  # when events alone are told
        self._clear()

    @property
    def mode(self) -> str:
        """Return by which way hints come now; `none` while they do not."""
        return self._bell.mode if self.listening else "none"

    def _clear(self) -> None:
        self._news = News(server=self._server)
        self._ready: Counter[tuple[str, str]] = Counter()
        self._some.clear()
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def tell(
        self,
        *,
        over: Iterable[str] = (),
        told: Iterable[str] = (),
        orders: Iterable[str] = (),
        ready: Counter[tuple[str, str]] | None = None,
        events: bool = False,
    ) -> None:
        """Add to the next message. Events alone wait a little: a job's start has its processor for itself."""
        news = self._news
        news.over.update(over)
        news.told.update(told)
        news.orders.update(orders)
        self._ready.update(ready or {})
        news.events = news.events or events
        if news.over or news.told or news.orders or self._ready:
            self._some.set()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(EVENTS_S, self._some.set)

    def tell_everybody(self) -> None:
        """Let the next message wake all."""
        self._news.everybody = True
        self._some.set()

    async def run(self) -> None:
        """Ring and listen until canceled, then let go of the bell."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ring(), name="signals: ring")
                group.create_task(self._listen(), name="signals: listen")
        finally:
            with suppress(Exception):
                await self._bell.close()

    async def _ring(self) -> None:
        while True:
            await self._some.wait()
            news = self._news
            news.ready = [(*lane, n) for lane, n in self._ready.items()]
            self._clear()
            message = _encode(news)
            if len(message) > LONGEST:  # to look at everything is always right
                message = _encode(News(server=self._server, everybody=True))
            try:
                await self._bell.ring(message.decode())
            except Exception as error:  # a hint that is lost costs time; whatever is wrong with the bell, work goes on
                self._fails(error)
            await asyncio.sleep(PAUSE_S)

    async def _listen(self) -> None:
        pause = _BACK_OFF_S[0]
        while True:
            try:
                await self._bell.listen(self.heard, self._joined)
            except Exception as error:
                self._fails(error)
            pause = _BACK_OFF_S[0] if self.listening else min(pause * 2, _BACK_OFF_S[1])
            self.listening = False
            await asyncio.sleep(pause)

    def _fails(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            self._failed(error)

    def _joined(self) -> None:
        self.listening = True
        self._said = False
        self._hear(News(everybody=True))  # what was rung before was not heard

    def heard(self, message: str) -> None:
        """Wake whom another server's message concerns; what is no message of this Rota's wakes everybody."""
        try:
            news = _decode(message)
        except (msgspec.DecodeError, UnicodeError):
            news = News(everybody=True)
        if news.server != self._server:
            self._hear(news)
