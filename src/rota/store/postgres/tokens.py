"""The part of a transaction on PostgreSQL that knows who may do what, and who did."""

from __future__ import annotations

from collections.abc import Sequence

from rota.store.postgres.statement import BaseTx, columns
from rota.store.rows import AuditRow, NewAudit, TokenRow, audit_of, encode, token_of

_NEWEST = 1 << 62


class TokenTx(BaseTx):
    """See store/protocol.py."""

    async def insert_token(self, token: TokenRow) -> None:
        queues, allow = encode(token.queues).decode(), encode(token.allow).decode()
        await self._run(
            "insert_token", token.id, token.hash, token.role.value, token.name, token.owner, queues, allow,
            token.created_at, token.expires_at,
        )  # fmt: skip

    async def tokens(self) -> list[TokenRow]:
        return [token_of(tuple(row)) for row in await self._all("tokens")]

    async def revoke_token(self, token: str) -> None:
        await self._run("revoke_token", self.now, token)

    async def tokens_version(self) -> int:
        row = await self._one("tokens_version")
        return row[0] if row else 0

    async def append_audit(self, rows: Sequence[NewAudit]) -> None:
        lines = [(r.n, r.token, r.role.value, r.owner, r.address, r.action, r.target, r.status) for r in rows]
        if lines:
            await self._run("append_audit", self.now, *columns(lines, 8))

    async def audit_before(self, seq: int | None, limit: int, token: str | None) -> list[AuditRow]:
        before = _NEWEST if seq is None else seq
        which = ("audit_before",) if token is None else ("audit_of_token", token)
        return [audit_of(tuple(row)) for row in await self._all(*which, before, limit)]

    async def prune_audit(self, before: int, keep: int, limit: int) -> None:
        row = await self._one("last_audit")
        newest = row[0] if row else 0
        old = [seq for seq, at in await self._all("oldest_audit", 0, limit) if at < before or seq <= newest - keep]
        if old:
            await self._run("delete_audit", max(old))
