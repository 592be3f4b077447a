"""The part of a transaction on PostgreSQL that knows what handlers leave and take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw

from rota.core.checkpoints import CheckpointNote, Kept
from rota.core.jobs import HandlerSpec
from rota.store.postgres.statement import BaseTx, array, columns
from rota.store.rows import raw

_spec = msgspec.json.Decoder(HandlerSpec).decode


class HandlerTx(BaseTx):
    """See store/handler_protocol.py."""

    async def put_checkpoints(self, notes: Sequence[CheckpointNote]) -> None:
        newest = {n.job: (n.job, n.attempt, self.now, raw(n.value)) for n in notes}
        if newest:
            await self._run("put_checkpoints", *columns([newest[job] for job in sorted(newest)], 4))

    async def checkpoints_of(self, jobs: Iterable[str]) -> dict[str, Kept]:
        rows = await self._all("checkpoints_of", array(wanted)) if (wanted := list(jobs)) else []
        return {job: Kept(attempt, at, len(value.encode()), Raw(value)) for job, attempt, at, value in rows}

    async def about_checkpoint(self, job: str) -> Kept | None:
        row = await self._one("about_checkpoint", job)
        return None if row is None else Kept(*row)

    async def count_snoozes(self, job: str, limit: int) -> int:
        row = await self._one("count_snoozes", job, limit)
        return row[0] if row else 0

    async def put_signatures(self, signatures: Sequence[tuple[str, str, Raw]], keep: int) -> None:
        if not signatures:
            return
        named = {(handler, version): raw(schema) for handler, version, schema in signatures}
        handlers, versions, schemas = columns([(*key, named[key]) for key in sorted(named)], 3)
        await self._run("put_signatures", handlers, versions, self.now, schemas)
        await self._run("prune_signatures", array(sorted({handler for handler, _ in named})), keep)

    async def signatures(self, named: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        rows = await self._all("signatures", *columns(named, 2)) if named else []
        return {(handler, version): schema.encode() for handler, version, schema in rows}

    async def get_handler(self, name: str) -> tuple[HandlerSpec, int] | None:
        row = await self._one("get_handler", name)
        return None if row is None else (_spec(row[0]), row[1])
