"""Run seeds of the simulation, on all cores: `python -m tests.simulation --seeds 1000`, or one: `--seed X --verbose`."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from .simulate import Failed, digest, run
from .world import CALM, Odds

_CHUNK = 20


def live(seeds: range, odds: Odds | None, crash_at: int | None, limited: bool) -> tuple[int, list[str]]:
    """Run some seeds; return how many transactions they had, and what failed."""
    steps, failures = 0, []
    for seed in seeds:
        try:
            steps += run(seed, odds=odds, crash_at=crash_at, limited=limited).boundaries
        except Failed as failure:
            failures.append(str(failure))
    return steps, failures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--crash-at", type=int, help="without other faults, crash at this commit boundary")
    parser.add_argument(
        "--limited", action="store_true", help="with limits of a queue, a handler and a key, and with runs"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="print what happened to the one seed, also when it is fine"
    )
    parser.add_argument("--keep-going", action="store_true", help="only count failures")
    options = parser.parse_args()
    odds = None if options.crash_at is None else CALM
    if options.seed is not None and options.verbose:
        world = run(options.seed, odds=odds, crash_at=options.crash_at, limited=options.limited)
        print(world.tell_history())
        print(f"seed {options.seed}: fine; digest {digest(world)}")
        return 0
    start, n = (options.start, options.seeds) if options.seed is None else (options.seed, 1)
    seeds = range(start, start + n)
    began, steps, failed = time.monotonic(), 0, 0
    with ProcessPoolExecutor() as processes:
        chunks = [
            processes.submit(live, seeds[at : at + _CHUNK], odds, options.crash_at, options.limited)
            for at in range(0, n, _CHUNK)
        ]
        for chunk in as_completed(chunks):
            some, failures = chunk.result()
            steps += some
            failed += len(failures)
            for failure in failures:
                print(failure if not options.keep_going else failure.splitlines()[0], flush=True)
            if failures and not options.keep_going:
                processes.shutdown(cancel_futures=True)
                return 1
    took = time.monotonic() - began
    print(f"{n} seeds, {failed} failed, {steps} transactions, {took:.1f} s ({took / n * 1000:.0f} ms a seed)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
