"""Floor 3: the SDK and the HTTP work queue. Speaks HTTP, and imports nothing of ours but `core` and the settings.

Names are imported when they are first used: a command line needs no asyncio, a worker no blocking client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rota.client.async_client import AsyncClient, AsyncJob
    from rota.client.client import Client, Job
    from rota.client.problems import JobFailed, Refused, ServerUnreachable

__all__ = ["AsyncClient", "AsyncJob", "Client", "Job", "JobFailed", "Refused", "ServerUnreachable"]

_MODULES = {
    "AsyncClient": "async_client",
    "AsyncJob": "async_client",
    "Client": "client",
    "Job": "client",
    "JobFailed": "problems",
    "Refused": "problems",
    "ServerUnreachable": "problems",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
