"""`python -m bench [PART…]`: measure, print, and write the documents anew."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator

from bench import (
    dashboards,
    documents,
    draining,
    fairness,
    graphs,
    idle,
    latency,
    limits,
    listing,
    machine,
    mapping,
    peering,
    postgres,
    recovery,
    scheduling,
    submitting,
)
from bench.figures import Row, medians
from bench.scale import QUICK, Scale

_PARTS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "limits": limits.rows,
    "submit": submitting.rows,
    "drain": draining.rows,
    "latency": latency.rows,
    "recovery": recovery.rows,
    "idle": idle.rows,
    "map": mapping.rows,
    "postgres": postgres.rows,
    "schedules": scheduling.rows,
    "graphs": graphs.rows,
    "fairness": fairness.rows,
    "listing": listing.rows,
    "dashboards": dashboards.rows,
    "peers": peering.rows,
}


def main() -> None:
    """Measure the parts that were asked for; documents are written when all was measured in full."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Rota.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {' '.join(_PARTS)}; all, if none is named")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the jobs, once: only to see that it works")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(_PARTS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {' '.join(_PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends servers and removes stores on the way out
    about = [*machine.describe(), *peering.about()]
    print("\n".join(about), flush=True)
    rows = []
    began = time.monotonic()
    for part in arguments.parts or _PARTS:
        for row in _PARTS[part](QUICK if arguments.quick else Scale()):
            rows.append(row)
            print(row.text(medians(rows)), flush=True)
    print(f"took {time.monotonic() - began:.0f} s")
    if not arguments.parts and not arguments.quick:
        documents.write(about, rows)


if __name__ == "__main__":
    main()
