"""When a job is expected to start: pure arithmetic over what is ahead, how long such jobs ran, and what comes meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from rota.core.forecasts import Bound, Flow, Pace, Rival, about, bounded_in_s, start_in_s
from rota.core.limits import Rate
from rota.core.times import SECOND

PACES = [Pace("ana", 0, "short", 10, 20.0, 0), Pace("bob", 0, "short", 10, 20.0, 0), Pace("bob", 0, "long", 2, 60.0, 0)]
USUAL = 100.0 / 22
NOW = 1_750_000_000 * SECOND
BUSY = {"other": 4}  # of which nobody knows how long it runs: as long as is usual


def rival(n: int = 0, *, per_s: float = 0.0, most: int | None = None, lane: str = "short") -> Rival:
    return Rival(ready={lane: n} if n else {}, comes={"another": per_s} if per_s else {}, most=most)


def test_a_free_slot_is_taken_at_once_also_where_nothing_ever_ended() -> None:
    assert start_in_s({}, [], [], slots=2, running={"short": 1}) == 0.0
    assert start_in_s({"short": 1}, [], [], slots=3, running={"short": 1}) == 0.0


def test_what_runs_now_says_when_the_first_slot_is_free() -> None:
    assert start_in_s({}, [], PACES, slots=4, running={"short": 4}) == pytest.approx(0.5)
    assert start_in_s({}, [], PACES, slots=4, running={"long": 4}) == pytest.approx(7.5)


def test_nobody_knows_before_something_has_ended() -> None:
    assert start_in_s({}, [], [], slots=2, running={"short": 2}) is None
    assert start_in_s({"short": 1}, [], [Pace("ana", 0, "short", 0, 0.0, 0)], slots=2, running={"short": 1}) is None


def test_what_is_ahead_shares_the_slots() -> None:
    assert start_in_s({}, [], PACES, slots=4, running=BUSY) == pytest.approx(USUAL / 4)
    assert start_in_s({"short": 39}, [], PACES, slots=4, running=BUSY) == pytest.approx(20.0, rel=0.3)
    assert start_in_s({"long": 39}, [], PACES, slots=4, running=BUSY) == pytest.approx(300.0, rel=0.2)
    assert start_in_s({"never seen": 9}, [], PACES, slots=1, running={"other": 1}) == pytest.approx(10 * USUAL)
    assert start_in_s({"short": 20}, [rival(19)], PACES, slots=4, running=BUSY) == pytest.approx(20.0, rel=0.3)
    assert start_in_s({"short": 20}, [rival(50, most=19)], PACES, slots=4, running=BUSY) == pytest.approx(20.0, rel=0.3)


def test_what_comes_meanwhile_makes_the_wait_longer() -> None:
    alone = start_in_s({"short": 39}, [], PACES, slots=4, running=BUSY)
    half = start_in_s({"short": 39}, [rival(per_s=4 / (2 * USUAL))], PACES, slots=4, running=BUSY)
    bounded = start_in_s({"short": 39}, [rival(per_s=100.0, most=1)], PACES, slots=4, running=BUSY)
    assert alone is not None and half is not None and bounded is not None
    assert half > 1.5 * alone
    assert alone < bounded < 1.2 * alone


def test_who_is_overtaken_for_ever_has_no_expectation() -> None:
    assert start_in_s({"long": 1000}, [rival(per_s=100.0)], PACES, slots=1, running={"other": 1}) is None


def test_of_what_a_limit_holds_only_that_is_ahead_which_may_start_until_then() -> None:
    held = Flow(lanes=frozenset({"long"}), room=0, per_s=0.0)
    alone = start_in_s({"short": 19}, [], PACES, slots=4, running=BUSY)
    assert start_in_s({"short": 19, "long": 500}, [], PACES, slots=4, running=BUSY, flows=[held]) == alone
    assert start_in_s({"short": 1, "long": 500}, [], PACES, slots=4, running={"short": 2}, flows=[held]) == 0.0
    slow = Flow(lanes=frozenset({"long"}), room=1, per_s=0.1)
    some = start_in_s({"short": 19}, [rival(500, lane="long")], PACES, slots=4, running=BUSY, flows=[slow])
    assert alone is not None and some is not None
    assert 2 * alone < some < 10 * alone, "each of them takes 15 times as long"


def bound(own: int = 0, *rivals: Rival, running: int = 0, **fields: Any) -> float | None:
    made = Bound(own={"short": own} if own else {}, rivals=rivals, running={"short": running}, **fields)
    return bounded_in_s(made, PACES, NOW)


def test_what_may_run_at_once_is_slots_that_are_shared_by_what_counts_against_the_limit() -> None:
    assert bound(slots=2, running=1) == 0.0
    assert bound(slots=1, running=1) == pytest.approx(2.0)
    assert bound(19, slots=2, running=2) == pytest.approx(20.0, rel=0.1)
    assert bound(9, rival(10), slots=2, running=2) == pytest.approx(20.0, rel=0.1)
    assert bound(0, slots=None, running=99) == 0.0
    unknown = Bound(own={}, rivals=[], running={"short": 1}, slots=1)
    assert bounded_in_s(unknown, [], NOW) is None, "nothing has ended yet"


def test_a_rate_gives_its_starts_one_after_another() -> None:
    rate = Rate(starts=6, period=60 * SECOND, burst=3)
    assert bound(2, rate=rate) == 0.0
    assert bound(3, rate=rate) == 10.0
    assert bound(3, rival(4), rate=rate) == 50.0
    empty = NOW + 30 * SECOND
    assert bound(0, rate=rate, full_at=empty) == 10.0
    assert bound(5, rate=rate, full_at=empty) == 60.0
    assert bound(5, rate=rate, full_at=empty - 4 * SECOND) == 56.0
    assert bound(4, rival(per_s=0.05), rate=rate, full_at=empty) == pytest.approx(100.0, rel=0.15)
    assert bound(0, rival(per_s=9.0), rate=rate, full_at=empty) is None, "more comes than may start"
    assert bound(20, slots=2, running=2, rate=rate, full_at=empty) == 210.0, "both hold"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (7.4, "7 s"), (41.0, "40 s"), (119.0, "120 s"), (290.0, "5 min"), (3 * 3600.0, "3 h"), (3e5, "3 d")],
)
def test_an_estimate_is_told_as_roughly_as_it_is_meant(seconds: float, words: str) -> None:
    assert about(seconds) == words
