"""How long to wait before a failed attempt is tried again."""

from __future__ import annotations

import msgspec


class Backoff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exponential back-off: `base` seconds, times `factor` a failure, at most `limit` seconds.

    Half of each pause is drawn at random ("equal jitter"), so that jobs that failed together do not come back together,
    and none comes back at once.
    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    base: float = 1.0
    factor: float = 2.0
    limit: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse values that would wait for ever, or backwards."""
        if not 0 <= self.base <= self.limit <= 366 * 86400:
            raise ValueError("0 <= base <= limit <= 366 days is required")
        if not 1 <= self.factor <= 100:
            raise ValueError("1 <= factor <= 100 is required")

    def delay_s(self, failures: int, jitter: float) -> float:
        """Return the pause in seconds after the `failures`-th failure (from 1); `jitter` is in [0, 1)."""
        exponent = min(failures - 1, 64)
        pause: float = min(self.limit, self.base * self.factor**exponent)
        return pause * (0.5 + 0.5 * jitter)


DEFAULT_BACKOFF = Backoff()
