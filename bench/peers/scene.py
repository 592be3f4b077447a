"""A peer with a broker of its own, which is new; its clients and workers are processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from tests.valkey import Valkey

from bench import cluster
from bench.peers import environments
from bench.peers.table import Peer
from bench.peers.ticks import Holds, Ticks
from bench.peers.work import BROKER, HOLDS, TICKS

_ROOT = Path(__file__).parent.parent.parent
_STOP_S = 20.0


class Scene:
    """What a peer needs around it."""

    def __init__(self, peer: Peer, folder: Path, url: str, serves: list[psutil.Process]) -> None:
        self.peer = peer
        self.ticks = Ticks(str(folder / "ticks"))
        self.holds = Holds(str(folder / "holds"))
        self._serves = serves
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        self.server = f"http://127.0.0.1:{port}"
        self._words = environments.words(peer) | {"{broker}": url, "{port}": port}
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
        self._environ |= {BROKER: url, TICKS: str(folder / "ticks"), HOLDS: str(folder / "holds")}
        self._environ |= {"ROTA_SERVER": self.server, "PYTHONWARNINGS": "ignore"}
        self._environ["ROTA_BENCH_MODULES"] = environments.modules(peer)
        self.processes: list[subprocess.Popen[bytes]] = []

    def produce(self, what: str, count: int = 0) -> str:
        """Have a client do something; return what it prints."""
        command = [*environments.client(self.peer), what, str(count)]
        done = subprocess.run(command, cwd=_ROOT, env=self._environ, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    @contextmanager
    def running(self, commands: Sequence[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Run commands until the block is left; what they leave behind is ended too."""
        started = [
            subprocess.Popen(
                [self._words.get(word, word) for word in command.split()],
                cwd=_ROOT,
                env=self._environ,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            for command in commands
        ]
        self.processes += started
        try:
            yield started
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _STOP_S
            for process in started:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
            kill(started)
            self.processes = [process for process in self.processes if process not in started]

    def tree(self) -> list[psutil.Process]:
        """Return the processes of workers and server, and all below them."""
        found = []
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                one = psutil.Process(process.pid)
                found += [one, *one.children(recursive=True)]
        return found

    def broker(self) -> list[psutil.Process]:
        """Return the processes of the broker."""
        found = []
        for one in self._serves:
            with suppress(psutil.NoSuchProcess):
                found += [one, *one.children(recursive=True)]
        return found


def kill(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes, and what they left behind: each leads a process group of its own."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def scene(peer: Peer) -> Iterator[Scene]:
    """Start a new broker, and a server where there is one."""
    with tempfile.TemporaryDirectory(prefix="rota-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with _broker(peer, folder) as (url, serves):
            one = Scene(peer, folder, url, serves)
            with one.running([peer.server] if peer.server else []):
                if peer.server:
                    _wait_ready(f"{one.server}/readyz")
                yield one


@contextmanager
def _broker(peer: Peer, folder: Path) -> Iterator[tuple[str, list[psutil.Process]]]:
    match peer.broker:
        case "valkey":
            valkey = Valkey(folder)
            try:
                yield valkey.url, [psutil.Process(valkey.process.pid)]
            finally:
                valkey.kill()
        case "postgres":
            with cluster.new_database() as database:
                yield database.url, [psutil.Process(database.cluster.pid)]
        case "sqlite":
            yield f"sqlite:///{folder}/bench.db", []


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # ours
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
