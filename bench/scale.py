"""How much is measured: all of it, or with `--quick` just enough to see that the benchmarks work."""

from __future__ import annotations

import math

from msgspec import Struct


class Scale(Struct, frozen=True):
    """`repetitions` of each figure, over a share of the jobs. At `until`, of the monotonic clock, all should be over."""

    times: int = 3
    share: float = 1.0
    until: float = math.inf

    def has_time(self, at: float) -> bool:
        """Say whether what will be over then may begin."""
        return at <= self.until

    def repetitions(self) -> range:
        """Return what to iterate over."""
        return range(self.times)

    def jobs(self, full: int) -> int:
        """Return how many jobs to take in place of `full`."""
        return max(int(full * self.share), 20)


QUICK = Scale(times=1, share=0.02)
