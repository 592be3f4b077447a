"""What the service tells whoever measures it. The HTTP edge makes Prometheus figures of it."""

from __future__ import annotations

from typing import Protocol

from rota.core.states import State


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

    def leases_expired(self, jobs: int) -> None:
        """Leases ran out."""


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

    def leases_expired(self, jobs: int) -> None:
        """Ignore it."""
