"""A real `rota serve` in a process of its own, on a store that is the benchmark's alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

import rota
from rota.client.problems import ServerUnreachable
from rota.core.errors import RotaError

_ROOT = Path(__file__).parent.parent
_START_S = 30.0
_STOP_S = 60.0


class Store:
    """A store's file; servers run on it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "bench.db"

    @contextmanager
    def serve(self, *, workers: int, slots: int | None = None, lease_s: float = 15.0) -> Iterator[Server]:
        """Run a server until the block is left."""
        with serving(f"sqlite:///{self.file}", workers=workers, slots=slots, lease_s=lease_s) as server:
            yield server

    def drained(self, priority: int) -> tuple[int, float]:
        """Return how many jobs of a priority succeeded, and the seconds from their first claim to their last settlement."""
        with sqlite3.connect(self.file) as con:
            count, first, last = con.execute(
                "SELECT count(*), min(started_at), max(finished_at) FROM rota_jobs WHERE state = 'succeeded' AND priority = ?",
                (priority,),
            ).fetchone()
        con.close()
        return count, (last - first) / 1e6


@contextmanager
def serving(
    url: str, *, workers: int, slots: int | None = None, lease_s: float = 15.0, signals: str = "auto"
) -> Iterator[Server]:
    """Run a server on a store until the block is left."""
    server = Server(url, workers, slots, lease_s, signals)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()


@contextmanager
def new_store() -> Iterator[Store]:
    """Make a store in a folder of its own, which is removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="rota-bench-"))
    try:
        yield Store(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """A server process, and clients of it."""

    def __init__(self, store: str, workers: int, slots: int | None, lease_s: float, signals: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers = workers
        command = [
            sys.executable, "-m", "rota", "serve", "--port", str(self.port), "--workers", str(workers),
            "--lease", str(lease_s), "--signals", signals, "--app", "bench.handlers:app",
        ]  # fmt: skip
        if slots is not None:
            command += ["--slots", str(slots)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
        environment |= {"ROTA_STORE": store, "ROTA_LOG_LEVEL": "warning", "ROTA_RETENTION": "30000d"}
        self.process = subprocess.Popen(command, cwd=_ROOT, env=environment)

    def client(self) -> rota.Client:
        """Return a client over TCP, as a program would have it."""
        return rota.Client(self.url)

    def wait_ready(self) -> None:
        """Wait until the server answers and all its workers are there."""
        deadline = time.monotonic() + _START_S
        with rota.Client(self.url, tries=1, timeout=2) as client:
            while True:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the server does not start; it has said why above")
                with suppress(ServerUnreachable, RotaError):
                    if sum(worker.state == "present" for worker in client.workers()) >= self.workers:
                        return
                time.sleep(0.02)

    def wait_idle(self, others: int = 0) -> None:
        """Wait until no job is running, and none is queued but so many others, which nobody takes."""
        with self.client() as client:
            while True:
                jobs = client.stats()["jobs"]
                if jobs["queued"] == others and jobs["running"] == 0:
                    return
                time.sleep(0.2)

    def family(self) -> list[psutil.Process]:
        """Return the server's process and all below it."""
        server = psutil.Process(self.process.pid)
        return [server, *server.children(recursive=True)]

    def stop(self) -> None:
        """End the server as Ctrl-C does."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
