"""Rows of turns: what upkeep does so that none hides a job, or is gone over for nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rota.core.fairness import TurnName
from rota.service.claiming import Claiming
from rota.store.protocol import Store

_ROWS_A_LOOK = 100  # that there ought to be, of all there are
_LOOK_S = 1.0
_FIRST = TurnName("", 0, "", "")


class TurnUpkeep:
    """Empties rows that have no job left; finds jobs without a row, which servers of an older Rota submit."""

    def __init__(self, store: Store, claiming: Claiming, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._claiming = claiming
        self._monotonic = monotonic
        self._after = _FIRST
        self._look_at = 0.0

    def due(self, ready: Sequence[tuple[str, str]]) -> bool:
        """Say whether there is something to do, when these lanes have queued jobs."""
        return self._claiming.untidy or (bool(ready) and self._monotonic() >= self._look_at)

    async def step(self) -> int:
        """Do it, once round the rows in as many steps as that takes; return how many rows were missing, or that jobs were held:
        then there may be more."""
        held = await self._claiming.tidy()
        if self._monotonic() < self._look_at:
            return held
        self._look_at = self._monotonic() + _LOOK_S
        missing, after = await self._store.read(lambda tx: tx.missing_turns(self._after, _ROWS_A_LOOK))
        self._after = after or _FIRST
        if missing:
            await self._store.write(lambda tx: tx.make_ready(missing))
        return len(missing) + held
