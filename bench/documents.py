"""Writes figures down: all of them in RESULTS.md, a few into the documents that quote them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Row, markdown, shown

_ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)

# Which rows a document quotes, by the beginnings of what they are called.
_QUOTED = {
    "README.md": (
        "drain",
        "submit one by one over HTTP, 64",
        "submit in bulk over",
        "idle: submit to the first line, async",
        "abort to proof, process with",
        "kill -9",
        "idle: processor time of the busiest",
        "memory of the server",
    ),
    "docs/durability.md": ("submit one", "submit in bulk over"),
}


def write(about: Sequence[str], rows: Sequence[Row]) -> None:
    """Write all documents anew."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    (_ROOT / "bench/RESULTS.md").write_text(_results(day, about, rows), encoding="utf-8")
    for name, beginnings in _QUOTED.items():
        document = _ROOT / name
        text = document.read_text(encoding="utf-8")
        quoted = _quoted([row for row in rows if row.what.startswith(beginnings)])
        document.write_text(_BLOCK.sub(lambda _: quoted, text), encoding="utf-8")  # noqa: B023  # called at once


def _results(day: str, about: Sequence[str], rows: Sequence[Row]) -> str:
    lines = [
        "# Results",
        "",
        f"Written by `make bench` on {day}: a real `rota serve` on an SQLite file with `synchronous=FULL`, its clients and",
        "its workers on the same machine; where a row says PostgreSQL, on a PostgreSQL there with `fsync` and",
        "`synchronous_commit` on. What a row measures stands in the module of its part, in this folder.",
        "",
        *[f"- {line}" for line in about],
        "",
    ]
    return "\n".join(lines) + "\n" + markdown(rows)


def _quoted(rows: Sequence[Row]) -> str:
    lines = ["| what | median |", "|---|---:|", *[f"| {row.what} | {shown(row.median)} {row.unit} |" for row in rows]]
    return "\n" + "\n".join(lines) + "\n\n"
