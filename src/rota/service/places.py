"""How many jobs of owners with `max_running` a claim may start: exact under any number of servers, and across crashes.

As with limits (service/limiting.py), what runs is counted from live leases in the transaction that starts others, while
nobody else starts jobs of these owners. An owner at its quota is left out before a claim looks at its rows again.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence

from rota.core.fairness import Turn, TurnName
from rota.store.protocol import Tx

MOST_KEPT = 100  # owners that a server remembers as full


class Places:
    """The places that a claim has for owners' jobs. Each is known from the first look on; who comes later has none."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._looked = False
        self.rooms: dict[Hashable, int] = {}

    async def full_of(self, owners: Collection[str]) -> set[str]:
        """Return those of these owners of whose jobs no more may start, as far as one sees without waiting for others."""
        places = await self._tx.places_of(owners) if owners else {}
        return {owner for owner, found in places.items() if not found.free}

    async def look(self, turns: Sequence[Turn]) -> None:
        """Find out how many jobs may start of all owners that the first look at turns shows; nobody else starts any then."""
        if self._looked:
            return
        self._looked = True
        if owners := owners_of(turns):
            await self._tx.hold_places(owners)
            self.rooms = {_pool(owner): found.free for owner, found in (await self._tx.places_of(owners)).items()}

    def pools(self, turn: Turn) -> list[Hashable]:
        """Return what a start from a row takes a place of."""
        if turn.max_running is None:
            return []
        pool = _pool(turn.name.owner)
        self.rooms.setdefault(pool, 0)
        return [pool]

    def spend(self, started: Mapping[TurnName, int]) -> None:
        """Note what was started."""
        for name, n in started.items():
            if (pool := _pool(name.owner)) in self.rooms:
                self.rooms[pool] -= n


def owners_of(turns: Sequence[Turn]) -> set[str]:
    """Return the owners in these rows that have a quota of what runs."""
    return {turn.name.owner for turn in turns if turn.max_running is not None}


def _pool(owner: str) -> Hashable:
    return "owner", owner
