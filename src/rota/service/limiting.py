"""How many jobs a claim may start of what has a limit: exact under any number of servers, and across crashes.

What is in use is counted from the jobs that run, in the transaction that starts others, while nobody else may start what
counts against the same limit. Nothing is written down that could leak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rota.core.fairness import Turn, TurnName
from rota.core.keys import KeyLimits
from rota.core.limits import MAX_CONCURRENCY, Limit, Pool, Use, pools_of
from rota.core.times import SECOND
from rota.service.signals import Effects
from rota.store.protocol import Tx

_SOONEST = SECOND // 100  # a claim that found no start left is woken no sooner


async def uses(tx: Tx, limits: Sequence[Limit]) -> list[Use]:
    """Count how much of limits is used. Of a name that stands for several keys nothing is known."""
    counted = [limit for limit in limits if limit.concurrency is not None]
    lanes = await tx.running_lanes() if any(limit.kind != "key" for limit in counted) else []
    keys = await tx.count_keys([limit.name for limit in counted if limit.kind == "key"], MAX_CONCURRENCY)
    buckets = await tx.buckets([limit.pool for limit in limits if limit.rate is not None])
    found = []
    for limit in limits:
        running = keys.get(limit.name, 0) if limit.kind == "key" else 0
        if limit.concurrency is not None and limit.kind != "key":
            mine = [lane for lane in lanes if limit.pool in pools_of(*lane)]
            running = sum(await tx.count_running(mine, MAX_CONCURRENCY))
        found.append(Use(limit, running, buckets.get(limit.pool)))
    return found


async def uses_of_keys(tx: Tx, keys: Iterable[str]) -> dict[str, Use]:
    """Count how much is used of what keys may use; of those that may use what there is nothing is returned."""
    limits = KeyLimits(await tx.limits()).of_all(keys)
    return {use.limit.name: use for use in await uses(tx, limits)}


class Limiting:
    """The limits that concern one claim."""

    def __init__(self, tx: Tx, effects: Effects) -> None:
        self._tx = tx
        self._effects = effects
        self._limits: dict[Pool, Limit] | None = None
        self._keys = KeyLimits(())
        self._own: dict[str | None, Pool | None] = {}  # what jobs of keys count against
        self._uses: dict[Pool, Use] = {}
        self._spent: Counter[Pool] = Counter()
        self.rooms: dict[Pool, int] = {}

    async def look(self, turns: Iterable[Turn]) -> None:
        """Find out what there is room for, of all that the first look at turns shows; nobody else starts such jobs then."""
        if not self._tx.has_limits or self._limits is not None:
            return
        found = await self._tx.limits()
        self._keys = KeyLimits(found)
        self._limits = {limit.pool: limit for limit in found if limit.kind != "key"}
        wanted = {pool for turn in turns for pool in pools_of(turn.name.queue, turn.name.lane)}
        # A queue or handler that is full now is full: no claim waits for another one only to see that. Jobs of a full key are
        # not met for long (keys.py), so that keys are counted once.
        seen = await uses(self._tx, [limit for pool, limit in self._limits.items() if pool in wanted])
        self._note([use for use in seen if use.room(self._tx.now) == 0])
        free = [use for use in seen if use.limit.pool not in self._uses]
        keys = self._keys.of_all(sorted({key for turn in turns for key in turn.keys if key is not None}))
        held = [use.limit for use in free] + keys
        if held and await self._tx.hold_limits([limit.pool for limit in held]):
            self._note(await uses(self._tx, held))
        else:
            self._note([*free, *await uses(self._tx, keys)])
        for use in self._uses.values():
            if use.limit.rate is not None and use.limit.rate.room(use.full_at, self._tx.now) == 0:
                self._wake(use)

    def pools(self, name: TurnName) -> list[Pool]:
        """Return the limits that a row's jobs count against. A limit that was not looked at lets nothing start."""
        if self._limits is None:
            return []
        found = [pool for pool in pools_of(name.queue, name.lane) if pool in self._limits]
        for pool in found:
            self.rooms.setdefault(pool, 0)
        return found

    def own_pools(self, turn: Turn) -> list[Pool | None]:
        """Return which limit each of a row's first jobs counts against by its key; none at all if no job has such a key."""
        for key in set(turn.keys) - self._own.keys():
            limit = None if key is None else self._keys.of(key)
            self._own[key] = None if limit is None else limit.pool
            if limit is not None:
                self.rooms.setdefault(limit.pool, 0)
        return [self._own[key] for key in turn.keys]

    def is_full(self, pool: Pool) -> bool:
        """Say whether a limit that was looked at lets nothing more start."""
        return pool in self._uses and self.rooms[pool] <= 0

    def spend(self, started: Mapping[TurnName, int], keys: Iterable[Pool]) -> None:
        """Note what was started, and which keys' limits that counts against besides."""
        for name, n in started.items():
            for pool in self.pools(name) if n else ():
                self._spent[pool] += n
                self.rooms[pool] -= n
        for pool in keys:
            self._spent[pool] += 1
            self.rooms[pool] -= 1

    async def write(self) -> None:
        """Write what was spent of rates."""
        now, full = self._tx.now, []
        for pool, n in self._spent.items():
            use = self._uses[pool]
            if use.limit.rate is not None:
                full_at = use.limit.rate.spend(use.full_at, now, n)
                full.append((*pool, full_at))
                if use.limit.rate.room(full_at, now) == 0:
                    self._wake(Use(use.limit, 0, full_at))
        if full:
            await self._tx.put_buckets(full)

    def _note(self, found: Sequence[Use]) -> None:
        for use in found:
            self._uses[use.limit.pool] = use
            self.rooms[use.limit.pool] = use.room(self._tx.now)

    def _wake(self, use: Use) -> None:
        """Let upkeep wake claims when the next job may start."""
        assert use.limit.rate is not None
        self._effects.wake(max(use.limit.rate.next_at(use.full_at, self._tx.now), self._tx.now + _SOONEST))
