"""`/v1/tokens` and `/v1/audit`: who may do what, and who did. For admins who have shown who they are."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from rota.core.access import Who
from rota.core.times import rfc3339
from rota.core.wire import Page
from rota.http.operations import Call, NoBody, NoQuery, Operation
from rota.http.replies import Reply, json_reply
from rota.http.routes.filters import Limit
from rota.http.routes.jobs import page_reply
from rota.service.tokens import NewToken
from rota.store.protocol import AuditRow, TokenRow


class TokenView(Struct, kw_only=True):
    """A token, but for its text, which nobody can read again."""

    id: str
    role: str
    name: str
    owner: str | None
    queues: list[str]
    allow: list[str]
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class MadeView(TokenView, kw_only=True):
    """A new token, with its text: it is shown this once."""

    token: str


class AuditQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`before`: the last line that is known already; `token`: only what was done with the token of this id."""

    before: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    token: str | None = None
    limit: Limit = 100


class AuditView(Struct, kw_only=True):
    """What was done with a token (null: through the store's own socket), `n` times within a second.

    `action` is the operation, `target` what it was about, `status` how it was answered, `address` where it came from.
    """

    seq: int
    at: str
    n: int
    token: str | None
    role: str
    owner: str | None
    address: str
    action: str
    target: str
    status: int


def token_view(row: TokenRow) -> TokenView:
    """Render a token."""
    return TokenView(**_shown(row))


def made_view(row: TokenRow, text: str) -> MadeView:
    """Render a token that was made just now."""
    return MadeView(token=text, **_shown(row))


def _shown(row: TokenRow) -> dict[str, Any]:
    times = {name: getattr(row, name) for name in ("created_at", "expires_at", "revoked_at")}
    shown: dict[str, Any] = {name: None if at is None else rfc3339(at) for name, at in times.items()}
    queues, allow = list(row.queues), list(row.allow)
    return shown | {
        "id": row.id, "role": row.role.value, "name": row.name, "owner": row.owner, "queues": queues, "allow": allow
    }  # fmt: skip


def audit_view(row: AuditRow) -> AuditView:
    """Render a line of the trail."""
    return AuditView(
        seq=row.seq, at=rfc3339(row.at), n=row.n, token=row.token, role=row.role.value, owner=row.owner,
        address=row.address, action=row.action, target=row.target, status=row.status,
    )  # fmt: skip


async def add(call: Call[NoQuery, NewToken]) -> Reply:
    """Make a token. Its text is in this answer and nowhere else: what is kept is a hash."""
    row, text = await call.service.tokens.add(call.body)
    call.target = row.id
    return json_reply(made_view(row, text), 201)


async def find(call: Call[NoQuery, NoBody]) -> Reply:
    """List all tokens that ever were, the oldest first."""
    return json_reply(Page(items=[token_view(row) for row in await call.service.tokens.list()]))


async def revoke(call: Call[NoQuery, NoBody]) -> Reply:
    """End a token at once, and every stream and wait that it has open. Again is fine."""
    return json_reply(token_view(await call.service.tokens.revoke(call.id)))


async def audit(call: Call[AuditQuery, NoBody]) -> Reply:
    """Show who did what with which token, the newest first; kept for 90 days, and a million lines at most."""
    query = call.query
    rows = await call.service.audit.list(query.before, query.limit, query.token)
    more = str(rows[-1].seq) if len(rows) == query.limit else None
    return page_reply(call, [audit_view(row) for row in rows], more, "before")


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="POST", path="/v1/tokens", function=add, summary="Make a token", tag="tokens", who=Who.KEEPERS,
        query=NoQuery, body=NewToken, answers={201: MadeView},
    ),
    Operation(
        method="GET", path="/v1/tokens", function=find, summary="List tokens", tag="tokens", who=Who.KEEPERS,
        query=NoQuery, body=NoBody, answers={200: Page[TokenView]},
    ),
    Operation(
        method="DELETE", path="/v1/tokens/{id}", function=revoke, summary="Revoke a token", tag="tokens", who=Who.KEEPERS,
        query=NoQuery, body=NoBody, answers={200: TokenView}, problems=(404,),
    ),
    Operation(
        method="GET", path="/v1/audit", function=audit, summary="Show who did what", tag="tokens", who=Who.KEEPERS,
        query=AuditQuery, body=NoBody, answers={200: Page[AuditView]},
    ),
]  # fmt: skip
