"""Conditions, and how many of them must be met: the truth table, and that the order of ends changes nothing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.core.states import FINAL, State
from rota.core.waits import AtLeast, Condition, Verdict, begin, count, join_of, least_of, meets, never

CONDITIONS: list[Condition] = ["succeeded", "failed", "finished", "any"]
ENDS = sorted(FINAL)


@pytest.mark.parametrize(
    ("on", "met"),
    [
        ("succeeded", {"succeeded"}),
        ("failed", {"failed"}),
        ("finished", {"succeeded", "failed"}),
        ("any", {"succeeded", "failed", "aborted", "canceled"}),
    ],
)
def test_each_condition_is_met_by_these_ends(on: Condition, met: set[str]) -> None:
    assert {state for state in ENDS if meets(on, state)} == met


@given(st.data())
def test_the_order_of_ends_changes_nothing(data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.tuples(st.sampled_from(CONDITIONS), st.sampled_from(ENDS)), min_size=1, max_size=6))
    least = data.draw(st.none() | st.integers(1, len(ends)))
    wanted = sum(meets(on, state) for on, state in ends) >= (least or len(ends))
    for order in itertools.islice(itertools.permutations(range(len(ends))), 24):
        stands = begin(len(ends), [], least)
        seen = [stands.verdict]
        for at in order:
            if stands.verdict is Verdict.WAIT:
                met = meets(*ends[at])
                stands = count(stands.need, stands.spare, met=met, never=not met)
                seen.append(stands.verdict)
        assert seen[-1] is (Verdict.START if wanted else Verdict.NEVER)
        assert stands.spare >= 0


@given(st.lists(st.tuples(st.sampled_from(CONDITIONS), st.none() | st.sampled_from(ENDS)), max_size=8), st.data())
def test_what_is_over_at_the_beginning_counts_as_what_ends_later(
    ends: list[tuple[Condition, State | None]], data: st.DataObject
) -> None:
    least = data.draw(st.none() | st.integers(1, len(ends))) if ends else None
    stands = begin(len(ends), [], least)
    over = [(on, state) for on, state in ends if state is not None]
    at_once = begin(len(ends), over, least)
    met = sum(meets(on, state) for on, state in over)
    if over:
        stands = count(stands.need, stands.spare, met=met, never=len(over) - met)
    assert at_once.verdict is stands.verdict
    if at_once.verdict is Verdict.WAIT:
        assert at_once == stands


def test_a_job_that_waits_for_nothing_starts() -> None:
    assert begin(0, [], None).verdict is Verdict.START


@pytest.mark.parametrize("least", [None, 1, 2, 7])
def test_a_number_is_said_and_read_back(least: int | None) -> None:
    assert least_of(join_of(least), 9) == least


@pytest.mark.parametrize(("join", "after"), [("any", 0), (AtLeast(0), 3), (AtLeast(4), 3), (AtLeast(1), 0)])
def test_what_can_never_be_met_is_refused(join: AtLeast, after: int) -> None:
    with pytest.raises(ValueError, match=r"is between|there is none"):
        least_of(join, after)


def test_why_a_job_never_starts_is_said_in_words() -> None:
    assert never("j", "succeeded", State.FAILED) == "job j, which this one waits for, is failed"
    assert never("j", "failed", State.SUCCEEDED) == "job j, which this one waits for to fail, is succeeded"
