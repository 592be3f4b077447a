"""Calendars: which slots a rule has, and when they are. A slot is named by its nominal time, microseconds since 1970, UTC.

A rule is a cron expression (five fields; six with seconds in front), `every 15m`, or `at TIME`. Cron expressions are read by
cronsim, over times without a zone, as a clock on a wall shows them. What a wall clock shows twice, or never, when it is set
is settled here as Debian's cron does, for six fields as for five:

- A rule with a fixed hour and minute (neither begins with `*`) means times of day: what the clock passes over happens when it
  has been set, once; what it shows twice happens the first time.
- Any other rule means a rhythm: it goes on as the clock shows it, so what it passes over does not happen, and what it shows
  twice happens twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from msgspec import Struct

from rota.core.times import SECOND, from_micros, parse_duration, parse_time, to_micros

MAX_RULE = 200  # characters
SHORTEST_S = 1.0  # of `every`
_SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_TICK = timedelta(seconds=1)
_WEEK_S = 7 * 86400

ClockChange = Literal["skipped", "first", "second"]


class BadRule(ValueError):
    """A rule or a zone is wrong; `field` is which of them ("rule" or "timezone")."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field = field


class Slot(Struct, frozen=True, kw_only=True):
    """A slot, for people: its time, and as the wall clock shows it, with the offset from UTC in seconds.

    `clock` says that the clock is set about then: the time of day is `skipped` that day, or it is the `first` or the
    `second` time that the clock shows it.
    """

    at: int
    local: str
    offset_s: int
    clock: ClockChange | None = None


class Rule:
    """What a rule's text means in a zone. `anchor` is where `every` counts from, in microseconds."""

    def __init__(self, text: str, zone: str, anchor: int) -> None:
        """Read a rule. Raises BadRule."""
        self.text = " ".join(text.split())
        self.zone = find_zone(zone)
        self._anchor = anchor
        self._every: int | None = None
        self._once: int | None = None
        self._cron = ""
        self._last: tuple[int, int | None] | None = (
            None  # what was asked, and the answer: many share a rule, and a slot
        )
        if len(text) > MAX_RULE:
            raise BadRule("rule", f"a rule has at most {MAX_RULE} characters")
        word, _, rest = self.text.partition(" ")
        if word == "every":
            self._every = _interval(rest)
        elif word == "at":
            try:
                self._once = parse_time(rest, self.zone)
            except ValueError as wrong:
                raise BadRule("rule", str(wrong)) from None
        else:
            self._cron = _SHORTHANDS.get(self.text.lower(), self.text)
            self._fixed = _check(self._cron)

    def after(self, at: int) -> int | None:
        """Return the first slot after a time; None when there is none for 50 years."""
        if self._every is not None:
            return self._anchor + ((at - self._anchor) // self._every + 1) * self._every
        if self._once is not None:
            return self._once if self._once > at else None
        if self._last is None or self._last[0] != at:
            self._last = at, self._after(at)
        return self._last[1]

    def slots(self, after: int, until: int) -> Iterator[int]:
        """Yield the slots after a time, up to another one and that included."""
        slot = self.after(after)
        while slot is not None and slot <= until:
            yield slot
            slot = self.after(slot)

    def preview(self, after: int, n: int, until: int) -> list[Slot]:
        """Return the next `n` slots after a time, at most until another, as people want to see them."""
        return [self._shown_slot(slot) for slot in islice(self.slots(after, until), n)]

    # --- cron

    def _after(self, at: int) -> int | None:
        start = self._shown(at)
        wall = start.replace(tzinfo=None, fold=0)
        if self._fixed:
            return self._time_of_day(wall, at)
        first = self._beat(wall, at)
        if start.fold or not _is_twice(start):
            return first
        again = _set_at(start)  # from then on the clock shows once more what it has shown
        if first is not None and first < again:
            return first
        return self._beat(self._shown(again).replace(tzinfo=None, fold=0) - _TICK, again - 1)

    def _time_of_day(self, wall: datetime, at: int) -> int | None:
        for shown in self._matches(wall):
            slot = _set_at(shown) if _is_never(shown) else to_micros(shown)
            if slot > at:
                return slot
        return None

    def _beat(self, wall: datetime, at: int) -> int | None:
        for shown in self._matches(wall):
            if not _is_never(shown):
                slots = [slot for slot in (to_micros(shown), to_micros(shown.replace(fold=1))) if slot > at]
                if slots:
                    return min(slots)
        return None

    def _matches(self, wall: datetime) -> Iterator[datetime]:
        """Yield what a clock shows after `wall` when the expression holds, the first time that it shows it."""
        return (match.replace(tzinfo=self.zone) for match in CronSim(self._cron, wall))

    def _shown(self, at: int) -> datetime:
        return from_micros(at).replace(microsecond=0).astimezone(self.zone)

    def _shown_slot(self, slot: int) -> Slot:
        shown = self._shown(slot)
        clock: ClockChange | None = None
        if _is_twice(shown):
            clock = "second" if shown.fold else "first"
        elif self._cron and next(self._matches(shown.replace(tzinfo=None) - _TICK)) != shown:
            clock = "skipped"
        offset = shown.utcoffset() or timedelta()
        return Slot(at=slot, local=shown.isoformat(), offset_s=round(offset.total_seconds()), clock=clock)


def find_zone(name: str) -> ZoneInfo:
    """Return an IANA time zone. Raises BadRule."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError: of those, the one for a name that nobody knows
        raise BadRule("timezone", f"{name!r} is no time zone; write an IANA name, like Europe/Berlin") from None


def zone_mark(zone: str, year: int) -> str:
    """Return a text that changes when the rules of a zone do: the year, and a hash of its offsets in three from then on."""
    return _zone_mark(zone, year)


def is_current(zone: str, mark: str) -> bool:
    """Say whether the rules of a zone are still those of its mark. Raises BadRule when there is no such zone any more."""
    return _zone_mark(zone, int(mark.partition(":")[0])) == mark


def read_zones_anew() -> None:
    """Forget the rules of all zones: they may have been changed meanwhile. A Rule keeps those that it was made with."""
    ZoneInfo.clear_cache()
    _zone_mark.cache_clear()


@lru_cache(maxsize=4096)
def _zone_mark(zone: str, year: int) -> str:
    info = find_zone(zone)
    begin, end = (round(datetime(y, 1, 1, tzinfo=UTC).timestamp()) for y in (year, year + 3))
    offset = _offset_at(begin, info)
    changes = [str(offset)]
    for week in range(begin, end, _WEEK_S):  # no zone changes there and back within a week
        if _offset_at(week + _WEEK_S, info) != offset:
            at = _change_between(week, week + _WEEK_S, info)
            offset = _offset_at(week + _WEEK_S, info)
            changes.append(f"{at} {offset}")
    return f"{year}:{sha256(chr(10).join(changes).encode()).hexdigest()[:16]}"


def _interval(text: str) -> int:
    try:
        seconds = parse_duration(text)
    except ValueError as wrong:
        raise BadRule("rule", f"every: {wrong}") from None
    if seconds < SHORTEST_S:
        raise BadRule("rule", f"every: the shortest interval is {SHORTEST_S:g} s")
    return round(seconds * SECOND)


def _check(cron: str) -> bool:
    """Make sure that an expression can be read and comes true, and say whether it means times of day. Raises BadRule."""
    fields = cron.split()
    if len(fields) not in (5, 6):
        raise BadRule(
            "rule",
            f"{cron!r} is no rule; write five fields of cron, like 0 9 * * MON-FRI (minute, hour, day, month, weekday), "
            "six with the seconds in front, or every 15m, or at 2026-12-24T18:00",
        )
    try:
        next(CronSim(cron, datetime(2024, 1, 1)))  # what a wall shows has no zone
    except CronSimError as wrong:
        raise BadRule("rule", _why(cron, fields[-3], fields[-2], str(wrong))) from None
    except StopIteration:
        raise BadRule("rule", f"{cron!r} never comes true") from None
    return not fields[-5].startswith("*") and not fields[-4].startswith("*")


def _why(cron: str, day: str, month: str, wrong: str) -> str:
    """Say what is wrong with an expression: cronsim names the field; a day that no month has is told as a date."""
    field = wrong.removeprefix("Bad ")
    if field == "day-of-month" and day.isdecimal() and int(day) in (30, 31):
        with suppress(CronSimError):
            CronSim(f"0 0 * {month} *", datetime(2024, 1, 1))
            names = " or ".join(_MONTHS[n - 1] for n in range(1, 13) if _in_month(month, n))
            return f"{cron!r} never comes true: there is no {day} {names}"
    return f"{cron!r}: the field for the {field.replace('-', ' ')} is wrong"


def _in_month(field: str, month: int) -> bool:
    return next(CronSim(f"0 0 1 {field} *", datetime(2024, month, 1) - _TICK)).month == month


def _is_twice(shown: datetime) -> bool:
    """Say whether the clock shows this once more, or has shown it before."""
    return _offset(shown, 0) > _offset(shown, 1)


def _is_never(shown: datetime) -> bool:
    """Say whether the clock is set past this."""
    return _offset(shown, 0) < _offset(shown, 1)


def _offset(shown: datetime, fold: int) -> timedelta:
    return shown.replace(fold=fold).utcoffset() or timedelta()


def _set_at(shown: datetime) -> int:
    """Return when the clock is set that never shows this, or shows it twice."""
    low, high = sorted(to_micros(shown.replace(fold=fold)) // SECOND for fold in (0, 1))
    return _change_between(low, high, shown.tzinfo) * SECOND


def _change_between(low: int, high: int, zone: tzinfo | None) -> int:
    """Return the first second after `low` with the offset that holds at `high`, where it is another one."""
    before = _offset_at(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_at(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def _offset_at(second: int, zone: tzinfo | None) -> timedelta | None:
    return datetime.fromtimestamp(second, zone).utcoffset()
