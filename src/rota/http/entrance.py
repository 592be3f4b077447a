"""What a server answers before it can do its work: that it is alive, and not ready."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from rota.core.errors import Unavailable
from rota.http.guards import Guard
from rota.http.problems import problem_reply
from rota.http.replies import json_reply
from rota.http.routes.admin import Health


class Entrance:
    """Passes requests on to `app` once there is one. Until then all but `/healthz` are a 503: `why` says what is missing.

    `allowed_hosts` are names that it answers to beside loopback's.
    """

    def __init__(self, why: str, *, allowed_hosts: Iterable[str] = ()) -> None:
        self.app: ASGIApp = Guard(_Closed(why), allowed_hosts=allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        await self.app(scope, receive, send)


class _Closed:
    def __init__(self, why: str) -> None:
        self._why = why

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        alive = scope["path"] == "/healthz"
        reply = json_reply(Health("alive")) if alive else problem_reply(Unavailable(self._why))
        await reply.send(send)
