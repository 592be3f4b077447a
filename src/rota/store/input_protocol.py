"""What the service asks of a store for those who look at the inputs of an array: a part of the transaction in protocol.py."""

from __future__ import annotations

from typing import Protocol

from rota.core.arrays import Range
from rota.core.input_maps import Tally
from rota.core.jobs import Attempt


class InputTx(Protocol):
    """The part of `Tx` that counts inputs, and looks at one."""

    async def spread_ranges(self, job: str, size: int) -> list[tuple[int, int, bool]]:
        """Return what is to run again, as (first, n, due); ranges that lie in one bucket of `size` inputs are added up."""
        ...

    async def spread_results(self, job: str, size: int, *, bad: bool) -> list[Tally]:
        """Count results in buckets of `size` inputs; `bad`: only those that are no success, which is cheap."""
        ...

    async def range_at(self, job: str, index: int) -> Range | None:
        """Return the last range that begins at an input, or before it."""
        ...

    async def attempts_at(self, job: str, index: int, limit: int) -> list[Attempt]:
        """Return shards that are over and had this input, the newest first."""
        ...
