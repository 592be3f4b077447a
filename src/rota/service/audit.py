"""The audit trail: who did what with which token, and how it was answered. Never a token, never what a job is made of.

Lines are written once a second, equal ones as one with their number, so that a flood of requests is no flood of lines. What
happens to a job says who did it in the same transaction too, in the job's own events.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from msgspec.structs import replace

from rota.core.times import SECOND
from rota.store.protocol import AuditRow, NewAudit, Store, Tx

KEPT = 90 * 86400 * SECOND
MOST = 1_000_000  # lines
_MOST_PENDING = 10_000
_MOST_TARGET = 200  # characters
_BATCH = 500
_EVERY_S = 1.0


class Audit:
    """Collects lines, and writes them when upkeep comes round. `monotonic` gives seconds."""

    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._written_at = float("-inf")
        self._pending: Counter[NewAudit] = Counter()

    @property
    def pending(self) -> bool:
        """Say whether there is something to write."""
        return bool(self._pending)

    @property
    def due(self) -> bool:
        """Say whether it is time to write: upkeep comes round more often when there is much to do."""
        return bool(self._pending) and self._monotonic() - self._written_at >= _EVERY_S

    def note(self, line: NewAudit) -> None:
        """Note what somebody did."""
        line = replace(line, target=line.target[:_MOST_TARGET].replace("\0", "?"))
        if line not in self._pending and len(self._pending) >= _MOST_PENDING:
            line = replace(line, target="…")
        self._pending[line] += 1

    async def flush(self) -> None:
        """Write what was noted."""
        lines, self._pending = self._pending, Counter()
        self._written_at = self._monotonic()
        rows = [replace(line, n=n) for line, n in lines.items()]
        try:
            await self._store.write(lambda tx: tx.append_audit(rows))
        except BaseException:
            self._pending.update(lines)
            raise

    async def list(self, before: int | None, limit: int, token: str | None) -> list[AuditRow]:
        """Return lines, the newest first, from before number `before` on; what was done just now too."""
        if self._pending:
            await self.flush()
        return await self._store.read(lambda tx: tx.audit_before(before, limit, token))


async def prune(tx: Tx) -> None:
    """Remove what is older than 90 days, or more than a million lines ago."""
    await tx.prune_audit(tx.now - KEPT, MOST, _BATCH)
