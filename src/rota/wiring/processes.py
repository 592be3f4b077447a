"""Several server processes at one address: `rota serve --processes`, on PostgreSQL.

The parent answers no request. It binds the address, and each process inherits the socket, so that none is missed while one
is started again; which of them takes a connection is the kernel's to say. Each also has a Unix socket of its own, which the
parent holds as well: the parent's workers are spread over these, and outlive the process that they talk to.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from msgspec.structs import replace

from rota import log
from rota.core.errors import Invalid, Unavailable
from rota.http.listening import listen, listen_at, url_of
from rota.service.tokens import Tokens
from rota.settings import Settings
from rota.wiring.fleet import Fleet
from rota.wiring.gatekeeping import gate_of
from rota.wiring.heritage import Heritage, send_secrets
from rota.wiring.kept import Kept
from rota.wiring.stopping import Stop, until_stopped
from rota.wiring.stores import is_postgres, open_store, shown
from rota.wiring.tallies import Tallies
from rota.worker import proctree
from rota.worker.link import clean_environment

LOG = log.get("server")
_BACKLOG = 2048
_PATIENCE_S = 15.0  # for requests that have begun, and streams: a server process gives them 5


class ServerFailed(Exception):
    """A server process cannot start. It has said why on its standard error; `status` is how it ended."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def check(settings: Settings) -> None:
    """Raise Invalid unless several processes can share the store."""
    if not is_postgres(settings.store):
        raise Invalid(
            "processes",
            f"is {settings.processes}, but an embedded store is one process's: its file has one owner. "
            "With PostgreSQL there may be several: --store postgresql://…",
        )


async def run_processes(settings: Settings, *, arguments: Sequence[str], worker_arguments: Sequence[str] = ()) -> None:
    """Serve by `settings.processes` until SIGTERM or SIGINT; a second one ends the workers' jobs at once.

    `arguments` are those of `rota serve` that each process gets again. Raises as run_server does, and ServerFailed.
    """
    proctree.set_readable(False)  # our environment, with its secrets, is none of a job's business
    stop = Stop()
    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings.host, settings.port, public=True))
        listener.listen(_BACKLOG)
        url = url_of(settings.host, listener.getsockname()[1], tls=settings.tls_cert is not None)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rota-")))
        paths = [folder / f"{n + 1}.sock" for n in range(settings.processes)]
        beside = [stack.enter_context(listen_at(path)) for path in paths]
        for each in beside:
            each.listen(_BACKLOG)
        if await stop.unless(_look(settings)) is None:
            return
        servers = Servers(
            arguments,
            listener,
            beside,
            listens=lambda: LOG.info(
                "server_listening", url=url, store=shown(settings.store), workers=settings.workers
            ),
            died=lambda name, status: LOG.warning("server_died", name=name, status=status),
            failed=stop.at_once,
        )
        fleet = Fleet(
            settings.workers,
            [f"unix:{path}" for path in paths],
            worker_arguments,
            died=lambda name, status: LOG.warning("worker_died", name=name, status=status),
        )
        keeping = asyncio.create_task(servers.run(), name="servers")
        try:
            await until_stopped(fleet, settings.drain_s, stop)
        finally:
            await servers.stop(_PATIENCE_S)
            await keeping
    if servers.failure is not None:
        raise servers.failure
    LOG.info("server_stopped")


async def _look(settings: Settings) -> bool:
    """Do once what each process would do first, and say once what is wrong: open the store, see that somebody may come in."""
    store = open_store(settings.store)
    try:
        await store.open()
    except Unavailable as error:
        if not error.away:
            raise
        return True  # each process waits for it, and says so
    try:
        await gate_of(settings, Tokens(store, secret=secrets.token_hex, zone=settings.zone))
    finally:
        await store.close()
    return True


class Servers(Kept):
    """Server processes, one for each socket in `beside`; all of them listen at `listener`.

    `listens` is called when the first of them does. One that ends by itself before it has listened for the first time is not
    started again: `failure` says so, and `failed` is called.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        listener: socket.socket,
        beside: Sequence[socket.socket],
        *,
        listens: Callable[[], None],
        died: Callable[[str, int], None],
        failed: Callable[[], None],
    ) -> None:
        super().__init__([f"server-{at + 1}" for at in range(len(beside))], died)
        self._tallies = Tallies.make(len(beside))
        self.failure: ServerFailed | None = None
        self._arguments = list(arguments)
        self._listener = listener
        self._beside = dict(zip(self.names, beside, strict=True))
        self._listens = listens
        self._failed = failed
        self._lines: dict[str, socket.socket] = {}  # to those that run
        self._listened: set[str] = set()

    async def run(self) -> None:
        """Keep the processes running until `stop`."""
        try:
            await super().run()
        finally:
            for name in list(self._lines):
                self._forget(name)
            os.close(self._tallies.fd)

    def kill(self) -> None:
        """End all at once: what their clients wait for they do not hear."""
        self._stopping.set()
        for process in self._running.values():
            process.kill()

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        ours, theirs = socket.socketpair()
        tallies = replace(self._tallies, at=self.names.index(name))
        heritage = Heritage(self._listener, self._beside[name], theirs, tallies)
        with theirs:
            process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [sys.executable, "-m", "rota", "serve", *self._arguments, *heritage.words()],
                pass_fds=heritage.fds,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C goes to the parent alone
                env=clean_environment(os.environ),
            )
        with suppress(OSError):  # it has ended
            send_secrets(ours, _secrets(os.environ))
        ours.setblocking(False)
        self._lines[name] = ours
        asyncio.get_running_loop().add_reader(ours, self._hear, name)
        return process

    def _hear(self, name: str) -> None:
        line = self._lines[name]
        try:
            listens = bool(line.recv(1))
        except BlockingIOError:
            return
        except OSError:
            listens = False
        if not listens:
            self._forget(name)
            return
        if not self._listened:
            self._listens()
        self._listened.add(name)

    def _forget(self, name: str) -> None:
        if (line := self._lines.pop(name, None)) is not None:
            asyncio.get_running_loop().remove_reader(line)
            line.close()

    def _goes_on(self, name: str, status: int) -> bool:
        self._forget(name)
        if status < 0 or name in self._listened:
            return True
        self.failure = ServerFailed(status)
        self._stopping.set()
        self._failed()
        return False


def _secrets(environment: Mapping[str, str]) -> dict[str, str]:
    kept = clean_environment(environment)
    return {name: value for name, value in environment.items() if name not in kept}
