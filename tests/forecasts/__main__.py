"""Let whole days pass, and say how good the expectations were: python -m tests.forecasts [SEED…]."""

from __future__ import annotations

import sys

from tests.forecasts.day import Day

BANDS = ((0, 0), (1, 3), (4, 9), (10, 29), (30, 99), (100, 10_000))


def main() -> None:
    for seed in map(int, sys.argv[1:] or ["1"]):
        day = Day(seed)
        day.run()
        print(
            f"seed {seed}: {day.jobs} jobs; asked {len(day.asked)} times about one that waits; {day.right:.1%} within 2 times"
        )
        for low, high in BANDS:
            some = [each for each in day.asked if low <= each.ahead <= high]
            if some:
                right = sum(each.right() for each in some) / len(some)
                print(f"  {low} to {high} ahead: {len(some)} times, {right:.1%}")


main()
