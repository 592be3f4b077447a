"""What is kept of a run, and what a later one says beside it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from msgspec import Struct

STEP = 0.15  # of a ratio: what is less is noise, also where the quartiles say otherwise
COUNT_STEP = 0.03  # of what is counted


class Kept(Struct, frozen=True):
    """A figure of a run: the median of its repetitions, and between which two values the half of them lies."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Kept:
        """Keep some repetitions; at least two."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(round(median, 4), round(low, 4), round(high, 4))


class Baseline(Struct, frozen=True):
    """What `--keep` writes: the versions, ratios by name, counts by name."""

    versions: str
    ratios: dict[str, Kept]
    counts: dict[str, float]


class Change(Struct, frozen=True):
    """A figure beside what was kept of it; `times` as much as then. `now` is in bare cycles, or whatever is counted, a job."""

    what: str
    now: float
    kept: float
    times: float
    slower: bool
    faster: bool

    def text(self) -> str:
        """Write it for a terminal."""
        word = "SLOWER" if self.slower else "faster" if self.faster else ""
        percent = 100 * (self.times - 1)
        return f"{self.what:<58} {_shown(self.now):>9} {_shown(self.kept):>9} {percent:+7.1f} %  {word}".rstrip()


def changes(before: Baseline, now: Baseline) -> list[Change]:
    """Compare figures that both have.

    A ratio has changed when its median has by more than STEP, and the halves of the repetitions do not overlap; a count when
    it has by more than COUNT_STEP.
    """
    found = []
    for what, one in now.ratios.items():
        if (old := before.ratios.get(what)) is not None:
            times = one.median / old.median
            slower = times > 1 + STEP and one.low > old.high
            faster = times < 1 - STEP and one.high < old.low
            found.append(Change(what, one.median, old.median, times, slower, faster))
    for what, n in now.counts.items():
        if (kept := before.counts.get(what)) is not None:
            times = n / kept
            found.append(Change(what, n, kept, times, times > 1 + COUNT_STEP, times < 1 - COUNT_STEP))
    return found


def apart(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return lines about names that only one of two runs has."""
    lines = [f"new, not in the baseline: {name}" for name in now if name not in before]
    return lines + [f"in the baseline, not measured: {name}" for name in before if name not in now]


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
