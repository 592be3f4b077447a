"""Jobs of keys that are full: held back, so that no claim goes over them, and released when there is room.

That a key is never used beyond its limit is `limiting.py`'s to see to, at the claim. What is here only keeps what cannot start
out of the way of claims. Who holds or releases jobs of a key does so alone, and counts what runs only then: so whenever
a lease ends, either it is seen to have ended, or the jobs that were held are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct, field

from rota.core.fairness import Turn, TurnName, choose
from rota.core.times import SECOND
from rota.service.limiting import uses_of_keys
from rota.service.signals import Effects, Signals
from rota.store.key_protocol import HeldAt
from rota.store.protocol import Store, Tx

_MOST_HELD = 500  # jobs that one transaction holds: on SQLite everybody else waits for it
_MOST_RELEASED = 500  # jobs of a key that one transaction releases
_MOST_READY = 5000  # jobs of a key with a limit that are let be ready in a lane
_ROWS = 100  # rows of turns that are looked at of a key: who waits for it in a lane at a priority
_TOGETHER = 50  # keys that one transaction looks after
_SWEPT = 500  # keys that are looked at in a second, whether somebody says that there is room or not
_LOOK_S = 1.0
_SOONEST = SECOND // 50  # a key with a rate is looked at no sooner again
_FIRST = TurnName("", 0, "", "")


async def hold(tx: Tx, places: Iterable[HeldAt]) -> tuple[int, set[HeldAt]]:
    """Hold jobs of these keys and lanes, as far as the keys are full; return how many, and where there may be more."""
    found = sorted(places)
    keys = sorted({key for key, _, _ in found})
    await tx.lock_keys(keys)
    full = {key for key, use in (await uses_of_keys(tx, keys)).items() if use.room(tx.now) == 0}
    mine = [place for place in found if place[0] in full]
    most = max(1, _MOST_HELD // max(1, len(mine)))
    held = await tx.hold_jobs(mine, most) if mine else 0
    return held, set(mine) if held >= most else set()


class _Refill(Struct):
    """What came of looking after keys: jobs that were released, keys that there is more to do for, at once or later."""

    released: int = 0
    more: set[str] = field(default_factory=set)
    later: dict[str, int] = field(default_factory=dict)


class KeyUpkeep:
    """Releases held jobs: of keys that a lease ended of, whose rate has a start again; and looks at all, little by little."""

    def __init__(self, store: Store, signals: Signals, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._signals = signals
        self._monotonic = monotonic
        self._now = 0
        self._whole = False  # all keys are being looked at, one page after another
        self._later: dict[str, int] = {}  # when the rate of a key has a start again
        self._seen: dict[str, TurnName] = {}  # up to where the rows of keys were looked at that have many
        self._swept = ""
        self._sweep_at = 0.0

    def due_at(self, now: int, *, held: bool) -> int | None:
        """Return when there is something to do; `held` says whether any job is held at all."""
        self._now = now
        if not held:
            self._signals.keys.clear()
            self._signals.limits_changed = self._whole = False
            self._later.clear()
            return None
        hurries = self._whole or self._signals.limits_changed
        if self._signals.keys or hurries or self._monotonic() >= self._sweep_at:
            return now
        return min(self._later.values(), default=None)

    async def step(self) -> int:
        """Do it; return how many jobs were released, or that there is more to do."""
        keys, self._signals.keys = self._signals.keys, set()
        keys |= {key for key, at in self._later.items() if at <= self._now}
        if self._signals.limits_changed:
            self._signals.limits_changed, self._whole, self._swept = False, True, ""
        if self._whole or self._monotonic() >= self._sweep_at:
            roomy, self._swept = await self._store.read(lambda tx: self._roomy(tx, self._swept))
            keys |= roomy
            self._whole = self._whole and bool(self._swept)
            self._sweep_at = self._monotonic() + _LOOK_S
        released = 0
        for at in range(0, len(keys), _TOGETHER):
            released += await self._refill(sorted(keys)[at : at + _TOGETHER])
        return released + self._whole

    async def _refill(self, keys: Sequence[str]) -> int:
        effects = Effects()

        async def write(tx: Tx) -> _Refill:
            effects.begin()
            return await refill(tx, keys, self._seen, effects)

        done = await self._store.write(write)
        for key in keys:
            self._later.pop(key, None)
        self._later |= done.later
        self._signals.keys |= done.more
        if done.released:
            self._signals.hint(effects)
        return done.released

    async def _roomy(self, tx: Tx, after: str) -> tuple[set[str], str]:
        """Return of the next keys that jobs are held of those with room, and up to where that was; '': to the end."""
        keys = await tx.held_keys(after, _SWEPT)
        used = await uses_of_keys(tx, keys)
        roomy = {key for key in keys if key not in used or used[key].room(tx.now) > 0 or used[key].limit.rate}
        return roomy - self._later.keys(), keys[-1] if len(keys) == _SWEPT else ""


async def refill(tx: Tx, keys: Sequence[str], seen: dict[str, TurnName], effects: Effects) -> _Refill:
    """Let as many jobs of each key be ready in each lane as there is room for, by whose turn it is.

    `seen` is up to where the rows of keys were looked at that have many; it is brought up to date.
    """
    done = _Refill()
    await tx.lock_keys(keys)
    waiting = await tx.are_held(keys)
    used = await uses_of_keys(tx, [key for key in keys if key in waiting])
    for key in keys:
        if key not in waiting:
            continue
        use = used.get(key)
        room = None if use is None else min(_MOST_READY, use.room(tx.now))
        if use is not None and use.limit.rate is not None and not use.is_full:
            rate = use.limit.rate
            done.later[key] = max(rate.next_at(use.full_at, tx.now), tx.now + max(rate.interval, _SOONEST))
        if room == 0:
            continue
        chosen = await _choose(tx, key, room, seen)
        released = await tx.release_jobs(chosen)
        for _, name in released:
            effects.ready[name.queue, name.lane] += 1
        done.released += len(released)
        if len(chosen) >= _MOST_RELEASED:
            done.more.add(key)
    return done


async def _choose(tx: Tx, key: str, room: int | None, seen: dict[str, TurnName]) -> list[tuple[str, TurnName]]:
    """Return which jobs of a key are to be ready, with their rows, so that each lane has as many as there is room for.

    Without a limit (None) all may be, some at a time.
    """
    most = _MOST_RELEASED if room is None else min(_MOST_RELEASED, room)
    depth = min(most, 1 + _MOST_RELEASED // _ROWS)
    after = seen.pop(key, _FIRST)
    turns = await tx.held_turns(key, after, _ROWS, depth)
    if len(turns) == _ROWS:  # the others come another time
        seen[key] = turns[-1].name
    elif after != _FIRST:
        there = {turn.name for turn in turns}
        turns += [turn for turn in await tx.held_turns(key, _FIRST, _ROWS, depth) if turn.name not in there]
    elif turns and (deeper := min(most, -(-_MOST_RELEASED // len(turns)))) > depth:  # few rows: more of each
        turns = await tx.held_turns(key, _FIRST, _ROWS, deeper)
    lanes: defaultdict[tuple[str, str], list[Turn]] = defaultdict(list)
    for turn in turns:
        lanes[turn.name.queue, turn.name.lane].append(turn)
    chosen = []
    for (queue, lane), rows in lanes.items():
        n = most if room is None else min(most, room - await tx.ready_of_key(key, queue, lane, room))
        own: dict[int, list[None]] = {at: [None] * len(turn.heads) for at, turn in enumerate(rows)}
        choice = choose(rows, [{"room": 1}] * len(rows), {"room": n}, {}, own=own)
        chosen += [(job, rows[at].name) for at, of_row in choice.jobs.items() for job in of_row]
    return chosen
