"""Times as people write them. Inside Rota a time is an integer: microseconds since 1970, UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_RELATIVE = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw])\s*)+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])", re.ASCII)
MAX_DELAY_S = 100 * 366 * 86400.0


def parse_duration(text: str | float) -> float:
    """Return the seconds that `30s`, `2m`, `1h30m`, `4d` or a bare number mean.

    Raises ValueError, with a text that says what is allowed, for anything else, for less than 0 and for over 100 years.
    """
    if isinstance(text, bool):  # ValueError, as for all that is no duration: callers have one thing to catch
        raise ValueError("a duration is seconds, or like 30s, 2m, 1h30m, 4d")  # noqa: TRY004
    if isinstance(text, int | float):
        seconds = float(text) if abs(text) <= MAX_DELAY_S else -1.0  # an integer may be too large for a float
    else:
        stripped = text.strip()
        if _RELATIVE.fullmatch(stripped):
            seconds = sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(stripped))
        elif re.fullmatch(r"\d+(?:\.\d+)?", stripped, re.ASCII):
            seconds = float(stripped)
        else:
            raise ValueError(f"{text!r} is no duration; write seconds, or like 30s, 2m, 1h30m, 4d")
    if not 0 <= seconds <= MAX_DELAY_S:  # also refuses nan
        raise ValueError("a duration is between 0 and 100 years")
    return seconds


def seconds_of(duration: str | float | timedelta) -> float:
    """Return the seconds of a duration as Python says it: a timedelta too. Raises ValueError, as `parse_duration` does."""
    return parse_duration(duration.total_seconds() if isinstance(duration, timedelta) else duration)


def parse_time(text: str, zone: tzinfo = UTC) -> int:
    """Return the microseconds since 1970 that an ISO 8601 or RFC 3339 text means; `zone` is for texts without one.

    Raises ValueError, with a text that says what is allowed.
    """
    stripped = text.strip()
    try:
        moment = datetime.fromisoformat(stripped)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        micros = to_micros(moment)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; write RFC 3339, like 2026-03-29T09:00:00Z") from None
    return micros


def to_micros(moment: datetime) -> int:
    """Return an aware datetime as microseconds since 1970, without rounding through a float."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_micros(at: int) -> datetime:
    """Return microseconds since 1970 as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=at)


@lru_cache(maxsize=1024)  # the jobs of a bulk share their times
def rfc3339(at: int) -> str:
    """Write microseconds since 1970 as RFC 3339 in UTC, always with six digits, so that texts sort as times do."""
    return f"{from_micros(at).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
