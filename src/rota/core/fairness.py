"""Whose turn it is: priority, then fair share, then age. Start-time fair queueing over *rows of turns*, not over jobs.

There is a row for each (queue, priority, owner, lane) that has ready jobs. An owner's `turn` in a queue and priority is
the virtual time at which it is due; a start costs it 1/weight, and the *clock* is the time of the start that came last.
Who comes new, or again after a pause, is due at the clock: at once, and with no credit for having been idle.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from rota.core.times import SECOND

START = 1_000_000  # what a start costs at weight 1; whole numbers, so that every store adds alike
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000.0
AGED = 600 * SECOND  # a row that waits so long behind a higher priority gets a start of its own
STARTS_BETWEEN_AGED = 20
_MOST_QUEUES = 10_000  # that a server remembers turns of

OwnerName = tuple[str, int, str]  # (queue, priority, owner): who has one turn


class TurnName(NamedTuple):
    """What names a row of turns."""

    queue: str
    priority: int
    owner: str
    lane: str

    @property
    def whose(self) -> OwnerName:
        """Return who has the turn: the rows of all lanes share it."""
        return self.queue, self.priority, self.owner


class Turn(Struct, frozen=True):
    """A row of turns as a claim finds it: `heads` are the (run_at, id) of its first jobs, `more` says there may be others.

    `keys` are the keys of those jobs, one by one; none at all where no key has a limit. `max_running` is its owner's,
    `queue_weight` its queue's.
    """

    name: TurnName
    turn: int
    clock: int
    weight: float
    served_at: int
    heads: tuple[tuple[int, str], ...]
    more: bool
    max_running: int | None = None
    keys: tuple[str | None, ...] = ()
    queue_weight: float = 1.0

    @property
    def due(self) -> int:
        """Return when it is due, in virtual time: what lies behind the clock is no credit."""
        return max(self.turn, self.clock)


class Charge(Struct, frozen=True):
    """What an owner's starts cost: its turn, with what it `owed`, becomes at least `due`, and then `units` more.

    `last` is the virtual time of its last start, `lanes` are those that the starts came from.
    """

    whose: OwnerName
    units: int
    owed: int
    due: int
    last: int
    lanes: tuple[str, ...]


def cost(weight: float) -> int:
    """Return what a start costs an owner of this weight, in virtual time."""
    return max(1, round(START / weight))


def depth_of(rows: int, room: int, *, keyed: bool = False) -> int:
    """Return how many jobs of each of so many rows a claim must see to choose so many starts well.

    `keyed`: some keys have limits, so that one job of a row may start and the next may not.
    """
    if rows <= 1 and not keyed:
        return 2
    return 1 + min(room, (256 + 2 * room) // max(rows, 1))


class _Owner:
    """An owner's rows in one queue and priority while starts are chosen."""

    def __init__(self, name: str, weight: float) -> None:
        self.name = name
        self.turn = 0
        self.cost = cost(weight)
        self.rows: list[int] = []


_Waits = tuple[int, int, str, int, _Owner]  # (turn, run_at, id, row, owner)


class QueueStarts(Struct, frozen=True):
    """What a claim started of a queue of this weight, and whether it left jobs of it waiting."""

    n: int
    weight: float
    waits: bool


class QueueTurns:
    """Which queue is due first among those of a priority, by their weights: start-time fair queueing over queues.

    A server's own, in memory: what it forgets costs fairness a batch. Who was idle has no credit; who waits loses none,
    whatever other claims take at the same moment.
    """

    def __init__(self) -> None:
        self._clocks: dict[int, int] = {}
        self._turns: dict[tuple[int, str], int] = {}

    def due(self, priority: int, queue: str) -> int:
        """Return when a queue is due, in virtual time."""
        return max(self._turns.get((priority, queue), 0), self._clocks.get(priority, 0))

    def charge(self, starts: Mapping[tuple[int, str], QueueStarts]) -> None:
        """Note what a claim has done, for each (priority, queue) that it saw jobs of."""
        if len(self._turns) > _MOST_QUEUES:
            self._turns.clear()
        seen: dict[int, list[tuple[int, QueueStarts]]] = {}
        for (priority, queue), of_queue in starts.items():
            turn = self.due(priority, queue) + of_queue.n * cost(of_queue.weight)
            self._turns[priority, queue] = turn
            seen.setdefault(priority, []).append((turn, of_queue))
        for priority, queues in seen.items():
            waiting = [turn for turn, of_queue in queues if of_queue.waits]
            last = [turn - cost(of_queue.weight) for turn, of_queue in queues if of_queue.n]
            if waiting or last:  # the clock passes nobody who waits
                clock = min(waiting) if waiting else max(last)
                self._clocks[priority] = max(self._clocks.get(priority, 0), clock)


class _Walk:
    """The starts of one queue and priority, one after another. `due` is when its queue is, where queues have weights."""

    def __init__(self, clock: int, due: int = 0, cost: int = 0) -> None:
        self.clock = clock
        self.due = due
        self.cost = cost
        self.owners: dict[str, _Owner] = {}
        self._due: list[_Waits] = []  # whose turn the clock has passed, with 0 in its place: the oldest job comes first
        self._later: list[_Waits] = []

    def push(self, owner: _Owner, head: tuple[int, str, int]) -> None:
        """Let an owner wait for its turn; `head` is its oldest job, and the row that has it."""
        heapq.heappush(self._later, (owner.turn, *head, owner))

    def first(self) -> _Waits | None:
        """Return the first start, with how far ahead of the clock it is in place of its turn; None if there is none."""
        while self._later and self._later[0][0] <= self.clock:
            heapq.heappush(self._due, (0, *heapq.heappop(self._later)[1:]))
        if self._due:
            return self._due[0]
        if self._later:
            return (self._later[0][0] - self.clock, *self._later[0][1:])
        return None

    def pop(self) -> None:
        """Take the first away."""
        heapq.heappop(self._due or self._later)


class _Choosing:
    """How far each row has been taken from, and each pool. Behind the jobs that are known the last stands for the others.

    Not so where jobs have pools of their own: what is not known may count against another one.
    """

    def __init__(
        self,
        turns: Sequence[Turn],
        pools: Sequence[Mapping[Hashable, int]],
        room: Mapping[Hashable, int],
        own: Mapping[int, Sequence[Hashable | None]],
        waits: Mapping[int, Collection[Hashable]],
    ) -> None:
        self._turns = turns
        self._pools = pools
        self._own = own
        self._waits = waits
        self._left = dict(room)
        self._at = [0] * len(turns)
        self.jobs: dict[int, list[str]] = {row: [] for row in own}
        self.kept = False

    def head(self, row: int) -> tuple[int, str] | None:
        """Return the next job of a row, None if there is none or no room for it, unless places are kept for it."""
        waits = self._waits.get(row, ())
        if any(self._left[pool] < n for pool, n in self._pools[row].items() if pool not in waits):
            return None
        turn = self._turns[row]
        if (own := self._own.get(row)) is not None:
            while (at := self._at[row]) < len(own) and (pool := own[at]) is not None and self._left[pool] <= 0:
                self._at[row] += 1
        at = self._at[row]
        if at < len(turn.heads):
            return turn.heads[at]
        return turn.heads[-1] if turn.more and turn.heads and own is None else None

    def keep(self, row: int) -> bool:
        """Let nothing else have the places that the next job of a row needs more of than there are; say whether it does."""
        short = [pool for pool in self._waits.get(row, ()) if self._left[pool] < self._pools[row].get(pool, 0)]
        for pool in short:
            self.kept = self.kept or self._left[pool] > 0
            self._left[pool] = 0
        return bool(short)

    def begin(self, row: int) -> list[int]:
        """Let the first start be this row's, whatever its turn, if there is room for its next job; return what was started."""
        if self.head(row) is None or any(self._left[pool] < n for pool, n in self._pools[row].items()):
            return []
        self.take(row)
        return [row]

    def take(self, row: int) -> None:
        """Let the next start be this row's."""
        if (own := self._own.get(row)) is not None:
            self.jobs[row].append(self._turns[row].heads[self._at[row]][1])
            if (mine := own[self._at[row]]) is not None:
                self._left[mine] -= 1
        self._at[row] += 1
        for pool, n in self._pools[row].items():
            self._left[pool] -= n

    def push(self, walk: _Walk, owner: _Owner) -> None:
        """Let an owner wait for its turn, if it has a job that there is room for."""
        heads = [(*head, row) for row in owner.rows if (head := self.head(row)) is not None]
        if len(heads) < len(owner.rows):  # what is used up stays used up
            owner.rows = [row for *_, row in heads]
        if heads:
            walk.push(owner, min(heads))

    def walk(self, walks: Sequence[_Walk]) -> Iterator[int]:
        """Walk through the starts of one priority in order, as far as there is room."""
        while found := [(first, walk) for walk in walks if (first := walk.first()) is not None]:
            if len(found) > 1 and found[0][1].cost:  # queues have weights: those come first that are due first
                least = min(walk.due for _, walk in found)
                found = [each for each in found if each[1].due == least]
            (ahead, _, _, row, owner), walk = found[0] if len(found) == 1 else _first_of_all(found)
            walk.pop()
            if self.keep(row):
                owner.rows.remove(row)
            elif self.head(row) is not None:  # or else a pool was used up since: it may have jobs of another
                walk.clock += ahead
                owner.turn = walk.clock + owner.cost
                walk.due += walk.cost
                self.take(row)
                yield row
            self.push(walk, owner)


def _first_of_all(found: Sequence[tuple[_Waits, _Walk]]) -> tuple[_Waits, _Walk]:
    """Return which of the queues' first starts comes first: the least ahead; but an owner's own come by age."""
    ahead: dict[str, int] = {}
    for (lead, *_, owner), _ in found:
        ahead[owner.name] = min(lead, ahead.get(owner.name, lead))
    return min(found, key=lambda each: (ahead[each[0][4].name], each[0][1:4]))


class Choice(NamedTuple):
    """What a claim starts: a row for each start, in order; of rows whose jobs have pools of their own, which jobs.

    `kept`: places are left free for a job that comes first, and needs more than there are.
    """

    rows: list[int]
    jobs: dict[int, list[str]]
    kept: bool


_NOTHING: Mapping[int, Any] = {}


def choose(
    turns: Sequence[Turn],
    pools: Sequence[Mapping[Hashable, int]],
    room: Mapping[Hashable, int],
    owed: Mapping[OwnerName, int],
    queues: QueueTurns | None = None,
    *,
    own: Mapping[int, Sequence[Hashable | None]] = _NOTHING,
    waits: Mapping[int, Collection[Hashable]] = _NOTHING,
    first: int | None = None,
) -> Choice:
    """Return the rows (by their place in `turns`) that starts are to be taken from, in order, as many as there is room for.

    `pools` says for each row of which pools a start takes how many places, `room` how many places those have. `owed` are
    charges that are not written yet. The highest priority comes first; within it the owner whose turn is due first, and
    of several that are due the one with the oldest job. Queues of one priority have clocks of their own: the queue comes
    first whose next start is least ahead of its clock, then the one with the older job; what is one owner's goes by age.
    Where a queue has a weight, `queues` say which is due first, before all that.

    `own` are the pools that jobs of some rows count against besides, one for each of the row's first jobs, or None: one
    that has no room is passed over. Of these rows it is returned which jobs are to be taken. Of the pools in `waits`, by row,
    nothing of lower order takes a place while the row comes first and needs more places than there are. One start is the row
    `first`'s, before all others, if there is room for it.
    """
    if len(turns) == 1 and not waits:  # there is nothing to choose
        n = min(room[pool] // each for pool, each in pools[0].items())
        turn = turns[0]
        if own:
            jobs = _with_room(turn, own[0], room, n)
            return Choice([0] * len(jobs), {0: jobs}, kept=False)
        return Choice([0] * max(0, n if turn.more and turn.heads else min(n, len(turn.heads))), {}, kept=False)
    choosing = _Choosing(turns, pools, room, own, waits)
    priorities: dict[int, dict[str, _Walk]] = {}
    weighted = any(turn.queue_weight != 1 for turn in turns)
    for at, turn in enumerate(turns):
        if not turn.heads:
            continue
        queue, priority, name, _ = turn.name
        walks = priorities.setdefault(priority, {})
        if (walk := walks.get(queue)) is None:
            due = queues.due(priority, queue) if queues is not None and weighted else 0
            walk = walks[queue] = _Walk(turn.clock, due, cost(turn.queue_weight) if weighted else 0)
        owner = walk.owners.setdefault(name, _Owner(name, turn.weight))
        owner.turn = max(owner.turn, turn.turn + owed.get(turn.name.whose, 0), turn.clock)
        owner.rows.append(at)
    order = [] if first is None else choosing.begin(first)
    for priority in sorted(priorities, reverse=True):
        of_all = list(priorities[priority].values())
        for walk in of_all:
            for owner in walk.owners.values():
                choosing.push(walk, owner)
        order += choosing.walk(of_all)
    return Choice(order, choosing.jobs, choosing.kept)


def _with_room(turn: Turn, own: Sequence[Hashable | None], room: Mapping[Hashable, int], most: int) -> list[str]:
    """Return the first jobs of a row that their own pools have room for, at most so many."""
    left = dict(room)
    jobs: list[str] = []
    for (_, job), pool in zip(turn.heads, own, strict=True):
        if len(jobs) >= most:
            break
        if pool is not None:
            if left[pool] <= 0:
                continue
            left[pool] -= 1
        jobs.append(job)
    return jobs


def charges_of(turns: Sequence[Turn], started: Mapping[TurnName, int], owed: Mapping[OwnerName, int]) -> list[Charge]:
    """Return what starts cost, of so many from each row, and what was `owed` before: a charge for each owner."""
    due: dict[OwnerName, int] = {}
    costs: dict[OwnerName, int] = {}
    starts: dict[OwnerName, int] = {}
    lanes: dict[OwnerName, list[str]] = {}
    for turn in turns:
        whose = turn.name.whose
        due[whose] = max(due.get(whose, 0), turn.turn + owed.get(whose, 0), turn.clock)
        costs[whose] = cost(turn.weight)
        if n := started.get(turn.name, 0):
            starts[whose] = starts.get(whose, 0) + n
            lanes.setdefault(whose, []).append(turn.name.lane)
    charges = []
    for whose in sorted(starts.keys() | owed.keys()):
        units = costs.get(whose, 0) * starts.get(whose, 0)
        at = due[whose] if units else 0
        last = at + units - costs[whose] if units else 0
        charges.append(Charge(whose, units, owed.get(whose, 0), at, last, tuple(lanes.get(whose, ()))))
    return charges


def aged(waiting: Sequence[Turn], top: int, before: int) -> Turn | None:
    """Return the row that has waited longest, since before `before`, behind the priority `top`; None if none has."""
    old = [t for t in waiting if t.heads and t.name.priority < top and max(t.served_at, t.heads[0][0]) < before]
    return min(old, key=lambda t: (t.served_at, t.heads[0]), default=None)


def due_before(turn: Turn, at: int, job: tuple[int, str]) -> int:
    """Return how many starts a row has before that of `job` (run_at, id) at the virtual time `at`, if it has the jobs."""
    if turn.due > at or not turn.heads:
        return 0
    whole, rest = divmod(at - turn.due, cost(turn.weight))
    return whole + (rest > 0 or turn.heads[0] < job)
