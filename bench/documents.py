"""Writes figures down: all of them in RESULTS.md, a few into the documents that quote them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from bench.figures import Limits, Row, markdown, medians, shown
from bench.peers.table import OURS, PEERS

_ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)
_PEERS = "peers"  # the part whose rows become columns
_OVER = " over "

# Which rows a document quotes, by the beginnings of what they are called.
_QUOTED = {
    "README.md": (
        "drain 50,000",
        "drain of async",
        "submit one by one over HTTP, 64",
        "submit in bulk over",
        "idle: submit to the first line, async",
        "abort to proof, process with",
        "kill -9 of a worker",
        "idle: processor time of the busiest",
        "memory of the server: RSS",
        "rota map over",
        "PostgreSQL: drain 100,000",
        "drain: Rota on PostgreSQL over",
    ),
    "docs/durability.md": ("submit one by one, one", "submit one by one over HTTP", "submit in bulk over"),
}
_TITLES = {
    "limits": "What the machine can do at all",
    "submit": "Submission",
    "drain": "Draining a backlog",
    "latency": "Starts and aborts",
    "recovery": "Recovery",
    "idle": "Cost while nothing happens",
    "map": "`rota map`",
    "postgres": "PostgreSQL",
    "backlog": "By the size of the backlog",
    "growth": "By the number of jobs in the store",
    "peers": "Beside the peers",
}


def write(about: Sequence[str], found: Mapping[str, Sequence[Row]], root: Path = _ROOT) -> None:
    """Write all documents below `root` anew; `found` has the rows by part."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    (root / "bench/RESULTS.md").write_text(_results(day, about, found), encoding="utf-8")
    for name, beginnings in _QUOTED.items():
        document = root / name
        text = document.read_text(encoding="utf-8")
        quoted = _quoted([row for row in chain(*found.values()) if row.what.startswith(beginnings)])
        document.write_text(_BLOCK.sub(lambda _: quoted, text), encoding="utf-8")  # noqa: B023  # called at once


def _results(day: str, about: Sequence[str], found: Mapping[str, Sequence[Row]]) -> str:
    limits = medians(chain(*found.values()))
    lines = [
        "# Results",
        "",
        f"Written by `make bench` on {day}: a real `rota serve` on an SQLite file with `synchronous=FULL`, its clients and",
        "its workers on the same machine; where a row says PostgreSQL, on a PostgreSQL there with `fsync` and",
        "`synchronous_commit` on. What a row measures stands in the module of its part, in this folder.",
        "",
        "Figures are medians of n repetitions, with the least and the greatest. *Of its limit* says how much a row reaches of",
        "what the disk, the kernel or the database can do at all, measured in the same run (the first table). Peers take turns",
        "with Rota, repetition by repetition, and a ratio is that of two that ran side by side. All share the machine's cores",
        "with their brokers and clients: what takes the processor from one part takes it from all. Peers on Redis's protocol",
        "here lose what was acknowledged when Valkey dies, and those that delete what is done keep no result. A peer's abort",
        "is over when the handler's function has ended, whatever that started and leaves running; Rota's when all is gone, and",
        "that is stored.",
        "",
        *[f"- {line}" for line in about],
        "",
    ]
    for part, rows in found.items():
        lines += [f"## {_TITLES.get(part, part.capitalize())}", ""]
        if part == "backlog":
            lines += ["![Jobs drained a second, by how many waited](backlog.svg)", ""]
        lines.append(_beside(rows) if part == _PEERS else markdown(rows, limits))
    return "\n".join(lines).rstrip() + "\n"


def _beside(rows: Sequence[Row]) -> str:
    """Write a column for each kind of figure, a line for each peer; then how many times as much ours is."""
    limits: Limits = {}
    plain = [row for row in rows if _OVER not in row.what]
    ratios = [row for row in rows if _OVER in row.what]
    names = [peer.name for peer in (*OURS.values(), *PEERS.values())]
    parts = [_matrix(plain, names)]
    for ours in OURS.values():
        own = [row for row in ratios if f": {ours.name}{_OVER}" in row.what]
        if own:
            note = "Of rates more than 1 is faster, of starts and aborts less than 1 is sooner."
            parts += [f"### {ours.name} over each peer", "", note, "", _ratios(own)]
    required = [row for row in ratios if row.required]
    if required:
        parts += ["### What the design asks for", "", markdown(required, limits)]
    return "\n".join(parts)


def _matrix(rows: Sequence[Row], names: Sequence[str]) -> str:
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        what, _, name = row.what.rpartition(": ")
        spread = f" ({row.spread()})" if row.spread() else ""
        cells.setdefault(what, {})[name] = row.figure() + spread
    there = [name for name in names if any(name in of for of in cells.values())]
    lines = [f"| | {' | '.join(there)} |", f"|---|{'---|' * len(there)}"]
    lines += [f"| {what} | {' | '.join(of.get(name, '') for name in there)} |" for what, of in cells.items()]
    return "\n".join(lines) + "\n"


def _ratios(rows: Sequence[Row]) -> str:
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        what, _, names = row.what.partition(": ")
        spread = f" ({row.spread()})" if row.spread() else ""
        cells.setdefault(names.partition(_OVER)[2], {})[what] = shown(row.median) + spread
    kinds = list(dict.fromkeys(kind for of in cells.values() for kind in of))
    lines = [f"| times | {' | '.join(kinds)} |", f"|---|{'---|' * len(kinds)}"]
    lines += [f"| {name} | {' | '.join(of.get(kind, '') for kind in kinds)} |" for name, of in cells.items()]
    return "\n".join(lines) + "\n"


def _quoted(rows: Iterable[Row]) -> str:
    lines = ["| what | median |", "|---|---:|", *[f"| {row.what} | {row.figure()} |" for row in rows]]
    return "\n" + "\n".join(lines) + "\n\n"
