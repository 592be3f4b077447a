"""What a transaction on SQLite does with what handlers leave and take; see store/handler_protocol.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw

from rota.core.checkpoints import CheckpointNote, Kept
from rota.core.jobs import HandlerSpec
from rota.store.rows import raw
from rota.store.sqlite.statement import BaseTx

_spec = msgspec.json.Decoder(HandlerSpec).decode


class HandlerTx(BaseTx):
    """The part of `SqliteTx` that knows checkpoints, and what handlers take."""

    async def put_checkpoints(self, notes: Sequence[CheckpointNote]) -> None:
        self._many("put_checkpoints", [(n.job, n.attempt, self.now, raw(n.value)) for n in notes])

    async def checkpoints_of(self, jobs: Iterable[str]) -> dict[str, Kept]:
        rows = [row for job in jobs if (row := self._one("checkpoints_of", job)) is not None]
        return {job: Kept(attempt, at, len(value.encode()), Raw(value)) for job, attempt, at, value in rows}

    async def about_checkpoint(self, job: str) -> Kept | None:
        row = self._one("about_checkpoint", job)
        return None if row is None else Kept(*row)

    async def count_snoozes(self, job: str, limit: int) -> int:
        row = self._one("count_snoozes", job, limit)
        return row[0] if row else 0

    async def put_signatures(self, signatures: Sequence[tuple[str, str, Raw]], keep: int) -> None:
        self._many("put_signatures", [(handler, version, self.now, raw(s)) for handler, version, s in signatures])
        self._many("prune_signatures", [(handler, keep) for handler, _, _ in signatures])

    async def signatures(self, named: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        rows = [row for each in named if (row := self._one("signatures", *each)) is not None]
        return {(handler, version): schema.encode() for handler, version, schema in rows}

    async def get_handler(self, name: str) -> tuple[HandlerSpec, int] | None:
        row = self._one("get_handler", name)
        return None if row is None else (_spec(row[0]), row[1])
