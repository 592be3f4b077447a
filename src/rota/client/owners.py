"""Owners, for both colours of the client: `client.owners.share("ana")`. What they send is in calls.py."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

from rota.client import calls
from rota.client.schedules import AsyncCaller, Caller
from rota.core.owners import Owner, ShareView


class Limits(TypedDict, total=False):
    """What may be set for an owner; None takes a limit away. `weight` is between 0.001 and 1,000."""

    weight: float
    max_priority: int | None
    max_waiting: int | None
    max_running: int | None
    max_bytes: int | None


Found = list[Owner]


class Owners:
    """What can be done with owners."""

    def __init__(self, client: Caller) -> None:
        self._client = client

    def list(self) -> Found:
        """Read the owners that have jobs, or that something was set for, by name."""
        return [*self._client.walk(calls.owner_pages())]

    def get(self, owner: str) -> Owner:
        """Read what is set for an owner."""
        return self._client.call(calls.owner(owner))

    def edit(self, owner: str, **limits: Unpack[Limits]) -> Owner:
        """Set an owner's weight or limits: what is named, from now on. Raises Invalid, whose `field` says where."""
        return self._client.call(calls.edit_owner(owner, _named(limits)))

    def share(self, owner: str) -> ShareView:
        """Read what an owner gets and uses."""
        return self._client.call(calls.owner_share(owner))


class AsyncOwners:
    """As Owners, awaited."""

    def __init__(self, client: AsyncCaller) -> None:
        self._client = client

    async def list(self) -> Found:
        """Read the owners that have jobs, or that something was set for, by name."""
        return [owner async for owner in self._client.walk(calls.owner_pages())]

    async def get(self, owner: str) -> Owner:
        """Read what is set for an owner."""
        return await self._client.call(calls.owner(owner))

    async def edit(self, owner: str, **limits: Unpack[Limits]) -> Owner:
        """Set an owner's weight or limits. As `Owners.edit`."""
        return await self._client.call(calls.edit_owner(owner, _named(limits)))

    async def share(self, owner: str) -> ShareView:
        """Read what an owner gets and uses."""
        return await self._client.call(calls.owner_share(owner))


def _named(limits: Limits) -> dict[str, Any]:
    return {**limits}
