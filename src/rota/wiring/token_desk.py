"""Tokens and the audit trail of a store that no server owns at this moment: how the first token is made."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rota import settings
from rota.core.access import Role
from rota.http.routes.tokens import AuditView, MadeView, TokenView, audit_view, made_view, token_view
from rota.service.audit import Audit
from rota.service.tokens import NewToken, Tokens
from rota.store.protocol import NewAudit, Store
from rota.wiring.stores import open_store

T = TypeVar("T")


async def add(store: str, new: NewToken) -> MadeView:
    """Make a token. Raises StoreInUse when a server owns the store: it must be asked; Invalid."""

    async def act(tokens: Tokens, audit: Audit) -> MadeView:
        row, text = await tokens.add(new)
        audit.note(_line("tokens.add", row.id, 201))
        return made_view(row, text)

    return await _at(store, act)


async def find(store: str) -> list[TokenView]:
    """List all tokens. Raises StoreInUse."""

    async def act(tokens: Tokens, _: Audit) -> list[TokenView]:
        return [token_view(row) for row in await tokens.list()]

    return await _at(store, act)


async def revoke(store: str, token: str) -> TokenView:
    """End a token. Raises StoreInUse, NotFound."""

    async def act(tokens: Tokens, audit: Audit) -> TokenView:
        row = await tokens.revoke(token)
        audit.note(_line("tokens.revoke", token, 200))
        return token_view(row)

    return await _at(store, act)


async def trail(store: str, limit: int, token: str | None) -> list[AuditView]:
    """Show who did what, the newest first. Raises StoreInUse."""

    async def act(_: Tokens, audit: Audit) -> list[AuditView]:
        return [audit_view(row) for row in await audit.list(None, limit, token)]

    return await _at(store, act)


async def _at(url: str, act: Callable[[Tokens, Audit], Awaitable[T]]) -> T:
    store: Store = open_store(url)
    await store.open()
    try:
        audit = Audit(store)
        done = await act(Tokens(store, secret=secrets.token_hex, zone=settings.load({}).zone), audit)
        if audit.pending:
            await audit.flush()
        return done
    finally:
        await store.close()


def _line(action: str, target: str, status: int) -> NewAudit:
    return NewAudit(None, Role.ADMIN, None, "", action, target, status)
