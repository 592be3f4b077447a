"""What the service asks of a store about owners' quotas: a part of the transaction in protocol.py.

What is kept for an owner that has quotas is written with every change of a job, in the same transaction; for others nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from rota.core.owners import Owner
from rota.core.quotas import Kept, Places


class QuotaTx(Protocol):
    """The part of `Tx` that knows how many jobs of an owner wait, and how many bytes they hold."""

    async def quotas_of(self, owners: Iterable[str]) -> dict[str, Owner]:
        """Return those of these owners that have `max_waiting` or `max_bytes`."""
        ...

    async def hold_quotas(self, owners: Iterable[str]) -> dict[str, Kept]:
        """Return what is kept for owners that have quotas, and let nobody else look so until the end of the transaction."""
        ...

    async def kept_of(self, owners: Iterable[str]) -> dict[str, Kept]:
        """Return what is kept for owners that have quotas, with what the transaction itself has changed."""
        ...

    async def hold_places(self, owners: Iterable[str]) -> None:
        """Let nobody else start jobs of owners until the end of the transaction; called once in it, after `hold_limits`."""
        ...

    async def places_of(self, owners: Iterable[str]) -> dict[str, Places]:
        """Return what may run and runs of those of these owners that have `max_running`; of an array each shard counts."""
        ...

    async def count_kept(self, owner: str) -> Kept:
        """Count anew what is kept for an owner, and write that. Raises Unavailable when others write jobs for too long."""
        ...

    async def forget_kept(self, owner: str) -> None:
        """Remove what is kept for an owner that has no quotas any more."""
        ...
