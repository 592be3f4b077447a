"""`/v1/owners`: whose jobs there are, which share each owner gets, and its limits."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from rota.core.access import Who
from rota.core.owners import Owner, ShareView
from rota.core.wire import Page
from rota.http.operations import Call, NoBody, NoQuery, Operation
from rota.http.replies import Reply, json_reply
from rota.http.routes.filters import Limit
from rota.http.routes.jobs import page_reply
from rota.service.owners import OwnerEdit


class OwnersQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`cursor`: where the page before has ended."""

    limit: Limit = 100
    cursor: str = ""


async def find(call: Call[OwnersQuery, NoBody]) -> Reply:
    """List the owners that have jobs, or that something was set for, by name. A user sees its own."""
    query = call.query
    found = await call.service.owners.find(call.caller, query.cursor, query.limit)
    more = found[-1].owner if len(found) == query.limit else None
    return page_reply(call, found, more)


async def get(call: Call[NoQuery, NoBody]) -> Reply:
    """Show what is set for an owner: its weight among others at equal priority, and its limits."""
    return json_reply(await call.service.owners.get(call.id, call.caller))


async def edit(call: Call[NoQuery, OwnerEdit]) -> Reply:
    """Set an owner's weight and limits. They count from the next start, and the next submission, on; null is no limit."""
    return json_reply(await call.service.owners.edit(call.id, call.body, call.caller))


async def share(call: Call[NoQuery, NoBody]) -> Reply:
    """Show an owner's share among those that are active now, what it has used in the last hour, and where it stands."""
    return json_reply(await call.service.owners.share(call.id, call.caller))


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/v1/owners", function=find, summary="List owners", tag="owners", who=Who.OWNERS,
        query=OwnersQuery, body=NoBody, answers={200: Page[Owner]},
    ),
    Operation(
        method="GET", path="/v1/owners/{id}", function=get, summary="Show an owner", tag="owners", who=Who.OWNERS,
        query=NoQuery, body=NoBody, answers={200: Owner}, problems=(404,),
    ),
    Operation(
        method="PATCH", path="/v1/owners/{id}", function=edit, summary="Set an owner's weight and limits", tag="owners",
        who=Who.ADMINS, query=NoQuery, body=OwnerEdit, answers={200: Owner},
    ),
    Operation(
        method="GET", path="/v1/owners/{id}/share", function=share, summary="Show what an owner gets and uses", tag="owners",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={200: ShareView}, problems=(404,),
    ),
]  # fmt: skip
