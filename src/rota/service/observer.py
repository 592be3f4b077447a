"""What the service tells whoever measures it. The HTTP edge makes Prometheus figures of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from rota.core.states import Outcome, State
from rota.store.protocol import Store, Tx

T = TypeVar("T")


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

    def hook_called(self, result: str) -> None:
        """A hook was called: `delivered`, `failed` (it is tried again), `gave_up`."""

    def stored(self, what: str, took_s: float) -> None:
        """The store has done one of the few things that are measured: `what` is one of a handful of words."""


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

    def hook_called(self, result: str) -> None:
        """Ignore it."""

    def stored(self, what: str, took_s: float) -> None:
        """Ignore it."""


class Stopwatch:
    """Has the store do things, and tells the observer how long they took; `monotonic` gives seconds."""

    def __init__(self, store: Store, observer: Observer, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._observer = observer
        self._monotonic = monotonic

    async def write(self, what: str, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Do `work` in a transaction that may write. Those that fail are not counted."""
        began = self._monotonic()
        done = await self._store.write(work)
        self._observer.stored(what, self._monotonic() - began)
        return done

    async def read(self, what: str, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Do `work` in a transaction that only reads."""
        began = self._monotonic()
        done = await self._store.read(work)
        self._observer.stored(what, self._monotonic() - began)
        return done
