"""The report: one page of HTML that needs nothing else, and the same as JSON. Pure."""

from __future__ import annotations

from html import escape
from string import Template
from typing import Any

import msgspec
from msgspec import Struct

from examples.measure import Measures, length_names

_SHOWN = 15  # packages in the bar chart


class Row(Struct):
    """What one job found: a package, its measures, and the seconds that it took."""

    package: str
    measures: Measures
    seconds: float


def total_of(rows: list[Row]) -> Measures:
    """Return the measures of all rows together."""
    total = Measures()
    for row in rows:
        total.add(row.measures)
    return total


def json(rows: list[Row]) -> str:
    """Write the report as JSON: `total`, and `packages`, the one with the most lines first."""
    document = {"total": total_of(rows), "packages": _by_lines(rows)}
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def html(rows: list[Row]) -> str:
    """Write the report as a page."""
    total = total_of(rows)
    rows = _by_lines(rows)
    return _PAGE.substitute(
        files=f"{total.files:,}",
        packages=f"{len(rows):,}",
        seconds=f"{sum(row.seconds for row in rows):,.1f}",
        cards="".join(_cards(total)),
        sizes=_bars([(row.package, row.measures.lines) for row in rows[:_SHOWN]]),
        lengths=_bars(list(zip(length_names(), total.lengths, strict=True))),
        rows="\n".join(_table_row(row) for row in rows),
    )


def _by_lines(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (-row.measures.lines, row.package))


def _cards(total: Measures) -> list[str]:
    cards: list[tuple[str, str, str]] = [
        (f"{total.lines:,}", "lines", f"{total.lines / max(total.files, 1):,.0f} a file"),
        (f"{total.functions:,}", "functions", f"{total.classes:,} classes"),
        (f"{total.longest.lines:,}", "lines in the longest function", f"{total.longest.name} in {total.longest.file}"),
        (f"{total.deepest.depth}", "blocks in one another at the deepest", total.deepest.file),
        (f"{total.unparsed}", "files that do not parse", "broken on purpose: they test the parser"),
    ]
    return [
        f"<div class=card><b>{escape(number)}</b><span>{escape(what)}</span><small>{escape(more)}</small></div>"
        for number, what, more in cards
    ]


def _bars(values: list[tuple[str, int]]) -> str:
    """Draw a bar chart as SVG; labels on the left, numbers behind the bars."""
    most = max((value for _, value in values), default=0) or 1
    height = 24
    parts = [f'<svg viewBox="0 0 520 {height * len(values)}" role="img">']
    for at, (label, value) in enumerate(values):
        y = at * height
        width = max(290 * value / most, 1)
        parts.append(
            f'<text x="150" y="{y + 16}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="160" y="{y + 4}" width="{width:.1f}" height="16" rx="3"/>'
            f'<text class="n" x="{168 + width:.1f}" y="{y + 16}">{value:,}</text>'
        )
    return "".join(parts) + "</svg>"


def _table_row(row: Row) -> str:
    measures = row.measures
    longest = f"{measures.longest.name} in {measures.longest.file}" if measures.longest.lines else ""
    cells: list[tuple[Any, str]] = [
        (measures.files, ""),
        (measures.lines, ""),
        (measures.functions, ""),
        (measures.classes, ""),
        (measures.deepest.depth, measures.deepest.file),
        (measures.longest.lines, longest),
        (measures.unparsed, ""),
    ]
    numbers = "".join(
        f'<td data-v="{value}"' + (f' title="{escape(hint)}"' if hint else "") + f">{value:,}</td>"
        for value, hint in cells
    )
    return f"<tr><th scope=row>{escape(row.package)}</th>{numbers}<td data-v={row.seconds}>{row.seconds:.2f}</td></tr>"


_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The Python standard library, measured</title>
<style>
:root { color-scheme: light dark; --ground: #fbfaf8; --panel: #fff; --ink: #1d2129; --soft: #667085; --line: #e6e2dc;
  --mark: #2f6f5e; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14161a; --panel: #1c1f25; --ink: #e9e7e2; --soft: #969eac; --line: #2d323b; --mark: #6cc3a6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 3rem 1.25rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.02em; }
h2 { font-size: 1.05rem; margin: 0 0 .9rem; }
p { color: var(--soft); margin: 0 0 2rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11.5rem, 1fr)); gap: .8rem; margin-bottom: .8rem; }
.card, .panel { background: var(--panel); border: 1px solid var(--line); border-radius: 12px; padding: 1.1rem 1.2rem; }
.card b { display: block; font-size: 1.7rem; font-weight: 650; letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
.card span { display: block; line-height: 1.3; }
.card small { color: var(--soft); overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: .8rem; margin-bottom: .8rem; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg text.n { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg rect { fill: var(--mark); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
td, th { padding: .34rem .6rem; text-align: right; border-bottom: 1px solid var(--line); font-weight: 400;
  white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
tbody tr:hover { background: color-mix(in srgb, var(--mark) 9%, transparent); }
th:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
thead th { padding: 0; position: sticky; top: 0; background: var(--panel); }
thead button { all: unset; box-sizing: border-box; width: 100%; padding: .4rem .6rem; cursor: pointer; font-weight: 600; }
thead button:focus-visible { outline: 2px solid var(--mark); border-radius: 6px; }
thead [aria-sort=ascending] button::after { content: " ↑"; }
thead [aria-sort=descending] button::after { content: " ↓"; }
</style>
<h1>The Python standard library, measured</h1>
<p>$files files in $packages packages, one job each; $seconds seconds of work, done by Rota.</p>
<div class="cards">$cards</div>
<div class="charts">
<section class="panel"><h2>Lines, the largest packages</h2>$sizes</section>
<section class="panel"><h2>Functions by their lines</h2>$lengths</section>
</div>
<section class="panel"><h2>All packages</h2>
<div class="scroll"><table>
<thead><tr><th><button>package</button></th><th><button>files</button></th>
<th aria-sort="descending"><button>lines</button></th><th><button>functions</button></th><th><button>classes</button></th>
<th><button>deepest</button></th><th><button>longest</button></th><th><button>unparsed</button></th>
<th><button>seconds</button></th></tr></thead>
<tbody>
$rows
</tbody>
</table></div></section>
<script>
const heads = [...document.querySelectorAll("thead th")], body = document.querySelector("tbody");
heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
  const down = head.ariaSort !== "descending" && (column > 0 || head.ariaSort === "ascending");
  heads.forEach(other => other.removeAttribute("aria-sort"));
  head.ariaSort = down ? "descending" : "ascending";
  const value = row => column ? +row.cells[column].dataset.v : row.cells[0].textContent;
  const order = (a, b) => column ? value(a) - value(b) : value(a).localeCompare(value(b));
  body.append(...[...body.rows].sort((a, b) => (down ? -1 : 1) * order(a, b)));
}));
</script>
</html>
""")
