"""Asking the server: which errors mean "try again", how long an answer may take, and saying once that there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rota import log
from rota.core.errors import RotaError, Unavailable

T = TypeVar("T")

_SAY_AGAIN_S = 30.0
_log = log.get("worker.contact")


class Away(Exception):
    """The server did not answer, or cannot do it now: the same call may be made again, later."""


class Contact:
    """Remembers whether the server answers, over all calls of a worker. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._away_since: float | None = None
        self._said_at: float | None = None

    async def ask(self, answer: Awaitable[T], within_s: float) -> T:
        """Return the answer. Raises Away, also when it takes longer than `within_s`, or the RotaError that it is."""
        try:
            async with asyncio.timeout(within_s):
                value = await answer
        except (Unavailable, OSError) as why:  # OSError: ConnectionError and TimeoutError are both of that kind
            self._lost(why, within_s)
            raise Away from why
        except RotaError:
            self._found()
            raise
        self._found()
        return value

    def _lost(self, why: Exception, within_s: float) -> None:
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
        if self._said_at is None or now - self._said_at >= _SAY_AGAIN_S:
            self._said_at = now
            _log.warning("server_unreachable", error=str(why) or f"no answer within {within_s:g} s")

    def _found(self) -> None:
        if self._away_since is not None:
            _log.info("server_back", away_s=self._clock() - self._away_since)
            self._away_since = None
