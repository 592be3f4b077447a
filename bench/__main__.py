"""`python -m bench [ROWS…]`: measure, print, and write RESULTS.md."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import draining, idle, latency, machine, recovery, submitting
from bench.figures import Row, markdown
from bench.scale import QUICK, Scale

_RESULTS = Path(__file__).parent / "RESULTS.md"
_PARTS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "submit": submitting.rows,
    "drain": draining.rows,
    "latency": latency.rows,
    "recovery": recovery.rows,
    "idle": idle.rows,
}


def main() -> None:
    """Measure the parts that were asked for; RESULTS.md is written when all of them were measured in full."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Rota.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {' '.join(_PARTS)}; all, if none is named")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the jobs, once: only to see that it works")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(_PARTS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {' '.join(_PARTS)}")
    about = machine.describe()
    print("\n".join(about), flush=True)
    rows = []
    began = time.monotonic()
    for part in arguments.parts or _PARTS:
        for row in _PARTS[part](QUICK if arguments.quick else Scale()):
            print(row.text(), flush=True)
            rows.append(row)
    print(f"took {time.monotonic() - began:.0f} s")
    if not arguments.parts and not arguments.quick:
        _RESULTS.write_text(_document(about, rows), encoding="utf-8")


def _document(about: list[str], rows: list[Row]) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [
        "# Results",
        "",
        f"Written by `make bench` on {day}: a real `rota serve` on an SQLite file with `synchronous=FULL`, its clients and",
        "its workers on the same machine. What a row measures stands in the module of its part, in this folder.",
        "",
    ]
    lines += [*[f"- {line}" for line in about], "", markdown(rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
