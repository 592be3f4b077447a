"""Slots of rules, against a clock on a wall that is read second by second."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rota.core.calendars import BadRule, Rule, is_current, zone_mark
from rota.core.times import SECOND, parse_time, rfc3339

# Where clocks are set by an hour, by half of one, at midnight, by two hours, backwards in what they call summer, by a day.
CHANGES = [
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("Europe/Dublin", "2026-10-25"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Africa/Cairo", "2026-04-24"),
    ("Africa/Cairo", "2026-10-30"),
    ("America/Santiago", "2026-04-05"),
    ("Antarctica/Troll", "2026-03-29"),
    ("Antarctica/Troll", "2026-10-25"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Pacific/Apia", "2011-12-30"),
    ("UTC", "2026-06-01"),
]


def slots(rule, zone, start, end):
    return [rfc3339(slot)[:19] for slot in Rule(rule, zone, 0).slots(parse_time(start), parse_time(end))]


# --- against a clock that is looked at all the time


def field(least, most):
    """Return expressions with what they mean."""
    number = st.integers(least, most)
    one = number.map(lambda n: (str(n), {n}))
    several = st.sets(number, min_size=2, max_size=3).map(lambda ns: (",".join(map(str, sorted(ns))), ns))
    span = st.tuples(number, number).map(sorted).map(lambda ab: (f"{ab[0]}-{ab[1]}", set(range(ab[0], ab[1] + 1))))
    steps = st.sampled_from([2, 5, 7]).map(lambda n: (f"*/{n}", set(range(least, most + 1, n))))
    every = st.just(("*", set(range(least, most + 1))))
    return st.one_of(one, several, span, steps, every)


def walls(first, last, step):
    while first <= last:
        yield first
        first += step


def expected(second, minute, hour, zone, begin, end):
    """Look at the clock until `end`; return the moments at which it shows what is asked for, as Debian's cron has it."""
    (_, seconds), (minute_text, minutes), (hour_text, hours) = second, minute, hour
    info = ZoneInfo(zone)
    step = (1 if seconds != {0} else 60) * SECOND

    def holds(wall):
        return wall.second in seconds and wall.minute in minutes and wall.hour in hours

    def shows(at):
        return datetime.fromtimestamp(at // SECOND, info).replace(tzinfo=None)

    if minute_text.startswith("*") or hour_text.startswith("*"):
        return [at for at in range(begin + step, end + 1, step) if holds(shows(at))]
    first = {}  # when the clock shows what it shows, the first time
    for at in range(begin - 5 * 3600 * SECOND, end + 26 * 3600 * SECOND, step):
        first.setdefault(shows(at), at)
    found = set()
    for wall in walls(min(first), max(first), timedelta(microseconds=step)):
        if holds(wall):
            later = wall
            while later not in first:  # the clock was set past it
                later += timedelta(microseconds=step)
            found.add(first[later])
    return sorted(at for at in found if begin < at <= end)


def same(rule, wanted, zone, begin, end):
    assert list(map(rfc3339, Rule(rule, zone, 0).slots(begin, end))) == list(map(rfc3339, wanted))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(change=st.sampled_from(CHANGES), minute=field(0, 59), hour=st.one_of(field(0, 23), st.just(("2", {2}))))
def test_five_fields_mean_what_debians_cron_does(change, minute, hour):
    zone, day = change
    begin = parse_time(day + "T00:00:00Z") - 14 * 3600 * SECOND
    end = begin + 40 * 3600 * SECOND
    wanted = expected(("0", {0}), minute, hour, zone, begin, end)
    same(f"{minute[0]} {hour[0]} * * *", wanted, zone, begin, end)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    change=st.sampled_from(
        [("Europe/Berlin", "2026-03-29T01"), ("Europe/Berlin", "2026-10-25T01"), ("Africa/Cairo", "2026-10-29T21")]
    ),
    second=st.sets(st.integers(0, 59), min_size=2, max_size=3).map(lambda ns: (",".join(map(str, sorted(ns))), ns)),
    minute=field(0, 59),
    hour=st.sampled_from([("2", {2}), ("2,3", {2, 3}), ("*", set(range(24)))]),
)
def test_so_do_six(change, second, minute, hour):
    zone, around = change
    begin = parse_time(around + ":00:00Z") - 2 * 3600 * SECOND
    end = begin + 4 * 3600 * SECOND
    wanted = expected(second, minute, hour, zone, begin, end)
    same(f"{second[0]} {minute[0]} {hour[0]} * * *", wanted, zone, begin, end)


# --- by hand


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("30 2 * * *", ["2026-03-27T01:30:00", "2026-03-28T01:30:00", "2026-03-29T01:00:00", "2026-03-30T00:30:00"]),
        ("0 9 * * MON-FRI", ["2026-03-27T08:00:00", "2026-03-30T07:00:00"]),
        ("0 0 L * *", ["2026-03-30T22:00:00"]),
        ("@daily", ["2026-03-27T23:00:00", "2026-03-28T23:00:00", "2026-03-29T22:00:00", "2026-03-30T22:00:00"]),
        ("at 2026-03-29T02:30", ["2026-03-29T01:30:00"]),
        ("every 2d", ["2026-03-28T00:00:00", "2026-03-30T00:00:00"]),
    ],
)
def test_rules_around_a_spring_in_berlin(rule, wanted):
    assert slots(rule, "Europe/Berlin", "2026-03-26T23:30:00Z", "2026-03-31T00:00:00Z") == wanted


def test_an_interval_counts_from_its_anchor_and_never_from_its_last_slot():
    rule = Rule("every 1h30m", "UTC", 1_000_000)
    assert rule.after(0) == 1_000_000 and rule.after(1_000_000) == 5_401_000_000
    assert rule.after(-1) == 1_000_000 and rule.after(5_401_000_000 - 1) == 5_401_000_000


def test_a_preview_says_what_the_clock_does():
    spring = Rule("30 2 * * *", "Europe/Berlin", 0).preview(parse_time("2026-03-28T00:00Z"), 3, 10**18)
    assert [(f.local, f.clock) for f in spring] == [
        ("2026-03-28T02:30:00+01:00", None),
        ("2026-03-29T03:00:00+02:00", "skipped"),
        ("2026-03-30T02:30:00+02:00", None),
    ]
    autumn = Rule("*/30 * * * *", "Europe/Berlin", 0).preview(parse_time("2026-10-24T23:40Z"), 5, 10**18)
    assert [f.clock for f in autumn] == ["first", "first", "second", "second", None]
    assert [f.offset_s for f in autumn] == [7200, 7200, 3600, 3600, 3600]
    assert len(Rule("* * * * *", "UTC", 0).preview(0, 50, 600 * SECOND)) == 10


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("0 0 30 2 *", "there is no 30 February"),
        ("0 0 31 APR,6 *", "there is no 31 April or June"),
        ("61 * * * *", "the field for the minute is wrong"),
        ("* 24 * * *", "the field for the hour is wrong"),
        ("0 0 32 * *", "the field for the day of month is wrong"),
        ("0 0 * 13 *", "the field for the month is wrong"),
        ("0 0 * * 8", "the field for the day of week is wrong"),
        ("* * * *", "five fields of cron"),
        ("", "five fields of cron"),
        ("* * * * * * *", "six with the seconds in front"),
        ("every", "is no duration"),
        ("every 10ms", "the shortest interval is 1 s"),
        ("at noon", "write RFC 3339"),
        ("* " * 200, "at most 200 characters"),
    ],
)
def test_a_rule_that_is_wrong_says_why(rule, why):
    with pytest.raises(BadRule, match=why) as caught:
        Rule(rule, "UTC", 0)
    assert caught.value.field == "rule"


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "/etc/passwd", "Europe", "UTC\0", "x" * 10_000])
def test_a_zone_that_is_none_is_refused(zone):
    with pytest.raises(BadRule, match="no time zone") as caught:
        Rule("* * * * *", zone, 0)
    assert caught.value.field == "timezone"


def test_a_zone_is_known_by_its_offsets():
    assert zone_mark("Europe/Berlin", 2026) == zone_mark("Europe/Vienna", 2026)
    assert is_current("Europe/Berlin", zone_mark("Europe/Berlin", 2019))
    assert not is_current("Europe/Berlin", zone_mark("Europe/London", 2026))
    assert len({zone_mark(zone, 2026) for zone in ("Europe/Berlin", "Europe/London", "UTC", "Africa/Cairo")}) == 4
