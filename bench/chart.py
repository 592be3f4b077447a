"""Draws lines over a logarithmic axis as an SVG that reads on light and on dark paper. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 70, 40
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")  # told apart by everybody (Okabe and Ito)
_STEPS = 5

Line = tuple[str, Sequence[tuple[float, float]]]


def draw(title: str, lines: Sequence[Line]) -> str:
    """Return the SVG of some named lines of points; their first coordinates are positive."""
    points = [point for _, line in lines for point in line]
    first, last = (math.log10(pick(x for x, _ in points)) for pick in (min, max))
    top = _round_up(max(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (math.log10(x) - first) / ((last - first) or 1) * (_WIDTH - _LEFT - _RIGHT)
        return round(across, 1), round(_HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="13">',
        "<style>text{fill:#333}path.grid{stroke:#8884}@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>",
        f"<title>{escape(title)}</title>",
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for n in range(_STEPS + 1):
        value = top * n / _STEPS
        _, y = place(10**first, value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{value:,.0f}</text>')
    for x in sorted({x for x, _ in points}):
        across, _ = place(x, 0)
        parts.append(f'<text x="{across}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{x:,.0f}</text>')
    for at, (name, line) in enumerate(lines):
        colour = _COLOURS[at % len(_COLOURS)]
        places = [place(x, y) for x, y in line]
        path = "M" + "L".join(f"{x} {y}" for x, y in places)
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in places]
        across = _LEFT + at * (_WIDTH - _LEFT) // max(len(lines), 1)
        parts.append(f'<rect x="{across}" y="37" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{across + 17}" y="48">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 2.5, 5, 10 times a power of ten."""
    power = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value)
