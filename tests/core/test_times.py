from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rota.core.times import MAX_DELAY_S, SECOND, parse_duration, parse_time, rfc3339, to_micros

FIRST = to_micros(datetime(1, 1, 1, tzinfo=UTC))
LAST = to_micros(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
moments = st.integers(FIRST, LAST)


@given(moments)
@example(FIRST)
@example(LAST)
@example(0)
@example(-1)
def test_a_time_survives_the_round_trip(at: int):
    assert parse_time(rfc3339(at)) == at


@given(moments, moments)
def test_texts_sort_as_times_do(one: int, two: int):
    assert (rfc3339(one) < rfc3339(two)) == (one < two)


@given(moments)
def test_a_text_is_rfc3339_with_six_digits(at: int):
    text = rfc3339(at)
    assert len(text) == len("2026-03-29T09:00:00.000000Z")
    assert text[10] == "T"
    assert text.endswith("Z")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01 00:00:00.000001+00:00", 1),
        ("  1970-01-02  ", 86400 * SECOND),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("20260329T090000Z", 1774774800 * SECOND),
        ("2026-W13-7", 1774742400 * SECOND),
    ],
)
def test_times_as_people_write_them(text: str, expected: int):
    assert parse_time(text) == expected


def test_a_text_without_a_zone_is_in_the_one_that_is_given():
    zone = ZoneInfo("Europe/Berlin")
    assert parse_time("2026-07-01T12:00:00", zone) == parse_time("2026-07-01T10:00:00Z")
    assert parse_time("2026-01-01T12:00:00", zone) == parse_time("2026-01-01T11:00:00Z")
    assert parse_time("2026-01-01T12:00:00Z", zone) == parse_time("2026-01-01T12:00:00Z")


@pytest.mark.parametrize("offset", [14, -12])
def test_a_zone_that_leads_out_of_the_calendar_is_refused_or_right(offset: int):
    zone = timezone(timedelta(hours=offset))
    for text in ("0001-01-01T00:00:00", "9999-12-31T23:59:59"):
        assert parse_time(text, zone) == parse_time(text) - offset * 3600 * SECOND


@given(st.text(max_size=40) | st.from_regex(r"[-0-9TZ:+. W]{0,32}", fullmatch=True))
@example("2026-02-30T00:00:00Z")
@example("24:00")
@example("\ud800")
@example("2026-01-01T00:00:00+24:00")
@example("9999-12-31T23:59:59-23:59")
def test_nothing_but_a_value_error_comes_of_a_text(text: str):
    for parse in (parse_time, parse_duration):
        try:
            value = parse(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017
        else:
            assert isinstance(value, int | float)


UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from(sorted(UNITS))), min_size=1, max_size=6))
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]):
    total = sum(n * UNITS[unit] for n, unit in parts)
    for space in ("", " "):
        assert parse_duration(space.join(f"{n}{unit}" for n, unit in parts)) == pytest.approx(total)


@given(st.floats(0, MAX_DELAY_S) | st.integers(0, int(MAX_DELAY_S)))
def test_numbers_are_seconds(seconds: float):
    assert parse_duration(seconds) == seconds
    if seconds == int(seconds):
        assert parse_duration(str(int(seconds))) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("2m", 120), ("1h30m", 5400), ("4d", 345600), (" 1.5h ", 5400), ("250ms", 0.25), ("7", 7)],
)
def test_durations_as_people_write_them(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "bad",
    [
        "", " ", "s", "-1s", "1y", "1 2", "1e3", "0x10", "1s;", "١s", "inf", "nan", "1,5s", "PT1H", "40000d", "9" * 400,  # noqa: RUF001
        "9" * 400 + "w", -1, -0.001, MAX_DELAY_S + 1, float("nan"), float("inf"), True, False, 10**400, -(10**400),
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_a_reason(bad: str | float):
    with pytest.raises(ValueError, match=r"duration|\d+ years|is no"):
        parse_duration(bad)


@given(st.datetimes(timezones=st.just(UTC)))
def test_micros_are_exact(moment: datetime):
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=to_micros(moment)) == moment
