"""When a call is sent again: a pure policy, so that both clients and the tests share it.

Every call may be sent twice: submissions and retries carry an Idempotency-Key, the others say what shall be, not what
shall change.
"""

from __future__ import annotations

from msgspec import Struct

from rota.client.problems import ServerUnreachable, read_problem
from rota.client.transport import Reply
from rota.core.errors import InFlight, QuotaFull
from rota.core.retry import Backoff

# 0.1 0.2 0.4 0.8 1.6 3.2 5 5 5 seconds, less jitter: a server that is restarted is back within them.
BACKOFF = Backoff(base=0.1, factor=2.0, limit=5.0)
TRIES = 10
_MAX_RETRY_AFTER_S = 60.0
_AGAIN = frozenset({502, 503, 504})


class Retrying(Struct, frozen=True):
    """How often a call is tried, and with what pauses between."""

    tries: int = TRIES

    def pause_s(self, outcome: Reply | ServerUnreachable, tried: int, jitter: float) -> float | None:
        """Return the seconds until the next try, or None when `outcome` is the answer after all; `jitter` in [0, 1)."""
        if tried >= self.tries or not _passes(outcome):
            return None
        pause = BACKOFF.delay_s(tried, jitter)
        if isinstance(outcome, Reply) and outcome.retry_after is not None:
            pause = max(pause, _seconds(outcome.retry_after))
        return pause


def _passes(outcome: Reply | ServerUnreachable) -> bool:
    """Say whether the outcome is one that passes with time."""
    if isinstance(outcome, ServerUnreachable):
        return True
    if outcome.status == 429:  # unless it is a quota: then it is for the caller to wait
        return read_problem(outcome.body).code != QuotaFull.code
    return outcome.status in _AGAIN or (outcome.status == 409 and read_problem(outcome.body).code == InFlight.code)


def _seconds(retry_after: str) -> float:
    """Read a Retry-After in seconds; a date (which only proxies send) counts as one second."""
    try:
        return min(max(float(retry_after), 0.0), _MAX_RETRY_AFTER_S)
    except ValueError:
        return 1.0
