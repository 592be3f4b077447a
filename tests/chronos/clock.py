"""Which slots a rule has, found without any of Rota: by looking at a wall clock every quarter of an hour, for years."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

SECOND = 1_000_000
QUARTER = 900
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Asia/Kolkata",
    "UTC",
    "Africa/Casablanca",
)


@dataclass(frozen=True)
class Cron:
    """A cron expression whose minutes are quarters, and what it means."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday

    def holds(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours:
            return False
        _, _, day, _, weekday = self.text.split()
        on_day, on_weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        both = day.startswith("*") or weekday.startswith("*")
        return (on_day and on_weekday) if both else (on_day or on_weekday)

    @property
    def rhythm(self) -> bool:
        minute, hour, *_ = self.text.split()
        return minute.startswith("*") or hour.startswith("*")


def a_cron(dice: random.Random) -> Cron:
    """Return a rule with some ten slots a day at most."""
    minute, minutes = dice.choice([("0", {0}), ("30", {30}), ("15,45", {15, 45}), ("*/30", {0, 30})])
    hour, hours = dice.choice(
        [("2", {2}), ("0", {0}), ("1-3", {1, 2, 3}), ("9,18", {9, 18}), ("*/6", {0, 6, 12, 18}), ("*/8", {0, 8, 16})]
    )
    day, days = dice.choice([("*", set(range(1, 32))), ("1,15", {1, 15}), ("*", set(range(1, 32)))])
    weekday, weekdays = dice.choice(
        [("*", set(range(7))), ("MON-FRI", {1, 2, 3, 4, 5}), ("SUN", {0}), ("*", set(range(7)))]
    )
    sets = (frozenset(minutes), frozenset(hours), frozenset(days), frozenset(weekdays))
    return Cron(f"{minute} {hour} {day} * {weekday}", *sets)


@cache
def walls(zone: str, begin: int, end: int) -> list[tuple[int, datetime]]:
    """Return (second, what the clock shows) for every quarter."""
    info = ZoneInfo(zone)
    return [(at, datetime.fromtimestamp(at, info).replace(tzinfo=None)) for at in range(begin, end, QUARTER)]


def slots(cron: Cron, zone: str, begin: int, end: int) -> list[int]:
    """Return the slots between two seconds, in microseconds, as Debian's cron has them."""
    shown = walls(zone, begin - 86400, end + 2 * 86400)
    if cron.rhythm:
        found = {at for at, wall in shown if cron.holds(wall)}
    else:
        first: dict[datetime, int] = {}
        for at, wall in shown:
            first.setdefault(wall, at)
        found = set()
        wall, last = min(first), max(first)
        while wall <= last:
            if cron.holds(wall):
                later = wall
                while later not in first and later < last:  # the clock was set past it
                    later += timedelta(seconds=QUARTER)
                found.add(first[later])
            wall += timedelta(seconds=QUARTER)
    return sorted(at * SECOND for at in found if begin < at <= end)


def seconds(year: int) -> int:
    return round(datetime(year, 1, 1, tzinfo=UTC).timestamp())
