"""When a job is expected to start: pure arithmetic over what is ahead, how long such jobs ran, and what comes meanwhile."""

from __future__ import annotations

import pytest

from rota.core.forecasts import Pace, Rival, about, start_in_s

PACES = [Pace("ana", 0, "short", 10, 20.0, 0), Pace("bob", 0, "short", 10, 20.0, 0), Pace("bob", 0, "long", 2, 60.0, 0)]
USUAL = 100.0 / 22
BUSY = {"other": 4}  # of which nobody knows how long it runs: as long as is usual


def rival(n: int = 0, *, per_s: float = 0.0, most: int | None = None, lane: str = "short") -> Rival:
    return Rival(ready={lane: n} if n else {}, per_s=per_s, most=most)


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


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (7.4, "7 s"), (41.0, "40 s"), (119.0, "120 s"), (290.0, "5 min"), (3 * 3600.0, "3 h"), (3e5, "3 d")],
)
def test_an_estimate_is_told_as_roughly_as_it_is_meant(seconds: float, words: str) -> None:
    assert about(seconds) == words
