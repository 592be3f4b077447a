"""The order of claims: priority, then fair share, then age; and what starts cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rota.core.fairness import (
    START,
    OwnerName,
    Turn,
    TurnName,
    aged,
    charges_of,
    choose,
    cost,
    depth_of,
    due_before,
)


def a_turn(owner: str, heads: Sequence[tuple[int, str]] | int = 1000, **fields: object) -> Turn:
    """Return a row; `heads` may be how many jobs it has, all of one age."""
    name = TurnName(
        *(fields.pop(key, value) for key, value in (("queue", "q"), ("priority", 0), ("owner", owner), ("lane", "h")))
    )
    if isinstance(heads, int):
        heads = [(0, f"{owner}{n:06}") for n in range(heads)]
    values = {"turn": 0, "clock": 0, "weight": 1.0, "served_at": 0, "more": False, **fields}
    return Turn(name=name, heads=tuple(heads), **values)  # type: ignore[arg-type]


def chosen(turns: Sequence[Turn], room: int, owed: Mapping[OwnerName, int] | None = None) -> list[str]:
    return [turns[at].name.owner for at in choose(turns, [{"all": 1}] * len(turns), {"all": room}, owed or {}).rows]


class World:
    """Owners with jobs, one queue and priority, and a server that writes down what it charges."""

    def __init__(self, **weights: float) -> None:
        self.weights = weights
        self.turn: Counter[str] = Counter()
        self.clock = 0

    def start(self, room: int, **jobs: int) -> list[str]:
        turns = [
            a_turn(owner, n, turn=self.turn[owner], clock=self.clock, weight=self.weights.get(owner, 1.0))
            for owner, n in jobs.items()
        ]
        order = chosen(turns, room)
        names = {turn.name.owner: turn.name for turn in turns}
        for charge in charges_of(turns, {names[o]: n for o, n in Counter(order).items()}, {}):
            owner = charge.whose[2]
            self.turn[owner] = max(self.turn[owner] + charge.owed, charge.due) + charge.units
            self.clock = max(self.clock, charge.last)
        return order


weights = st.floats(0.001, 1000)


@given(st.lists(weights, min_size=2, max_size=5), st.lists(st.integers(1, 30), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_shares_follow_weights_within_one_job_each(given_weights: list[float], rooms: list[int]) -> None:
    """Between any two owners that always have jobs: what one has been given, by its weight, and the other, by its own."""
    names = [f"o{n}" for n in range(len(given_weights))]
    world = World(**dict(zip(names, given_weights, strict=True)))
    served: Counter[str] = Counter()
    for room in rooms:
        served.update(world.start(room, **dict.fromkeys(names, 300)))
    for one, weight in zip(names, given_weights, strict=True):
        for other, its in zip(names, given_weights, strict=True):
            apart = served[one] * cost(weight) - served[other] * cost(its)
            assert apart <= cost(weight) + cost(its)


@given(st.integers(1, 40), st.integers(1, 200), weights)
@settings(max_examples=60, deadline=None)
def test_a_newcomer_is_next_whatever_was_served_before(room: int, before: int, weight: float) -> None:
    world = World(a=weight)
    for _ in range(before):
        world.start(room, a=1000)
    assert world.start(1, a=1000, b=1) == ["b"]


@given(st.integers(1, 300), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_who_was_idle_has_no_credit(alone: int, room: int) -> None:
    world = World()
    world.start(1, a=10, b=1)
    for _ in range(alone):
        world.start(room, a=1000)
    order = world.start(20, a=1000, b=1000)
    assert abs(order.count("a") - order.count("b")) <= 1


@given(st.integers(2, 100))
@settings(max_examples=20, deadline=None)
def test_to_submit_one_run_one_gains_nothing(rounds: int) -> None:
    world = World()
    served: Counter[str] = Counter()
    waits = True
    for _ in range(rounds):
        (owner,) = world.start(1, a=1000, **({"b": 1} if waits else {}))
        served[owner] += 1
        waits = owner != "b" or True  # it submits its next one as soon as the last one was started
    assert abs(served["a"] - served["b"]) <= 1


def test_priority_comes_before_share_and_share_before_age() -> None:
    turns = [
        a_turn("old", [(1, "x")], turn=5 * START),
        a_turn("due", [(9, "y")]),
        a_turn("high", [(99, "z")], priority=1, turn=50 * START),
        a_turn("due2", [(8, "w")]),
    ]
    assert chosen(turns, 9) == ["high", "due2", "due", "old"]
    assert chosen(turns, 2) == ["high", "due2"]


def test_owners_take_turns_and_their_own_jobs_go_by_age_over_all_lanes() -> None:
    turns = [
        a_turn("a", [(3, "a3"), (5, "a5")]),
        a_turn("a", [(1, "a1"), (4, "a4")], lane="i"),
        a_turn("b", [(2, "b2"), (9, "b9")]),
    ]
    order = choose(turns, [{"all": 1}] * 3, {"all": 9}, {}).rows
    assert order == [1, 2, 0, 2, 1, 0]


def test_a_row_is_left_out_when_one_of_its_pools_is_used_up() -> None:
    turns = [a_turn("a", 5), a_turn("a", 5, lane="i"), a_turn("b", 5, lane="i")]
    pools = [{"all": 1, "process": 1}, {"all": 1, "async": 1}, {"all": 1, "async": 1}]
    order = choose(turns, pools, {"all": 9, "process": 2, "async": 3}, {}).rows
    assert Counter(order) == {0: 2, 1: 1, 2: 2}
    assert choose(turns, pools, {"all": 9, "process": 0, "async": 0}, {}).rows == []


def test_places_are_kept_for_who_comes_first_and_takes_several() -> None:
    turns = [a_turn("a", [(-1, "a1")], lane="big"), a_turn("b", 5), a_turn("c", 5, lane="async")]
    pools = [{"all": 4, "process": 4}, {"all": 1, "process": 1}, {"async": 1}]
    room = {"all": 3, "process": 3, "async": 2}
    waits = {0: ("all", "process")}
    choice = choose(turns, pools, room, {}, waits=waits)
    assert (choice.rows, choice.kept) == ([2, 2], True), "what takes no place of those goes on"
    choice = choose(turns, pools, room, {})
    assert (Counter(choice.rows), choice.kept) == ({1: 3, 2: 2}, False)
    choice = choose(turns, pools, {**room, "all": 5, "process": 5}, {}, waits=waits)
    assert (Counter(choice.rows), choice.kept) == ({0: 1, 1: 1, 2: 2}, False)
    first = replace(turns[1], heads=((-2, "b0"), *turns[1].heads))
    choice = choose([turns[0], first, turns[2]], pools, room, {}, waits=waits)
    assert (choice.rows[0], choice.kept) == (1, True), "what comes before it starts"
    assert Counter(choice.rows) == {1: 1, 2: 2}
    choice = choose(turns[:1], pools[:1], room, {}, waits=waits)
    assert (choice.rows, choice.kept) == ([], True)


def test_jobs_have_pools_of_their_own() -> None:
    turns = [a_turn("a", [(n, f"a{n}") for n in range(5)]), a_turn("b", [(n, f"b{n}") for n in range(5)])]
    own = {0: ["k", "k", None, "k", "l"], 1: ["k", "l", "l", None, None]}
    choice = choose(turns, [{"all": 1}] * 2, {"all": 9, "k": 1, "l": 2}, {}, own=own)
    assert choice.jobs == {0: ["a0", "a2"], 1: ["b1", "b2", "b3", "b4"]}
    assert Counter(choice.rows) == {0: 2, 1: 4}
    full = choose(turns, [{"all": 1}] * 2, {"all": 9, "k": 0, "l": 0}, {}, own=own)
    assert full.jobs == {0: ["a2"], 1: ["b3", "b4"]}


@given(st.lists(st.sampled_from(["k", "l", None]), max_size=8), *[st.integers(0, 4)] * 3)
def test_of_a_row_alone_the_same_jobs_are_chosen_as_beside_one_that_has_none(
    own: list[str | None], most: int, k: int, l_: int
) -> None:
    turn, room = a_turn("a", [(n, f"a{n}") for n in range(len(own))], more=True), {"all": most, "k": k, "l": l_}
    alone = choose([turn], [{"all": 1}], room, {}, own={0: own})
    beside = choose([turn, a_turn("b", 0)], [{"all": 1}] * 2, room, {}, own={0: own})
    assert (alone.rows, alone.jobs) == (beside.rows, beside.jobs)


def test_one_start_is_of_the_row_that_is_named_if_there_is_room_for_it() -> None:
    turns = [a_turn("a", [(n, f"a{n}") for n in range(9)], priority=5), a_turn("b", [(9, "b0")])]
    pools = [{"all": 1}, {"all": 1, "few": 1}]
    assert choose(turns, pools, {"all": 3, "few": 1}, {}, first=1).rows == [1, 0, 0]
    assert choose(turns, pools, {"all": 3, "few": 0}, {}, first=1).rows == [0, 0, 0]
    assert choose(turns, pools, {"all": 0, "few": 1}, {}, first=1).rows == []
    own = {1: ["k", None, "l"]}
    turns[1] = a_turn("b", [(7, "b0"), (8, "b1"), (9, "b2")])
    choice = choose(turns, pools, {"all": 3, "few": 9, "k": 0, "l": 1}, {}, own=own, first=1)
    assert (choice.rows, choice.jobs) == ([1, 0, 0], {1: ["b1"]})
    kept = choose(turns, pools, {"all": 3, "few": 0}, {}, waits={1: ("few",)}, first=1)
    assert kept.rows == [0, 0, 0], "places are kept by whose turn it is, not for what is named"


def test_queues_have_clocks_of_their_own() -> None:
    """A newcomer in another queue is next, though its queue's clock says less, and its job is younger."""
    turns = [
        a_turn("a", [(1, "a1"), (2, "a2")], turn=500 * START, clock=499 * START),
        a_turn("b", [(9, "b")], queue="other", turn=0, clock=3 * START),
        a_turn("a", [(1, "a0")], queue="other", turn=9 * START, clock=3 * START),
    ]
    assert chosen(turns, 4) == ["b", "a", "a", "a"]
    ours = [turn for turn in turns if turn.name.owner == "a"]
    order = choose(ours, [{"all": 1}] * 2, {"all": 3}, {}).rows
    assert order == [1, 0, 0], "what is one owner's goes by age"


def test_what_is_owed_counts_as_charged() -> None:
    turns = [a_turn("a", 5), a_turn("b", 5)]
    assert chosen(turns, 3, {("q", 0, "a"): 2 * START}) == ["b", "b", "a"]


def test_behind_the_jobs_that_are_known_there_may_be_others() -> None:
    assert chosen([a_turn("a", 2, more=True)], 5) == ["a"] * 5
    assert chosen([a_turn("a", 2)], 5) == ["a"] * 2
    assert chosen([a_turn("a", 0, more=True)], 5) == []


def test_charges_are_one_for_each_owner_with_what_was_owed() -> None:
    one, two = a_turn("a", turn=5, clock=7), a_turn("a", turn=5, clock=7, lane="i")
    other, idle = a_turn("b", turn=9, clock=7, weight=2.0), ("q", 0, "z")
    owed = {other.name.whose: 3, idle: 4}
    a, b, z = charges_of([one, two, other], {one.name: 1, two.name: 2, other.name: 1}, owed)
    assert (a.whose, a.units, a.owed, a.due, a.last) == (one.name.whose, 3 * START, 0, 7, 7 + 2 * START)
    assert (b.whose, b.units, b.owed, b.due, b.last) == (other.name.whose, START // 2, 3, 12, 12)
    assert (z.whose, z.units, z.owed, z.due, z.last) == (idle, 0, 4, 0, 0)
    assert (a.lanes, b.lanes, z.lanes) == (("h", "i"), ("h",), ())
    behind = a_turn("b", turn=9, clock=20)
    (late,) = charges_of([behind], {behind.name: 1}, {behind.name.whose: 3})
    assert (late.owed, late.due) == (3, 20), "what is owed is of the turn, and the clock has passed both"


@pytest.mark.parametrize(("weight", "units"), [(1, START), (3, 333_333), (0.001, 1000 * START), (1000, 1000)])
def test_what_a_start_costs(weight: float, units: int) -> None:
    assert cost(weight) == units


def test_only_what_waits_long_behind_a_higher_priority_is_aged() -> None:
    waiting = [
        a_turn("new", [(95, "n")], served_at=10),  # its job is young
        a_turn("later", [(3, "l")], served_at=20),
        a_turn("first", [(3, "f")], served_at=10),
        a_turn("none", [], served_at=1),
        a_turn("top", [(1, "t")], served_at=1, priority=5),
    ]
    found = aged(waiting, 5, 90)
    assert found is not None and found.name.owner == "first"
    assert aged(waiting, 0, 90) is None
    assert aged(waiting, 5, 5) is None


def test_how_many_starts_are_before_another() -> None:
    turn = a_turn("a", [(5, "x")], turn=10, clock=3, weight=1_000_000 / 4)  # costs 4
    assert [due_before(turn, at, (9, "y")) for at in (9, 10, 11, 14, 15)] == [0, 1, 1, 2, 2]
    assert [due_before(turn, at, (1, "y")) for at in (9, 10, 11, 14, 15)] == [0, 0, 1, 1, 2]
    assert due_before(a_turn("a", []), 99, (1, "y")) == 0


def test_a_claim_sees_enough_jobs_of_each_row() -> None:
    assert depth_of(0, 9) == depth_of(1, 500) == 2
    assert depth_of(5, 9) == 10
    assert depth_of(100, 100) == 5
    assert depth_of(1000, 100) == 1
