"""Puts a server together: store, service, HTTP edge, its own workers. Takes it apart in the opposite order."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

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
from rota.wiring.stores import open_store, shown, socket_path
from rota.worker import proctree

LOG = log.get("server")
T = TypeVar("T")
_LOOK_S = 1.0  # between two looks for a database that is away
_MORE_THAN_DRAIN_S = 8.0  # beyond the drain, a worker's jobs have their grace before they are given back


async def run_server(settings: Settings, *, worker_arguments: Sequence[str] = ()) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends everything at once. A database that is away is waited for.

    Raises Invalid, StoreInUse, StoreTooNew, Unavailable, OSError (the port is taken), WorkerFailed.
    """
    proctree.set_readable(False)  # our environment, with its secrets, is none of a job's business
    store = open_store(settings.store)
    stop = Stop()
    async with AsyncExitStack() as stack:
        socket = socket_path(store) if isinstance(store, SqliteStore) else _private_socket(stack)
        sender = HookSender(Targets(hook_targets(settings)))
        stack.push_async_callback(sender.close)
        metrics = Metrics()
        service = _service_of(settings, store, sender, metrics)
        entrance = Entrance("the store is not there yet", allowed_hosts=_names(settings))
        look = partial(_look, store, settings, service.tokens)
        http: HttpServer | None = None
        try:
            gate = await stop.unless(look())
        except Unavailable as error:
            if not error.away:
                raise
            http = _http_of(settings, service, entrance, socket)
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
            http = _http_of(settings, service, entrance, socket)
            await http.start()
        stack.push_async_callback(http.stop)
        fleet = Fleet(
            settings.workers,
            f"unix:{socket}",
            worker_arguments,
            store.lock_fd if isinstance(store, SqliteStore) else None,
            died=lambda name, status: LOG.warning("worker_died", name=name, status=status),
        )
        stack.callback(fleet.kill)
        LOG.info("server_listening", url=http.url, store=shown(settings.store), workers=settings.workers)
        await _until_stopped(fleet, settings.drain_s, stop)
    LOG.info("server_stopped")


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


def _http_of(settings: Settings, service: Service, entrance: Entrance, socket: Path) -> HttpServer:
    return HttpServer(
        service,
        entrance,
        host=settings.host,
        port=settings.port,
        public=True,  # the gate asks for tokens there, unless it was told not to
        tls=None if settings.tls_cert is None else Tls(settings.tls_cert, settings.tls_key),
        connections=settings.connections,
        socket_path=socket,
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


class Stop:
    """What SIGTERM and SIGINT ask for: with the first to stop, with the second to stop `now`. From when it is made on."""

    def __init__(self) -> None:
        self.asked, self.now = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        (self.now if self.asked.is_set() else self.asked).set()

    async def unless(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do work and return its result; when a stop is asked for before it is done, end it and return None."""
        task, asked = asyncio.ensure_future(work), asyncio.ensure_future(self.asked.wait())
        try:
            await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            asked.cancel()
            task.cancel()
            await asyncio.wait((task,))


async def _until_stopped(fleet: Fleet, drain_s: float, stop: Stop) -> None:
    workers = asyncio.create_task(fleet.run(), name="workers")
    stopping = asyncio.create_task(stop.asked.wait())
    try:
        await asyncio.wait((stopping, workers), return_when=asyncio.FIRST_COMPLETED)
        if not stop.asked.is_set() and workers.done() and (error := workers.exception()) is not None:
            raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
        await stop.asked.wait()  # a server may have no workers of its own
        LOG.info("server_draining", drain_s=drain_s)
        draining = asyncio.create_task(fleet.stop(drain_s + _MORE_THAN_DRAIN_S))
        at_once = asyncio.create_task(stop.now.wait())
        await asyncio.wait((draining, at_once), return_when=asyncio.FIRST_COMPLETED)
        at_once.cancel()
        if not draining.done():
            fleet.kill()
            await draining
    finally:
        stopping.cancel()
        fleet.kill()
        with suppress(BaseException):
            await workers
