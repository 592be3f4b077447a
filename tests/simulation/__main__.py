"""Run seeds of the simulation: `python -m tests.simulation --seeds 1000 --start 0`, or one again with `--seed X --verbose`."""

from __future__ import annotations

import argparse
import sys
import time

from .simulate import Failed, digest, run
from .world import CALM


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--crash-at", type=int, help="without other faults, crash at this commit boundary")
    parser.add_argument("--verbose", action="store_true", help="print what happened, also of a seed that is fine")
    parser.add_argument("--keep-going", action="store_true", help="only count failures")
    options = parser.parse_args()
    seeds = [options.seed] if options.seed is not None else range(options.start, options.start + options.seeds)
    odds = None if options.crash_at is None else CALM
    began, steps, failed = time.monotonic(), 0, 0
    for seed in seeds:
        try:
            world = run(seed, odds=odds, crash_at=options.crash_at)
        except Failed as failure:
            failed += 1
            print(failure if not options.keep_going else str(failure).splitlines()[0], flush=True)
            if not options.keep_going:
                return 1
            continue
        steps += world.boundaries
        if options.verbose:
            print(world.tell_history())
            print(f"seed {seed}: fine; digest {digest(world)}")
    took = time.monotonic() - began
    print(
        f"{len(seeds)} seeds, {failed} failed, {steps} transactions, {took:.1f} s ({took / len(seeds) * 1000:.0f} ms a seed)"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
