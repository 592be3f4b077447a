from __future__ import annotations

import random
import uuid

from hypothesis import given
from hypothesis import strategies as st

from rota.core.ids import Ids, floor_id

times = st.integers(1_000, 4_000_000_000_000_000)


def ids(seed: int = 1) -> Ids:
    return Ids(random.Random(seed).getrandbits)


@given(st.lists(times, min_size=1, max_size=50), st.integers())
def test_ids_grow_strictly_whatever_the_clock_does(moments: list[int], seed: int):
    source = ids(seed)
    made = [source.new(at) for at in moments]
    assert made == sorted(set(made))


@given(times, st.integers())
def test_an_id_is_a_uuid_of_version_7_that_holds_its_time(at: int, seed: int):
    text = ids(seed).new(at)
    parsed = uuid.UUID(text)
    assert str(parsed) == text
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert parsed.int >> 80 == at // 1000
    assert (parsed.int >> 64 & 0xFFF) == at % 1000 * 4096 // 1000


@given(times, times, st.integers())
def test_the_floor_of_a_time_parts_earlier_from_later(at: int, other: int, seed: int):
    made = ids(seed).new(other)
    floor = floor_id(at)
    assert str(uuid.UUID(floor)) == floor
    if other >= at:
        assert made >= floor
    else:
        assert made < floor


@given(st.lists(times, min_size=2, max_size=50), st.integers())
def test_without_a_step_back_the_floor_holds_for_every_id(moments: list[int], seed: int):
    source = ids(seed)
    for at in sorted(moments):
        assert source.new(at) >= floor_id(at)


def test_many_ids_of_one_moment_and_a_clock_that_stands_still():
    source = ids()
    made = [source.new(1_700_000_000_000_000) for _ in range(20_000)]
    assert made == sorted(set(made))


def test_a_time_before_1970_has_a_floor_below_every_id():
    assert floor_id(-1_000_000) <= ids().new(0)


def test_the_random_half_is_random_and_replays():
    one, two = [ids(7).new(5) for _ in range(2)]
    assert one == two
    assert ids(8).new(5) != one
