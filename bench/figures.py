"""Figures: what was measured, how often, and how they are written down."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from msgspec import Struct


class Row(Struct, frozen=True):
    """One figure: the values of its repetitions, in `unit`. `required` is what issue or design ask for."""

    what: str
    values: Sequence[float]
    unit: str
    required: str = ""

    @property
    def median(self) -> float:
        """Return the median of the repetitions."""
        return statistics.median(self.values)

    def text(self) -> str:
        """Write the row for a terminal."""
        return f"{self.what:<64} {shown(self.median):>9} {self.unit:<6} {self.spread():<19} {self.required}"

    def spread(self) -> str:
        """Write the least and the greatest value."""
        if len(self.values) == 1:
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


def markdown(rows: Sequence[Row]) -> str:
    """Write the rows as a table."""
    lines = ["| what | median | least to greatest | repetitions | required |", "|---|---:|---|---:|---|"]
    lines += [
        f"| {row.what} | {shown(row.median)} {row.unit} | {row.spread()} | {len(row.values)} | {row.required} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
