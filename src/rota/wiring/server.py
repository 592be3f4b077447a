"""Puts a server together: store, service, HTTP edge, its own workers. Takes it apart in the opposite order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from rota import log
from rota.client.hook_targets import Targets
from rota.client.hooks import HookSender
from rota.core.errors import Unavailable
from rota.http.app import create_app
from rota.http.entrance import Entrance
from rota.http.gate import Gate
from rota.http.metrics import Metrics
from rota.http.server import HttpServer, Tls
from rota.service.observer import Step
from rota.service.service import Service
from rota.service.tokens import Tokens
from rota.settings import Settings
from rota.store.protocol import Store
from rota.store.sqlite.store import SqliteStore
from rota.wiring.bells import bell_of
from rota.wiring.fleet import Fleet
from rota.wiring.gatekeeping import gate_of, hook_targets
from rota.wiring.heritage import Heritage
from rota.wiring.stopping import Stop, until_stopped
from rota.wiring.stores import open_store, shown, socket_path
from rota.worker import proctree

LOG = log.get("server")
T = TypeVar("T")
_LOOK_S = 1.0  # between two looks for a database that is away


async def run_server(
    settings: Settings, *, worker_arguments: Sequence[str] = (), heritage: Heritage | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends everything at once. A database that is away is waited for.

    With a `heritage` this is one of several processes, and the workers are its parent's. Raises Invalid, StoreInUse,
    StoreTooNew, Unavailable, OSError (the port is taken), WorkerFailed.
    """
    proctree.set_readable(False)  # our environment, with its secrets, is none of a job's business
    store = open_store(settings.store)
    stop = Stop()
    async with AsyncExitStack() as stack:
        if heritage is not None:
            heritage.watch()
        socket = socket_path(store) if isinstance(store, SqliteStore) else _private_socket(stack)
        sender = HookSender(Targets(hook_targets(settings)))
        stack.push_async_callback(sender.close)
        metrics = Metrics() if heritage is None else Metrics(heritage.tallies.share)
        service = _service_of(settings, store, sender, metrics)
        entrance = Entrance("the store is not there yet", allowed_hosts=_names(settings))
        look = partial(_look, store, settings, service.tokens)
        http: HttpServer | None = None
        try:
            gate = await stop.unless(look())
        except Unavailable as error:
            if not error.away:
                raise
            http = _http_of(settings, service, entrance, socket, heritage)
            stack.push_async_callback(http.stop)
            await http.start()
            LOG.warning("store_awaited", store=shown(settings.store), error=error, url=http.url)
            gate = await stop.unless(_found(look))
        if gate is None:
            return
        stack.push_async_callback(store.close)
        entrance.app = create_app(
            service,
            metrics=metrics,
            gate=gate,
            own_workers=settings.workers,
            apis=settings.apis,
            allowed_hosts=_names(settings),
        )
        await service.start()
        stack.push_async_callback(service.stop)
        if http is None:
            http = _http_of(settings, service, entrance, socket, heritage)
            await http.start()
        stack.push_async_callback(http.stop)
        if heritage is not None:
            heritage.say_listening()
            await stop.unless(heritage.tell(metrics))
            return
        lock_fd = store.lock_fd if isinstance(store, SqliteStore) else None
        LOG.info("server_listening", url=http.url, store=shown(settings.store), workers=settings.workers)
        await _with_workers(settings, stop, f"unix:{socket}", worker_arguments, lock_fd)
    LOG.info("server_stopped")


async def _with_workers(
    settings: Settings, stop: Stop, server: str, arguments: Sequence[str], lock_fd: int | None
) -> None:
    """Start the server's own workers; return when a stop was asked for, and they have ended."""
    fleet = Fleet(
        settings.workers,
        [server],
        arguments,
        lock_fd,
        died=lambda name, status: LOG.warning("worker_died", name=name, status=status),
    )
    await until_stopped(fleet, settings.drain_s, stop)


def _service_of(settings: Settings, store: Store, sender: HookSender, metrics: Metrics) -> Service:
    return Service(
        store,
        sender=sender,
        lease_s=settings.lease_s,
        pull_lease_s=settings.pull_lease_s,
        retention_s=settings.retention_s,
        hook_secret=settings.hook_secret,
        zone=settings.zone,
        observer=metrics,
        failed=partial(_say, metrics),
        bell=bell_of(settings, store),
    )


async def _look(store: Store, settings: Settings, tokens: Tokens) -> Gate:
    """Open the store, and say who may use the server. Raises what opening raises: then it stays closed."""
    await store.open()
    try:
        return await gate_of(settings, tokens)
    except BaseException:
        await store.close()
        raise


async def _found(look: Callable[[], Awaitable[T]]) -> T:
    """Look again and again until the database can be reached."""
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            return await look()
        except Unavailable as error:
            if not error.away:
                raise


def _http_of(
    settings: Settings, service: Service, entrance: Entrance, socket: Path, heritage: Heritage | None
) -> HttpServer:
    return HttpServer(
        service,
        entrance,
        host=settings.host,
        port=settings.port,
        public=True,  # the gate asks for tokens there, unless it was told not to
        tls=None if settings.tls_cert is None else Tls(settings.tls_cert, settings.tls_key),
        connections=settings.connections,
        socket_path=socket if heritage is None else None,
        inherited=None if heritage is None else (heritage.listener, heritage.beside),
    )


def _say(metrics: Metrics, step: Step, error: Exception) -> None:
    metrics.step_failed(step)
    if step == "signals":
        LOG.warning("signals_lost", error=error)
    else:
        LOG.warning("upkeep_failed", step=step, error=error)


def _names(settings: Settings) -> tuple[str, ...]:
    """Return the names that the server answers to: those that were given, and the address that it listens on."""
    wild = settings.host in ("0.0.0.0", "::")  # noqa: S104  # read, not bound
    return settings.allowed_hosts if wild else (*settings.allowed_hosts, settings.host)


def _private_socket(stack: AsyncExitStack) -> Path:
    """Return where this server listens for its own workers, in a folder that only its user can enter."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rota-"))) / "rota.sock"
