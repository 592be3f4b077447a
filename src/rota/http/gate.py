"""Who is let in: from a request's token to its caller, before its body is read.

A token comes as `Authorization: Bearer …`, or as the password of Basic, whatever the user's name is. What comes through
the socket beside the store needs none: whoever can open that can open the store.
"""

from __future__ import annotations

import binascii
import time
from base64 import b64decode
from collections.abc import Callable

from starlette.types import Scope

from rota.core.access import KEEPER, LOCAL, NOBODY, Caller, Role, Who
from rota.core.errors import Forbidden
from rota.http.problems import Refusal
from rota.http.replies import Headers
from rota.service.tokens import Tokens

_CHALLENGES: Headers = [
    (b"www-authenticate", b'Bearer realm="rota"'),
    (b"www-authenticate", b'Basic realm="rota", charset="UTF-8"'),
]
_BURST_S = 2.0  # so many seconds' worth of requests may come at once


class Gate:
    """Lets callers in. Without a token `anonymous` is who comes; None: nobody.

    `rate` is how many requests a second a token may make, beside those that workers work with; None is no limit.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        anonymous: Caller | None = LOCAL,
        rate: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._anonymous = anonymous
        self._rates = None if rate is None else _Rates(rate, clock)

    def check(self, caller: Caller, who: Who) -> None:
        """Raise Forbidden when operations for `who` are not for this caller; Refusal (429) when it makes too many."""
        if not who.admits(caller):
            raise Forbidden(_why_not(caller, who))
        if self._rates is not None and caller.token is not None and who is not Who.WORKERS:
            self._rates.take(caller.token)

    async def identify(self, scope: Scope, authorization: bytes | None, who: Who) -> Caller:
        """Return who makes a request of an operation that is for `who`. Raises Refusal (401)."""
        if who is Who.ANYONE:
            return NOBODY
        server = scope.get("server")
        if server is not None and server[1] is None:
            return KEEPER
        if authorization is None or (self._anonymous is not None and not self._tokens.any):
            if self._anonymous is None:
                raise unauthorized(
                    "this server asks for a token: Authorization: Bearer TOKEN, or as the password of Basic"
                )
            return self._anonymous
        caller = await self._tokens.find(_token_in(authorization))
        if caller is None:
            raise unauthorized("the token is not known here, is revoked, or has expired")
        return caller


class _Rates:
    """A bucket a token: it fills by `rate` a second, and holds two seconds' worth."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._most = max(1.0, rate * _BURST_S)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # what was in it, and when

    def take(self, token: str) -> None:
        """Take one request's worth out of a token's bucket. Raises Refusal (429)."""
        now = self._clock()
        level, at = self._buckets.get(token, (self._most, now))
        level = min(self._most, level + (now - at) * self._rate)
        if level < 1.0:
            wait_s = max(1, int(-(-(1.0 - level) // self._rate)))
            text = f"this token may make {self._rate:g} requests a second; wait {wait_s} s"
            raise Refusal("too-many-requests", text, headers=[(b"retry-after", b"%d" % wait_s)])
        self._buckets[token] = (level - 1.0, now)


def unauthorized(detail: str) -> Refusal:
    """Return the refusal of a request that has no token that is good."""
    return Refusal("unauthorized", detail, field="Authorization", headers=_CHALLENGES)


def _token_in(authorization: bytes) -> str:
    """Return the token of an Authorization header. Raises Refusal when it holds none."""
    scheme, _, value = authorization.decode("latin-1").strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value
    if scheme.lower() == "basic":
        try:
            token = b64decode(value, validate=True).decode("latin-1").partition(":")[2]
        except (binascii.Error, ValueError):
            token = ""
        if token:
            return token
    raise unauthorized("Authorization holds no token: Bearer TOKEN, or Basic with the token as its password")


def _why_not(caller: Caller, who: Who) -> str:
    if who is Who.KEEPERS and not caller.known:
        return (
            "this needs an admin's token, or the socket beside the store: rota token, on this machine, without --server"
        )
    what = {Who.OWNERS: "jobs", Who.WORKERS: "workers", Who.ADMINS: "admins", Who.KEEPERS: "admins"}[who]
    return f"this is for {what}, and the token is {'an' if caller.role is Role.ADMIN else 'a'} {caller.role}'s"
