"""What a transaction on SQLite does with tokens and the audit trail; see store/protocol.py."""

from __future__ import annotations

from collections.abc import Sequence

from rota.store.rows import AuditRow, NewAudit, TokenRow, audit_of, encode, token_of
from rota.store.sqlite.statement import BaseTx

_NEWEST = 1 << 62


class TokenTx(BaseTx):
    """The part of `SqliteTx` that knows who may do what, and who did."""

    async def insert_token(self, token: TokenRow) -> None:
        queues, allow = encode(token.queues).decode(), encode(token.allow).decode()
        self._run(
            "insert_token", token.id, token.hash, token.role.value, token.name, token.owner, queues, allow,
            token.created_at, token.expires_at,
        )  # fmt: skip

    async def tokens(self) -> list[TokenRow]:
        return [token_of(row) for row in self._all("tokens")]

    async def revoke_token(self, token: str) -> None:
        self._run("revoke_token", self.now, token)

    async def tokens_version(self) -> int:
        row = self._one("tokens_version")
        return row[0] if row else 0

    async def append_audit(self, rows: Sequence[NewAudit]) -> None:
        self._many(
            "append_audit",
            [(self.now, r.n, r.token, r.role.value, r.owner, r.address, r.action, r.target, r.status) for r in rows],
        )

    async def audit_before(self, seq: int | None, limit: int, token: str | None) -> list[AuditRow]:
        before = _NEWEST if seq is None else seq
        which = ("audit_before",) if token is None else ("audit_of_token", token)
        return [audit_of(row) for row in self._all(*which, before, limit)]

    async def prune_audit(self, before: int, keep: int, limit: int) -> None:
        row = self._one("last_audit")
        newest = row[0] if row else 0
        old = [seq for seq, at in self._all("oldest_audit", 0, limit) if at < before or seq <= newest - keep]
        if old:
            self._run("delete_audit", max(old))
