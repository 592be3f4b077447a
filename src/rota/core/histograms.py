"""Durations counted in buckets whose bounds grow by the square root of two: half a millisecond to a week, in 62 buckets.

A quantile that is read from them is wrong by a fifth at most, and buckets of several servers and minutes can be added up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

BOUNDS = tuple(0.0005 * 2 ** (n / 2) for n in range(61))  # seconds; what is longer than the last is in one bucket more
BUCKETS = len(BOUNDS) + 1


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration: the first whose bound it does not exceed."""
    return bisect_left(BOUNDS, seconds)


def quantile(counts: Sequence[int], q: float) -> float | None:
    """Return the duration in seconds that the part `q` of what was counted does not exceed; None when nothing was.

    Within a bucket, durations are taken to be spread evenly.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, below = q * total, 0
    for bucket, n in enumerate(counts):
        if n and below + n >= wanted:
            low = BOUNDS[bucket - 1] if bucket else 0.0
            high = BOUNDS[bucket] if bucket < len(BOUNDS) else BOUNDS[-1]
            return low + (high - low) * (wanted - below) / n
        below += n
    return BOUNDS[-1]


def sparse(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Return the buckets that hold something, as (bucket, count)."""
    return [(bucket, n) for bucket, n in enumerate(counts) if n]


def add(counts: list[int], more: Sequence[tuple[int, int]]) -> None:
    """Add what another histogram has counted, given as `sparse` returns it."""
    for bucket, n in more:
        counts[bucket] += n
