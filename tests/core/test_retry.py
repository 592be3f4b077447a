from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.core.retry import DEFAULT_BACKOFF, Backoff

jitters = st.floats(0, 1, exclude_max=True)


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    limit = draw(st.floats(1, 366 * 86400))
    return Backoff(base=draw(st.just(0.0) | st.floats(0.001, limit)), factor=draw(st.floats(1, 100)), limit=limit)


@given(backoffs(), st.integers(1, 10**9), jitters)
def test_a_pause_is_between_half_and_all_of_the_back_off(backoff: Backoff, failures: int, jitter: float):
    whole = backoff.delay_s(failures, 0.0) * 2
    pause = backoff.delay_s(failures, jitter)
    assert math.isfinite(pause)
    assert whole / 2 <= pause <= whole
    assert pause <= backoff.limit
    assert pause >= backoff.base / 2 or whole == backoff.limit


@given(backoffs(), st.integers(1, 200), jitters)
def test_pauses_never_shrink(backoff: Backoff, failures: int, jitter: float):
    assert backoff.delay_s(failures + 1, jitter) >= backoff.delay_s(failures, jitter)


@given(backoffs(), st.integers(1, 200), jitters, jitters)
def test_more_jitter_waits_longer(backoff: Backoff, failures: int, one: float, two: float):
    low, high = sorted((one, two))
    assert backoff.delay_s(failures, low) <= backoff.delay_s(failures, high)


def test_the_default_is_a_second_doubling_to_an_hour():
    assert [DEFAULT_BACKOFF.delay_s(n, 0.0) * 2 for n in (1, 2, 3, 4, 12, 13, 10**6)] == [1, 2, 4, 8, 2048, 3600, 3600]


@pytest.mark.parametrize(
    "body",
    [
        '{"base": -1}',
        '{"base": 10, "limit": 5}',
        '{"factor": 0.5}',
        '{"factor": 101}',
        '{"limit": 1e18}',
        '{"unknown": 1}',
        '{"base": "1"}',
    ],
)
def test_nonsense_is_refused_where_it_is_read(body: str):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Backoff)


@pytest.mark.parametrize("field", ["base", "factor", "limit"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_would_wait_for_ever_or_backwards_is_refused(field: str, value: float):
    with pytest.raises(ValueError, match="is required"):
        Backoff(**{field: value})
