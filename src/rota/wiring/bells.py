"""From the settings to what carries hints between servers."""

from __future__ import annotations

import secrets

from rota.client.redis import RedisBell
from rota.core.errors import Invalid
from rota.service.relay import Bell
from rota.settings import Settings
from rota.store.postgres.bell import NotifyBell
from rota.store.protocol import Store


def bell_of(settings: Settings, store: Store) -> Bell | None:
    """Return the bell of a server; None where there is no other server, or none is wanted. Raises Invalid."""
    if store.exclusive:
        if settings.signals not in ("auto", "none"):
            raise Invalid("signals", "are for servers that share a PostgreSQL store; an SQLite file has one server")
        return None
    if settings.signals == "none":
        return None
    if settings.signals == "auto":
        return NotifyBell(settings.store, secrets.token_hex(8))
    return RedisBell(settings.signals)
