"""`python -m bench [PART…]`: measure, print, and write the documents anew."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain

from bench import (
    backlog,
    cluster,
    crowd,
    dashboards,
    depth,
    documents,
    draining,
    fairness,
    graphs,
    growth,
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
from bench.peers.table import PEERS
from bench.scale import QUICK, Scale

Part = Callable[[Scale], Iterator[Row]]

# What RESULTS.md has, in this order.
_REPORT: dict[str, Part] = {
    "limits": limits.rows,
    "submit": submitting.rows,
    "drain": draining.rows,
    "latency": latency.rows,
    "recovery": recovery.rows,
    "idle": idle.rows,
    "map": mapping.rows,
    "postgres": postgres.rows,
    "peers": peering.rows,
    "backlog": backlog.rows,
    "growth": growth.rows,
}
_PARTS: dict[str, Part] = _REPORT | {
    "arrays": mapping.arrays,
    "depth": depth.rows,
    "crowd": crowd.rows,
    "schedules": scheduling.rows,
    "graphs": graphs.rows,
    "fairness": fairness.rows,
    "listing": listing.rows,
    "dashboards": dashboards.rows,
}
_MINUTES = 19.0
_AFTER_PEERS_S = 230.0  # what comes after them in the report


def main() -> None:
    """Measure the parts that were asked for; documents are written when all of the report was measured in full."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Rota.")
    what = f"of {' '.join(_PARTS)}; those of the report, up to growth, if none is named"
    parser.add_argument("parts", nargs="*", metavar="PART", help=what)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the jobs, once: only to see that it works")
    parser.add_argument(
        "--minutes",
        type=float,
        default=_MINUTES,
        help="after which peers are not measured once more [default: %(default)g]",
    )
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(_PARTS)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {' '.join(_PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends servers and removes stores on the way out
    about = [*machine.describe(), *cluster.about(), *peering.about()]
    print("\n".join(about), flush=True)
    if not cluster.found():
        print("LEFT OUT: PostgreSQL is not installed (Debian: apt-get install postgresql)", file=sys.stderr, flush=True)
    parts = arguments.parts or list(_REPORT)
    if {"peers", "backlog"} & set(parts):
        peering.present(
            [*PEERS.values()]
        )  # installs what is missing, and says what cannot be: before anything is measured
    began = time.monotonic()
    until = began + 60 * arguments.minutes - (0.0 if arguments.parts else _AFTER_PEERS_S)
    scale = QUICK if arguments.quick else Scale(until=until)
    found: dict[str, list[Row]] = {}
    for part in parts:
        print(f"-- {part}, at {time.monotonic() - began:.0f} s", flush=True)
        for row in _PARTS[part](scale):
            found.setdefault(part, []).append(row)
            print(row.text(medians(chain(*found.values()))), flush=True)
    print(f"took {time.monotonic() - began:.0f} s")
    if not arguments.parts and not arguments.quick:
        documents.write(about, found)


if __name__ == "__main__":
    main()
