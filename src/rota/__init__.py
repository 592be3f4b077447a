"""Rota: durable jobs, and aborts that abort. Nothing is imported before it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rota.client.async_client import AsyncClient as AsyncClient
    from rota.client.client import Client as Client
    from rota.client.flow import Flow as Flow
    from rota.wiring.inside import submit_in as submit_in
    from rota.worker.app import App as App
    from rota.worker.context import Aborted as Aborted
    from rota.worker.context import Context as Context
    from rota.worker.context import Fail as Fail
    from rota.worker.context import Retry as Retry
    from rota.worker.context import Snooze as Snooze
    from rota.worker.middleware import Call as Call

_HOMES = dict.fromkeys(("Aborted", "Context", "Fail", "Retry", "Snooze"), "rota.worker.context") | {
    "App": "rota.worker.app",
    "Call": "rota.worker.middleware",
    "AsyncClient": "rota.client.async_client",
    "Client": "rota.client.client",
    "Flow": "rota.client.flow",
    "submit_in": "rota.wiring.inside",
}
__all__ = ["Aborted", "App", "AsyncClient", "Call", "Client", "Context", "Fail", "Flow", "Retry", "Snooze", "submit_in"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: a handler's module needs no client, and a worker's keeper needs nothing."""
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value
