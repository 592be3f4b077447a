"""Time-ordered ids (UUID version 7, RFC 9562 section 5.7) from injected time and randomness."""

from __future__ import annotations

import re
from collections.abc import Callable

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


class Ids:
    """Makes UUIDv7 texts that grow strictly, even within a microsecond and when the clock steps back.

    `random_bits(n)` gives n random bits. The 12 bits of `rand_a` hold the fraction of the millisecond (method 3 of
    section 6.2), so the order of ids is the order of submission to about a quarter of a microsecond.
    """

    def __init__(self, random_bits: Callable[[int], int]) -> None:
        self._random_bits = random_bits
        self._last = 0
        self._millisecond = -1
        self._beginning = ""  # of all ids of that millisecond

    def new(self, now: int) -> str:
        """Return a new id for the time `now` (microseconds since 1970)."""
        tick = (now // 1000 << 12) | (now % 1000 * 4096 // 1000)
        self._last = tick = max(tick, self._last + 1)
        if tick >> 12 != self._millisecond:
            self._millisecond = tick >> 12
            self._beginning = f"{tick >> 28 & 0xFFFF_FFFF:08x}-{tick >> 12 & 0xFFFF:04x}-7"
        low = f"{1 << 63 | self._random_bits(62):x}"
        return f"{self._beginning}{tick & 0xFFF:03x}-{low[:4]}-{low[4:]}"


def is_id(text: str) -> bool:
    """Say whether a text looks like an id that was made here."""
    return _ID.fullmatch(text) is not None


def floor_id(at: int) -> str:
    """Return the smallest id that a job submitted at `at` (microseconds) or later can have."""
    tick = (max(at, 0) // 1000 << 12) | (at % 1000 * 4096 // 1000)
    text = f"{(tick >> 12 & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | (tick & 0xFFF):016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-0000-000000000000"
