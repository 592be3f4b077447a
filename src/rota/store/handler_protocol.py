"""What the service asks of a store about what handlers leave and take: a part of the transaction in protocol.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Raw

from rota.core.checkpoints import CheckpointNote, Kept
from rota.core.jobs import HandlerSpec


class HandlerTx(Protocol):
    """The part of `Tx` that knows checkpoints, and what handlers take."""

    async def put_checkpoints(self, notes: Sequence[CheckpointNote]) -> None:
        """Write the newest checkpoints of running jobs, which are locked."""
        ...

    async def checkpoints_of(self, jobs: Iterable[str]) -> dict[str, Kept]:
        """Return the checkpoints of those of these jobs that have one."""
        ...

    async def about_checkpoint(self, job: str) -> Kept | None:
        """Return what there is to know of a job's checkpoint, but for its value."""
        ...

    async def count_snoozes(self, job: str, limit: int) -> int:
        """Return how many attempts of a job its handler has ended with a snooze, counted up to `limit`."""
        ...

    async def put_signatures(self, signatures: Sequence[tuple[str, str, Raw]], keep: int) -> None:
        """Write (handler, version, schema) of what handlers take, and keep the `keep` newest versions of each."""
        ...

    async def signatures(self, named: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """Return the schemas of those of these (handler, version) that there are."""
        ...

    async def get_handler(self, name: str) -> tuple[HandlerSpec, int] | None:
        """Return a handler as it was offered last, and when."""
        ...
