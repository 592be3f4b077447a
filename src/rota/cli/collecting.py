"""What the commands do that keep hundreds of jobs and more on their way: they spare the garbage collector."""

from __future__ import annotations

import gc


def spare_the_collector() -> None:
    """Let the collector pass over what was imported, which stays, and look less often: a batch of jobs is no garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
