"""`/v1/me`: who the server takes the caller for. A page asks it what to show."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from msgspec import Struct

from rota.core.access import Who
from rota.http.operations import Call, NoBody, NoQuery, Operation
from rota.http.replies import Reply, json_reply


class MeView(Struct, kw_only=True):
    """The caller: its role, the owner that it is bound to (null: sees everybody's), what it may submit besides handlers.

    `keeper`: it may make tokens and read the trail. `token` is its token's id, null without one; `name` what that is called.
    `version` is the server's.
    """

    role: str
    owner: str | None
    allow: list[str]
    keeper: bool
    token: str | None
    name: str
    version: str


async def get(call: Call[NoQuery, NoBody]) -> Reply:
    """Say who the caller is, and what it may do."""
    caller = call.caller
    return json_reply(
        MeView(
            role=caller.role.value,
            owner=caller.owner,
            allow=sorted(caller.allow),
            keeper=Who.KEEPERS.admits(caller),
            token=caller.token,
            name=caller.name,
            version=version("rota"),
        )
    )


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/v1/me", function=get, summary="Say who I am", tag="server", who=Who.OWNERS,
        query=NoQuery, body=NoBody, answers={200: MeView},
    ),
]  # fmt: skip
