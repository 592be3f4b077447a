"""Claims in one order for everybody: priority, then fair share, then age (core/fairness.py), over the lanes a worker serves.

A claim looks at the first rows of turns and their first jobs, chooses, takes exactly that, and charges what it took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from itertools import islice

import msgspec
from msgspec import Struct, field

from rota.core.fairness import (
    AGED,
    STARTS_BETWEEN_AGED,
    Choice,
    OwnerName,
    QueueStarts,
    QueueTurns,
    Turn,
    TurnName,
    aged,
    charges_of,
    choose,
)
from rota.core.jobs import ARRAY_LANE, PULL_LANE
from rota.core.limits import Pool
from rota.core.needs import slots_of
from rota.core.states import State
from rota.core.times import SECOND
from rota.service import arrays
from rota.service.inputs import Inputs
from rota.service.keys import hold
from rota.service.limiting import Limiting
from rota.service.offers import Offer
from rota.service.places import MOST_KEPT, Places, owners_of
from rota.service.signals import Effects
from rota.store.key_protocol import HeldAt
from rota.store.protocol import Claimed, Store, Take, Tx

_ROUNDS = 3  # a row may have fewer jobs than were chosen of it: how often a claim looks again for the rest
_MOST_LOOKS = 20  # of a claim that finds owners of whom no more may run in its way
_MOST_HOLDS = 3  # how often a claim itself holds jobs that are in its way
_BEYOND = 16  # rows that are looked at besides one for each start: some have no job left
_LANES_KEPT = 60 * SECOND  # how long a lane that had jobs is looked at without being asked for
_ALL = "all"  # the pool of all places that are free
_SLOTS: frozenset[Hashable] = frozenset({_ALL, False, True})  # the pools of a worker's places
_PATIENCE = 60 * SECOND  # how long a worker keeps slots free for a job that comes first and takes several
_AGED_LOOK = 10 * SECOND  # how often a server looks for rows that have waited long


class Claim(Struct):
    """What a claim got, and what is to be remembered of it once it is committed. An array gives shards."""

    owed: dict[OwnerName, int]  # charges that are not written yet
    jobs: list[Claimed] = field(default_factory=list)
    shards: list[Claimed] = field(default_factory=list)
    lanes: list[tuple[str, str]] = field(default_factory=list)
    drained: set[TurnName] = field(default_factory=set)  # rows without a ready job
    full_owners: set[str] = field(default_factory=set)  # that were seen at their `max_running`
    free_owners: set[str] = field(default_factory=set)  # that were so before, and are not any more
    in_the_way: bool = False  # so many of them were met that there may be others with jobs behind them
    full: set[HeldAt] = field(default_factory=set)  # where jobs were met whose key is full
    queue_starts: dict[tuple[int, str], QueueStarts] = field(default_factory=dict)  # where queues have weights
    looked_for_aged: bool = False
    gave_to_aged: bool = False
    kept: bool = False  # slots were left free for a job that takes several
    emptied: bool = False  # it took all that there was for its slots, and had more of each kind
    now: int = 0

    @property
    def started(self) -> list[Claimed]:
        """Return all leases."""
        return self.jobs + self.shards


class Claimer(Struct, frozen=True):
    """Who claims: a worker, what it offers, and how many slots it has free: in all, for processes, on event loops.

    `patient`: it leaves some free, for a job that comes first and takes more than there are.
    """

    worker: str
    offer: Offer
    room: int
    process: int
    asynchronous: int
    patient: bool = True


class Claiming:
    """Claims of one server, and what it remembers between them. Losing that costs fairness a batch, nothing else."""

    def __init__(self, store: Store, full_owners: set[str]) -> None:
        self._store = store
        self.inputs = Inputs()
        self.queue_turns = QueueTurns()
        self._slots: dict[tuple[str, str], tuple[int, int]] = {}  # (queue, lane): when counted, how many
        self._lanes: dict[tuple[str, str], int] = {}  # that had jobs, and when that was seen
        self._owed: dict[OwnerName, int] = {}  # charges that are not written yet
        self._drained: set[TurnName] = set()
        self.full_owners = full_owners  # as claims saw them; each claim looks again
        self._full: set[HeldAt] = set()
        self._starts = 0  # since a row that had waited long got one
        self._look_for_aged_at = 0
        self._keeps: dict[str, int] = {}  # since when workers leave slots free

    @property
    def untidy(self) -> bool:
        """Say whether `tidy` has something to do."""
        return bool(self._drained or self._full)

    @property
    def is_blocked(self) -> bool:
        """Say whether jobs are in the way of claims because their key is full."""
        return bool(self._full)

    def begin(self) -> Claim:
        """Begin a claim, before its transaction: it alone writes what is owed until now."""
        owed, self._owed = self._owed, {}
        return Claim(owed)

    def end(self, began: Claim, claim: Claim | None) -> None:
        """Note what a claim has done: it is committed; or None: it came to nothing."""
        for whose, units in (began if claim is None else claim).owed.items():
            self._owed[whose] = self._owed.get(whose, 0) + units
        if claim is None:
            return
        now = claim.now
        if len(self._lanes) > 1000:
            self._lanes = {lane: at for lane, at in self._lanes.items() if now - at < _LANES_KEPT}
        self._lanes.update(dict.fromkeys(claim.lanes, now))
        self._drained |= claim.drained
        self.full_owners -= claim.free_owners
        self.full_owners |= claim.full_owners
        while len(self.full_owners) > MOST_KEPT:
            self.full_owners.pop()
        self._full |= claim.full
        if claim.queue_starts:
            self.queue_turns.charge(claim.queue_starts)
        self._starts += len(claim.jobs) + len(claim.shards)
        if claim.looked_for_aged:
            self._look_for_aged_at = now + _AGED_LOOK
        if claim.gave_to_aged:
            self._starts = 0
            self._look_for_aged_at = now

    async def tidy(self) -> bool:
        """Empty rows that were seen without a job, hold jobs whose key was seen full: no claim is to go over them.

        Return whether jobs were held; of many there are some at a time.
        """
        drained, self._drained = self._drained, set()
        full, self._full = self._full, set()
        if drained:
            await self._store.write(lambda tx: tx.empty_turns(drained))
        if not full:
            return False
        held, more = await self._store.write(lambda tx: hold(tx, full))
        self._full |= more
        return held > 0

    async def again(self, claim: Claim, looks: int) -> bool:
        """Say whether a claim that got nothing in so many looks is to look again: rows without a job, or with jobs that may
        not start, were in its way, and are no more. Should there be very many of those jobs, upkeep goes on with them."""
        if claim.started or not (claim.in_the_way or claim.full):
            return False
        if looks > _MOST_HOLDS and not claim.in_the_way:
            return False
        return await self.tidy() or claim.in_the_way

    async def take(self, tx: Tx, began: Claim, by: Claimer, effects: Effects) -> Claim:
        """Lease as many of the first jobs in order as there is room for."""
        claim = Claim(dict(began.owed), now=tx.now)
        taking = _Taking(self, tx, by, claim, effects)
        for _ in range(_ROUNDS):
            if not taking.has_room() or not await taking.round():
                break
        claim.emptied = taking.found_the_end()
        await taking.limiting.write()
        return claim

    def is_patient(self, worker: str, now: int) -> bool:
        """Say whether a worker may leave slots free: for a while, then as long not, lest they stay empty."""
        return now - self._keeps.get(worker, now) < _PATIENCE

    def note_kept(self, worker: str, now: int, *, kept: bool) -> None:
        """Note whether a worker that might has left slots free."""
        since = self._keeps.get(worker)
        if kept:
            self._keeps.setdefault(worker, now)
        elif since is not None and not _PATIENCE <= now - since < 2 * _PATIENCE:
            del self._keeps[worker]

    def forget(self, worker: str) -> None:
        """Forget a worker that is gone."""
        self._keeps.pop(worker, None)

    async def live_slots(self, tx: Tx, queue: str, lane: str) -> int:
        """Return how many slots there are in all for a lane; counted once a second."""
        counted_at, slots = self._slots.get((queue, lane), (0, 0))
        if not 0 <= tx.now - counted_at < SECOND:
            rows = [row for row in await tx.list_workers() if row.gone_at is None and not row.draining]
            offers = [Offer(row.hello) for row in rows]
            slots = sum(offer.slots(lane) for offer in offers if offer.serves(queue, lane))
            self._slots[queue, lane] = tx.now, slots
        return slots

    def lanes(self, now: int) -> list[tuple[str, str]]:
        """Return the lanes that had jobs lately."""
        return [lane for lane, at in self._lanes.items() if now - at < _LANES_KEPT]

    def looks_for_aged(self, now: int) -> bool:
        """Say whether a row that has waited long may get a start."""
        return self._starts >= STARTS_BETWEEN_AGED and now >= self._look_for_aged_at


class _Taking:
    """A claim while its transaction runs."""

    def __init__(self, claiming: Claiming, tx: Tx, by: Claimer, claim: Claim, effects: Effects) -> None:
        self._claiming = claiming
        self._tx = tx
        self._by = by
        self._offer = by.offer
        self._claim = claim
        self._effects = effects
        self.limiting = Limiting(tx, effects)
        self._places = Places(tx)
        self._left: dict[Hashable, int] = {_ALL: by.room, False: by.process, True: by.asynchronous}
        self._kinds = [kind for kind in (False, True) if self._left[kind] > 0]
        self._saw_all = False  # nothing is behind what was looked at last, and nothing of that is left

    def has_room(self) -> bool:
        """Say whether there is room for another job."""
        return min(self._left[_ALL], self._left[False] + self._left[True]) > 0

    def found_the_end(self) -> bool:
        """Say whether another claim for the same kinds of slots would find nothing. Arrays and full owners make no promise."""
        claim = self._claim
        promised = self._saw_all and not (claim.shards or claim.full_owners or claim.kept or claim.in_the_way)
        return promised and self._left[_ALL] > 0 and all(self._left[kind] > 0 for kind in self._kinds)

    async def round(self) -> bool:
        """Look, choose, take; return whether there may be others in place of jobs that were not there."""
        turns = await self._look()
        if (old := await self._aged(turns)) is not None and old.name not in {turn.name for turn in turns}:
            turns.append(old)
        await self.limiting.look(turns)
        await self._places.look(turns)
        pools = [self._pools(turn) for turn in turns]
        own = {at: self.limiting.own_pools(turn) for at, turn in enumerate(turns) if turn.keys}
        first = None if old is None else next(at for at, turn in enumerate(turns) if turn.name == old.name)
        choice = self._choose(turns, pools, own, first)
        self._claim.kept = self._claim.kept or choice.kept
        more = await self._start(turns, choice, own)
        self._note_full(turns, own)
        return more and not choice.kept

    def _choose(
        self, turns: list[Turn], pools: list[dict[Hashable, int]], own: dict[int, list[Pool | None]], first: int | None
    ) -> Choice:
        """Choose what to start; one start is the row `first`'s."""
        left = self._left | self.limiting.rooms | self._places.rooms
        waits = {
            at: _SLOTS
            for at, turn in enumerate(turns)
            if self._by.patient and turn.heads and slots_of(turn.name.lane) > 1
        }
        choice = choose(
            turns, pools, left, self._claim.owed, self._claiming.queue_turns, own=own, waits=waits, first=first
        )
        if first is not None:
            self._claim.gave_to_aged = choice.rows[:1] == [first]
        return choice

    def _pools(self, turn: Turn) -> dict[Hashable, int]:
        """Return of what a start from a row takes how many places."""
        slots = slots_of(turn.name.lane)
        limits = [*self.limiting.pools(turn.name), *self._places.pools(turn)]
        return {_ALL: slots, self._offer.is_async(turn.name.lane): slots} | dict.fromkeys(limits, 1)

    def _served(self, lanes: Iterable[tuple[str, str]]) -> list[tuple[str, str, int]]:
        left, claim = self._left, self._claim
        return [
            (queue, lane, min(left[_ALL], room) + _BEYOND)
            for queue, lane in lanes
            if self._offer.serves(queue, lane)
            and (room := left[self._offer.is_async(lane)]) > 0
            and not (claim.jobs and lane.startswith(ARRAY_LANE))  # who holds jobs must not wait for an array
        ]

    async def _look(self) -> list[Turn]:
        """Return the first rows of all lanes that are served, but for those of owners of whom no more may run.

        When such owners are in the way, it looks again, without them.
        """
        claim, places = self._claim, self._places
        if known := self._claiming.full_owners - claim.full_owners - claim.free_owners:
            full = await places.full_of(known)
            claim.full_owners |= full
            claim.free_owners |= known - full
        for _ in range(_MOST_LOOKS):
            turns, cut_off = await self._first_rows()
            full = await places.full_of(owners_of(turns))
            claim.full_owners |= full
            turns = [turn for turn in turns if turn.name.owner not in full]
            self._saw_all = not cut_off
            if not full or not cut_off:
                break
        for at, turn in enumerate(turns):
            if _is_array(turn) and turn.heads:  # one array gives as many shards as are wanted
                turns[at] = msgspec.structs.replace(turn, more=True)
        headless = [turn.name for turn in turns if not turn.heads]
        claim.drained.update(headless)
        claim.in_the_way = len(headless) > _BEYOND // 2
        return turns

    async def _first_rows(self) -> tuple[list[Turn], bool]:
        """Return the first rows of all lanes that are served, and whether there may be others.

        Those of lanes that had jobs lately come at once.
        """
        tx, claim, room = self._tx, self._claim, self._left[_ALL]
        asked = self._served({*self._claiming.lanes(tx.now), *claim.lanes})
        claim.lanes, turns = await tx.turns(asked, room, claim.full_owners)
        others = self._served(set(claim.lanes) - {lane[:2] for lane in asked})
        if others:
            turns = turns + (await tx.turns(others, room, claim.full_owners))[1]
        rows = Counter(turn.name[::3] for turn in turns)
        return turns, any(rows[queue, lane] >= most for queue, lane, most in asked + others)

    async def _aged(self, turns: list[Turn]) -> Turn | None:
        """Return a row that has waited long behind a higher priority, if its turn has come: not of pulled tasks."""
        tx, claim = self._tx, self._claim
        if claim.looked_for_aged or not self._claiming.looks_for_aged(tx.now):
            return None
        lanes = [(queue, lane) for queue, lane, _ in self._served(claim.lanes) if not lane.startswith(PULL_LANE)]
        claim.looked_for_aged = True
        top = max((turn.name.priority for turn in turns if turn.heads), default=0)
        return aged(await tx.oldest_turns(lanes, tx.now - AGED, 3), top, tx.now - AGED)

    async def _start(
        self,
        turns: list[Turn],
        choice: Choice,
        own: dict[int, list[Pool | None]],
    ) -> bool:
        """Take what was chosen, and charge it."""
        tx, claim, offer, order = self._tx, self._claim, self._offer, choice.rows
        chosen = {0: len(order)} if len(turns) == 1 and order else Counter(order)
        started: dict[TurnName, int] = {}
        for at, n in chosen.items():  # arrays first: they are waited for, and who holds jobs must not wait
            if _is_array(turns[at]):
                started[turns[at].name] = await self._cut(turns[at], n)
        rows = [at for at in chosen if not _is_array(turns[at])]
        takes = [Take(turns[at].name, chosen[at], offer.spec(turns[at].name.lane), choice.jobs.get(at)) for at in rows]
        taken = await tx.claim_jobs(self._by.worker, takes) if takes else []
        started |= {take.turn: len(of_row) for take, of_row in zip(takes, taken, strict=True)}
        if len(taken) == 1:
            claim.jobs += taken[0]
        else:
            jobs = {at: iter(of_row) for at, of_row in zip(rows, taken, strict=True)}
            claim.jobs += [job for at in order if at in jobs for job in islice(jobs[at], 1)]
        if any(started.values()) or claim.owed:
            charges = charges_of(turns, started, claim.owed)
            written = await tx.charge_turns(charges)
            claim.owed = {charge.whose: charge.owed + charge.units for charge in charges if charge.whose not in written}
        self.limiting.spend(started, _keys_of(turns, own, rows, taken))
        self._places.spend(started)
        if any(turn.queue_weight != 1 for turn in turns):
            self._note_queues(turns, started)
        for name, n in started.items():
            self._left[_ALL] -= n * slots_of(name.lane)
            self._left[offer.is_async(name.lane)] -= n * slots_of(name.lane)
        more = self._note_drained(turns, chosen, started)
        self._saw_all = self._saw_all and not more
        return more and any(started.values())

    def _note_full(self, turns: list[Turn], own: dict[int, list[Pool | None]]) -> None:
        """Note where a claim goes over jobs because their key is full."""
        full = {
            pool for pools in own.values() for pool in set(pools) if pool is not None and self.limiting.is_full(pool)
        }
        if not full:
            return
        mine = {claimed.lease.job for claimed in self._claim.jobs}
        for at, pools in own.items():
            turn = turns[at]
            for (_, job), key, pool in zip(turn.heads, turn.keys, pools, strict=True):
                if key is not None and pool in full and job not in mine:
                    self._claim.full.add((key, turn.name.queue, turn.name.lane))

    def _note_queues(self, turns: list[Turn], started: dict[TurnName, int]) -> None:
        """Note what was started of each queue, and of which there are jobs left."""
        starts, seen = self._claim.queue_starts, set[tuple[int, str]]()
        for turn in turns:
            which, n = (turn.name.priority, turn.name.queue), started.get(turn.name, 0)
            before = starts.get(which, QueueStarts(0, turn.queue_weight, waits=False))
            waits = (turn.more or n < len(turn.heads)) or (before.waits and which in seen)
            starts[which] = QueueStarts(before.n + n, turn.queue_weight, waits)
            seen.add(which)

    def _note_drained(self, turns: list[Turn], chosen: dict[int, int], started: dict[TurnName, int]) -> bool:
        """Note which rows have no job left; return whether others have."""
        more = False
        for at, turn in enumerate(turns):
            got = started.get(turn.name, 0)
            if got < chosen.get(at, 0) or (not turn.more and got >= len(turn.heads)):
                self._claim.drained.add(turn.name)
                more = more or (_is_array(turn) and got > 0)  # behind arrays that are cut up others may come
            elif turn.heads:
                more = True
        return more

    async def _cut(self, turn: Turn, most: int) -> int:
        """Cut up to `most` shards of the first arrays of a row; return how many."""
        tx, by, lane = self._tx, self._by, turn.name.lane
        slots = await self._claiming.live_slots(tx, turn.name.queue, lane)
        cut = 0
        for _, job in turn.heads:
            while cut < most:
                locked = (await tx.lock_jobs([job])).get(job)
                if locked is None or not (locked.state is State.QUEUED or locked.open):  # somebody was faster
                    break
                shard = await arrays.cut(
                    tx, self._claiming.inputs, locked, by.worker, spec=by.offer.spec(lane), slots=slots, effects=self._effects
                )  # fmt: skip
                if shard is None:
                    break
                self._claim.shards.append(shard)
                cut += 1
        return cut


def _keys_of(
    turns: list[Turn], own: dict[int, list[Pool | None]], rows: list[int], taken: list[list[Claimed]]
) -> list[Pool]:
    """Return which keys' limits the jobs count against that were taken of these rows."""
    found: list[Pool] = []
    for at, of_row in zip(rows, taken, strict=True):
        if at in own:
            pools = {job: pool for (_, job), pool in zip(turns[at].heads, own[at], strict=True)}
            found += [pool for claimed in of_row if (pool := pools[claimed.lease.job]) is not None]
    return found


def _is_array(turn: Turn) -> bool:
    return turn.name.lane.startswith(ARRAY_LANE)
