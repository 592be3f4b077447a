"""Figures: what was measured, how often, and how they are written down."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

Limits = Mapping[str, float]  # medians, by what they are called


class Row(Struct, frozen=True):
    """One figure: the values of its repetitions, in `unit`. `required` is what issue or design ask for.

    `limit` is what the row of the limit is called that it cannot pass (bench/limits.py). Without values it says something
    `instead`.
    """

    what: str
    values: Sequence[float]
    unit: str
    required: str = ""
    limit: str = ""
    instead: str = ""

    @property
    def median(self) -> float:
        """Return the median of the repetitions."""
        return statistics.median(self.values)

    def text(self, limits: Limits) -> str:
        """Write the row for a terminal."""
        if not self.values:
            return f"{self.what:<64} {self.instead}"
        head = f"{self.what:<64} {shown(self.median):>9} {self.unit:<6} {self.spread():<19}"
        return f"{head} {self.share(limits):<5} {self.required}".rstrip()

    def share(self, limits: Limits) -> str:
        """Say how much of its limit it reaches, if that was measured; a time reaches all of it when it is as short."""
        if self.limit not in limits or not self.values:
            return ""
        times = self.median / limits[self.limit]
        return f"{100 * (1 / times if self.unit in ('s', 'ms') else times):.0f} %"

    def figure(self) -> str:
        """Write the median with its unit, or what is said instead."""
        return f"{shown(self.median)} {self.unit}" if self.values else self.instead

    def spread(self) -> str:
        """Write the least and the greatest value."""
        if len(self.values) < 2:
            return ""
        return f"{shown(min(self.values))} to {shown(max(self.values))}"


def shown(value: float) -> str:
    """Write a number with three digits that count, and no more than all of its whole ones."""
    if value >= 100:
        return f"{value:,.0f}"
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{min(max(digits, 0), 3)}f}"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(math.ceil(len(ordered) * percent / 100), len(ordered)) - 1]


def medians(rows: Iterable[Row]) -> dict[str, float]:
    """Return the medians of rows, by what they are called."""
    return {row.what: row.median for row in rows if row.values}


def markdown(rows: Sequence[Row], limits: Limits) -> str:
    """Write the rows as a table."""
    lines = ["| what | median | least to greatest | n | of its limit | required |", "|---|---:|---|---:|---:|---|"]
    lines += [
        f"| {row.what} | {row.figure()} | {row.spread()} | {len(row.values)} | {row.share(limits)} | {row.required} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
