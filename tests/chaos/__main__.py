"""`python -m tests.chaos`: a long run, as long as you like. `make chaos` says how."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.chaos import isolation
from tests.chaos.faults import KINDS, Fault, plan
from tests.chaos.report import as_json, as_markdown
from tests.chaos.run import Chaos

LEASE_S = 10.0  # the shortest that has all of the margin that workers keep; with less a busy machine is late for it
RUN = Path("/run/rota-chaos")  # in memory, and goes when the namespace goes
# What no client may notice, and no job be lost by.
CALM = [Fault("rolling restart", "all servers", 0.5, 0.0), Fault("worker restarted", "worker-3", 0.0, 0.0)]
# What the short form goes through: what is seen most, and what is seen never.
SHORT = [
    [Fault("server killed", "server-1", 0.5, 1.0), Fault("cut", "worker-2", 0.5, 4.0, "it is deaf")],
    [Fault("worker killed", "worker-1", 1.0, 0.5), Fault("postgres killed", "postgres", 0.5, 1.0)],
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides the faults, and what is submitted")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long faults happen")
    parser.add_argument("--lanes", type=int, default=2, help="how many faults at once")
    parser.add_argument("--short", action="store_true", help="the form of `make test`: few faults, always the same")
    parser.add_argument("--report", type=Path, default=Path("chaos"), help="the folder of the report")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS, metavar="KIND", help="only these faults")
    options = parser.parse_args()
    if not isolation.is_inside():
        if lacks := isolation.missing():
            parser.exit(2, f"this needs {lacks}\n")
        isolation.enter(sys.argv[1:])
    rng = random.Random(options.seed)
    seconds = options.minutes * 60
    lanes = SHORT if options.short else [plan(rng, seconds, options.kinds, LEASE_S) for _ in range(options.lanes)]
    options.report.mkdir(parents=True, exist_ok=True)
    RUN.mkdir()
    logs = options.report / "logs"
    run = Chaos(options.seed, RUN, lease_s=LEASE_S, per_s=6.0 if options.short else 15.0, say=say, logs=logs).run(
        CALM, lanes, seconds
    )
    (options.report / "report.json").write_text(as_json(run))
    (options.report / "report.md").write_text(as_markdown(run))
    say("\n".join(run.violations) or "nothing was lost, nothing ran twice")
    return 1 if run.violations else 0


def say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
