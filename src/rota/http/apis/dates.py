"""Dates as timed jobs write them: relative (`30s`, `2m`, `1h`, `4d`) or absolute (`20-06-2021 13:24:58`) in a zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from rota.core.times import MAX_DELAY_S, SECOND, to_micros

FORMAT = "%d-%m-%Y %H:%M:%S"
_RELATIVE = re.compile(r"[0-9]+[smhd]")
_ABSOLUTE = re.compile(r"[0-9]{1,2}-[0-9]{1,2}-[0-9]{4} [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_relative(text: str) -> bool:
    """Say whether this is one whole number and one unit."""
    return _RELATIVE.fullmatch(text) is not None


def parse(text: str, now: int, zone: tzinfo) -> int:
    """Return the time (microseconds since 1970) of an absolute date. Raises ValueError, with a text that says what is wrong.

    A date has whole seconds: that of this very second is no date in the past.
    """
    if not _ABSOLUTE.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is no date; write like 30s, 2m, 1h, 4d or 31-12-2030 23:59:59")
    try:
        at = to_micros(datetime.strptime(text, FORMAT).replace(tzinfo=zone))
    except ValueError:
        raise ValueError(f"{text!r} is on no calendar") from None
    if at < now // SECOND * SECOND:
        raise ValueError(f"{text} is in the past")
    if at > now + MAX_DELAY_S * SECOND:
        raise ValueError(f"{text} is more than 100 years away")
    return at


def written(at: int, zone: tzinfo) -> str:
    """Write a time as timed jobs do."""
    return (_EPOCH + timedelta(microseconds=at)).astimezone(zone).strftime(FORMAT)
