"""What the service asks of a store about unique keys: a part of the transaction in protocol.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rota.store.rows import Unique


class UniqueTx(Protocol):
    """The part of `Tx` that knows which job has which unique key of its owner. A key is locked before any job."""

    async def take_uniques(self, wanted: Sequence[Unique]) -> list[Unique]:
        """Give these keys, which all differ, to their jobs; return what has been there before, locked and unchanged."""
        ...

    async def put_uniques(self, taken: Sequence[Unique]) -> None:
        """Give keys that `take_uniques` has returned to other jobs."""
        ...

    async def forget_uniques(self, before: int, limit: int) -> int:
        """Remove keys whose time is over since before `before`; return how many."""
        ...
