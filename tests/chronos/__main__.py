"""`python -m tests.chronos --seeds 50 --years 3`: as many simulated years as there is time for."""

from __future__ import annotations

import argparse
from collections import Counter

from tests.chronos.chronos import Chronos

arguments = argparse.ArgumentParser()
arguments.add_argument("--seeds", type=int, default=20)
arguments.add_argument("--first", type=int, default=0)
arguments.add_argument("--years", type=float, default=3.0)
given = arguments.parse_args()
told: Counter[str] = Counter()
for seed in range(given.first, given.first + given.seeds):
    world = Chronos(seed, years=given.years)
    try:
        world.run()
    except BaseException:
        print(f"seed {seed}: {dict(world.told)}")
        raise
    told += world.told
print(f"{given.seeds * given.years * world.n:g} schedule-years, as expected")
for what, n in sorted(told.items()):
    print(f"{n:9,} {what}")
