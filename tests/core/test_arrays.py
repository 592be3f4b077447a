"""How large shards are, when arrays stop early, how long they still take."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.core.arrays import is_halted, left_s, parse_halt, shard_size
from rota.core.jobs import CRASH_BUDGET, Array


def size(array: Array, left: int, *, slots: int = 1, crashes: int = 0, ran_s: float = 0.0) -> int:
    return shard_size(array, left, slots=slots, crashes=crashes, ran_s=ran_s)


@given(
    inputs=st.integers(1, 1_000_000),
    data=st.data(),
    slots=st.integers(0, 1000),
    crashes=st.integers(0, CRASH_BUDGET - 1),
    parallel=st.none() | st.integers(1, 50),
    ran_s=st.floats(0, 1e9),
    each_s=st.floats(0, 1e6),
)
def test_a_shard_is_never_empty_and_never_more_than_is_left(
    inputs: int, data: st.DataObject, slots: int, crashes: int, parallel: int | None, ran_s: float, each_s: float
):  # fmt: skip
    left = data.draw(st.integers(1, inputs))
    done = data.draw(st.integers(0, inputs))
    array = Array(inputs=inputs, cursor=inputs - left, done=done, ran_s=each_s * done, parallel=parallel)
    n = size(array, left, slots=slots, crashes=crashes, ran_s=ran_s)
    assert 1 <= n <= min(left, 4096)
    assert n == 1 or slots <= 1 or n < inputs, "several workers share"
    if crashes == CRASH_BUDGET - 1:
        assert n == 1, "the last chance is had alone"


def test_the_first_shards_are_small_and_later_ones_last_about_a_second():
    assert size(Array(inputs=100_000), 100_000, slots=4) == 8
    quick = Array(inputs=100_000, cursor=1000, done=1000, ran_s=10.0)
    assert size(quick, 99_000, slots=4) == 100
    slow = Array(inputs=100_000, cursor=1000, done=1000, ran_s=5000.0)
    assert size(slow, 99_000, slots=4) == 1


def test_all_workers_end_together():
    """Dealt out to 8 slots in turn, the last shards are single inputs, and no shard is half of what is left."""
    array = Array(inputs=10_000, done=1, ran_s=0.000001)
    sizes = []
    while array.cursor < array.inputs:
        left = array.inputs - array.cursor
        sizes.append(size(array, left, slots=8))
        assert sizes[-1] == 1 or sizes[-1] <= left / 8
        array.cursor += sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-8:] == [1] * 8
    assert len(sizes) < 250


def test_what_was_lost_again_and_again_is_cut_ever_smaller():
    array = Array(inputs=1_000_000, done=1, ran_s=0.000001)
    sizes = [size(array, 900_000, crashes=crashes) for crashes in range(CRASH_BUDGET)]
    assert sizes == [4096, 512, 64, 8, 1]


def test_parallel_counts_in_place_of_more_slots():
    array = Array(inputs=800, done=1, ran_s=0.000001, parallel=2)
    assert size(array, 800, slots=100) == 100
    assert size(array, 800, slots=1) == 200


@pytest.mark.parametrize(
    "text", ["now,fail=1", "soon,fail=20%", "soon, success=3", " now,done=100% ", "now,fail=999999999"]
)
def test_rules_are_read(text: str):
    halt = parse_halt(text)
    assert text.strip().startswith(halt.when)
    assert halt.percent == ("%" in text)


@pytest.mark.parametrize(
    "text",
    ["", "never", "now", "fail=1", "now,fail", "now,fail=", "now,fail=0", "now,fail=0%", "now,fail=101%", "now,fail=-1",
     "now,fail=1.5", "later,fail=1", "now,failed=1", "now;fail=1", "now,fail=1,done=2", "now,fail=1234567890", "now,fail=٣"],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text: str):
    with pytest.raises(ValueError, match="now or soon"):
        parse_halt(text)


@pytest.mark.parametrize(
    ("halt", "done", "failed", "halted"),
    [
        ("now,fail=2", 9, 1, False), ("now,fail=2", 9, 2, True), ("now,fail=20%", 9, 3, False), ("now,fail=20%", 9, 4, True),
        ("soon,success=3", 4, 2, False), ("soon,success=3", 5, 2, True), ("soon,done=50%", 9, 9, False),
        ("soon,done=50%", 10, 0, True), ("now,done=100%", 20, 0, True), (None, 20, 20, False),
    ],
)  # fmt: skip
def test_a_rule_comes_true(halt: str | None, done: int, failed: int, halted: bool):
    assert is_halted(Array(inputs=20, done=done, failed=failed, halt=halt)) is halted


def test_how_long_it_takes_is_known_once_something_is_over_and_while_something_runs():
    assert left_s(Array(inputs=10, live=1)) is None
    assert left_s(Array(inputs=10, done=5, ran_s=10.0)) is None
    eta = left_s(Array(inputs=10, done=4, ran_s=8.0, live=3))
    assert eta is not None and math.isclose(eta, 4.0)
