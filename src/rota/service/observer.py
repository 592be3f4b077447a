"""What the service tells whoever measures it. The HTTP edge makes Prometheus figures of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol, TypeVar

from rota.core.states import Outcome, State
from rota.store.protocol import Store, Tx

T = TypeVar("T")

Stored = Literal["submit", "claim", "settle", "heartbeat", "tell", "look"]
"""What the store does that is measured."""

Step = Literal[
    "look", "zones", "free", "fire", "tell", "promote", "overdue", "keys", "runs", "rescue", "deliver", "turns", "usage",
    "audit", "series", "prune", "signals",
]  # fmt: skip
"""What may be told to have failed, and is done again: upkeep's look, each step of a round, and the signals to other servers."""

HookResult = Literal["delivered", "failed", "gave_up"]


class Observer(Protocol):
    """Hears of what happened, after its commit. Must be quick, and must not raise."""

    def submitted(self, jobs: int) -> None:
        """Jobs were submitted."""

    def started(self, waits_s: list[float]) -> None:
        """Jobs were claimed, after having been ready for so long."""

    def ended(self, state: State, run_s: float | None) -> None:
        """A job came to an end; `run_s` is None when it never ran."""

    def aborted(self, took_s: float) -> None:
        """A running job was aborted, so long after somebody asked."""

    def attempts_ended(self, outcomes: Sequence[Outcome]) -> None:
        """Attempts ended so, shards of arrays too."""

    def leases_expired(self, jobs: int) -> None:
        """Leases ran out."""

    def workers_lost(self, workers: int) -> None:
        """Workers were not heard of for so long that their leases are over, or have died with their server."""

    def hook_called(self, result: HookResult) -> None:
        """A hook was called; what `failed` is tried again."""

    def stored(self, what: Stored, took_s: float) -> None:
        """The store has done one of the few things that are measured."""


class Nobody:
    """Measures nothing."""

    def submitted(self, jobs: int) -> None:
        """Ignore it."""

    def started(self, waits_s: list[float]) -> None:
        """Ignore it."""

    def ended(self, state: State, run_s: float | None) -> None:
        """Ignore it."""

    def aborted(self, took_s: float) -> None:
        """Ignore it."""

    def attempts_ended(self, outcomes: Sequence[Outcome]) -> None:
        """Ignore it."""

    def leases_expired(self, jobs: int) -> None:
        """Ignore it."""

    def workers_lost(self, workers: int) -> None:
        """Ignore it."""

    def hook_called(self, result: HookResult) -> None:
        """Ignore it."""

    def stored(self, what: Stored, took_s: float) -> None:
        """Ignore it."""


class Stopwatch:
    """Has the store do things, and tells the observer how long they took; `monotonic` gives seconds."""

    def __init__(self, store: Store, observer: Observer, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._observer = observer
        self._monotonic = monotonic

    async def write(self, what: Stored, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Do `work` in a transaction that may write. Those that fail are not counted."""
        began = self._monotonic()
        done = await self._store.write(work)
        self._observer.stored(what, self._monotonic() - began)
        return done

    async def read(self, what: Stored, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Do `work` in a transaction that only reads."""
        began = self._monotonic()
        done = await self._store.read(work)
        self._observer.stored(what, self._monotonic() - began)
        return done
