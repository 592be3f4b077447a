"""Tokens: made, shown once, known again by their hash, revoked at once.

A token is 256 random bits, so one SHA-256 of it is as good as a slow hash. Its id is the beginning of that hash: it finds
the row, and the whole hashes are then compared in constant time. What is known of tokens is held in memory, and read anew
when their version has changed: upkeep looks with every round, and a change that is made here is seen at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from datetime import tzinfo

from msgspec import Struct

from rota.core.access import PERMISSIONS, Caller, Role
from rota.core.errors import Invalid, NotFound
from rota.core.times import SECOND, parse_duration, parse_time
from rota.service.admission import check_name
from rota.service.demands import MAX_NAME
from rota.store.protocol import Store, TokenRow, Tx

PREFIX = "rota_"
LEAST = 32  # characters of a token that was made elsewhere
_ID = 12  # characters
_MOST_QUEUES = 1000
_LOOK_S = 0.05  # how often a token that is not known makes us look at the store, at most


class NewToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to make. A user's has an `owner` and what it allows beside handlers (`scripts`, `images`, `secrets`); a
    worker's may name `queues`. `expires` is from now on (seconds, or like `30d`), or a time.
    """

    role: Role
    name: str = ""
    owner: str | None = None
    queues: list[str] = []
    allow: list[str] = []
    expires: str | float | None = None


class _Known:
    """A token that was read: who it stands for, and a bell for when it is over."""

    __slots__ = ("caller", "ended", "row")

    def __init__(self, row: TokenRow) -> None:
        self.row = row
        self.ended = asyncio.Event()
        allow = PERMISSIONS if row.role is Role.ADMIN else row.allow
        self.caller = Caller(
            role=row.role, owner=row.owner, queues=row.queues, allow=frozenset(allow), token=row.id, name=row.name, known=True
        )  # fmt: skip


class Tokens:
    """All tokens of a store. `secret` returns 256 random bits in hexadecimal; `zone` is that of dates without one."""

    def __init__(
        self,
        store: Store,
        *,
        secret: Callable[[], str],
        zone: tzinfo,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._zone = zone
        self._secret = secret
        self._monotonic = monotonic
        self._known: dict[str, _Known] = {}
        self._version = -1
        self._offset = 0  # the store's clock less ours, in microseconds
        self._looked_at = float("-inf")

    @property
    def any(self) -> bool:
        """Say whether there ever was a token."""
        return bool(self._known)

    async def add(self, new: NewToken, text: str | None = None) -> tuple[TokenRow, str]:
        """Make a token and return it with its text, which nobody can ask for again. Raises Invalid.

        `text` is one that was made elsewhere; if it is known, its token is returned as it is.
        """
        _check(new)
        text = PREFIX + self._secret() if text is None else text
        hash_ = digest(text)

        async def write(tx: Tx) -> TokenRow:
            for row in await tx.tokens():
                if row.id == hash_[:_ID]:
                    return row
            row = TokenRow(
                hash_[:_ID], hash_, new.role, new.name, new.owner, tuple(dict.fromkeys(new.queues)),
                tuple(dict.fromkeys(new.allow)), tx.now, _end_of(new.expires, tx.now, self._zone),
            )  # fmt: skip
            await tx.insert_token(row)
            return row

        row = await self._store.write(write)
        await self.refresh()
        return row, text

    async def revoke(self, token: str) -> TokenRow:
        """End a token, with every stream and wait that it has open. Raises NotFound."""

        async def write(tx: Tx) -> TokenRow:
            await tx.revoke_token(token)
            row = next((row for row in await tx.tokens() if row.id == token), None)
            if row is None:
                raise NotFound(f"there is no token {token!r}")
            return row

        row = await self._store.write(write)
        await self.refresh()
        return row

    async def list(self) -> list[TokenRow]:
        """Return all tokens that ever were, the oldest first."""
        return await self._store.read(lambda tx: tx.tokens())

    async def find(self, text: str) -> Caller | None:
        """Return whom a token's text stands for; None when it is none of ours, revoked, or expired."""
        found = self._match(text)
        if found is None and self._monotonic() - self._looked_at > _LOOK_S:  # another server may have made it just now
            await self.look()
            found = self._match(text)
        if found is None or self._is_over(found.row):
            return None
        return found.caller

    def ended(self, caller: Caller) -> asyncio.Event | None:
        """Return what is set when a caller's token is over; None for one who has none."""
        found = None if caller.token is None else self._known.get(caller.token)
        return None if found is None else found.ended

    async def look(self) -> None:
        """Read the tokens anew if their version has changed."""

        async def look(tx: Tx) -> tuple[int, int]:
            return tx.now, await tx.tokens_version()

        self._looked_at = self._monotonic()
        await self.seen(*await self._store.read(look))

    async def seen(self, now: int, version: int) -> None:
        """Hear of the store's time and of the tokens' version; end what has expired."""
        self._offset = now - round(self._monotonic() * SECOND)
        if version != self._version:
            await self.refresh()
        self._ring()

    async def refresh(self) -> None:
        """Read all tokens."""

        async def look(tx: Tx) -> tuple[int, int, list[TokenRow]]:
            return tx.now, await tx.tokens_version(), await tx.tokens()

        now, version, rows = await self._store.read(look)
        if version < self._version:  # what is known is newer
            return
        self._version = version
        self._offset = now - round(self._monotonic() * SECOND)
        for row in rows:
            if row.id in self._known:
                self._known[row.id].row = row
            else:
                self._known[row.id] = _Known(row)
        self._ring()

    def _match(self, text: str) -> _Known | None:
        hash_ = digest(text)
        found = self._known.get(hash_[:_ID])
        return found if found is not None and hmac.compare_digest(found.row.hash, hash_) else None

    def _is_over(self, row: TokenRow) -> bool:
        return row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= self._now())

    def _now(self) -> int:
        return self._offset + round(self._monotonic() * SECOND)

    def _ring(self) -> None:
        for known in self._known.values():
            if not known.ended.is_set() and self._is_over(known.row):
                known.ended.set()


def digest(text: str) -> str:
    """Return the hash of a token's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def seeded(text: str) -> str:
    """Return the token that a file holds. Raises Invalid when it is none that nobody can guess."""
    token = text.strip()
    if len(token) < LEAST or not token.isascii() or not token.isprintable() or " " in token:
        raise Invalid(
            "token_file", f"holds no token: one line of at least {LEAST} characters, like `openssl rand -hex 32`"
        )
    return token


def _check(new: NewToken) -> None:
    """Raise Invalid for a token that makes no sense."""
    if new.name:
        check_name("name", new.name, "")
    if (new.owner is None) is (new.role is Role.USER):
        raise Invalid("owner", "goes with a user's token, and is required there")
    if new.owner is not None:
        check_name("owner", new.owner, "")
    if new.queues and new.role is not Role.WORKER:
        raise Invalid("queues", "go with a worker's token")
    if len(new.queues) > _MOST_QUEUES:
        raise Invalid("queues", f"are at most {_MOST_QUEUES}")
    _check_names("queues", new.queues)
    if new.allow and new.role is not Role.USER:
        raise Invalid("allow", "goes with a user's token: an admin may do everything, a worker can only work")
    if unknown := set(new.allow) - set(PERMISSIONS):
        raise Invalid("allow", f"{min(unknown)[:MAX_NAME]!r} is none of {', '.join(PERMISSIONS)}")


def _end_of(expires: str | float | None, now: int, zone: tzinfo) -> int | None:
    """Return when a token ends; None: never. Raises Invalid."""
    if expires is None:
        return None
    try:
        end = now + round(parse_duration(expires) * SECOND)
    except ValueError:
        try:
            end = parse_time(str(expires), zone)
        except ValueError:
            raise Invalid("expires", f"{expires!r} is neither like 30d, nor a time like 2027-03-29T09:00:00Z") from None
    if end < now + SECOND:
        raise Invalid("expires", "is at least a second from now")
    return end


def _check_names(field: str, names: Iterable[str]) -> None:
    for at, name in enumerate(names):
        check_name("queue", name, f"{field}[{at}] ")
