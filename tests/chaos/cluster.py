"""The cluster: one PostgreSQL, servers and workers, real processes, each in a node of its own."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests import postgres
from tests.chaos import clock
from tests.chaos.network import Network
from tests.processes import alive

ROOT = Path(__file__).parents[2]
PORT = 8000
PATIENCE_S = 60.0
DISK_MB = 384


def wait_for(true: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> None:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def tree_of(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, as far as they are there."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


class Node:
    """A process in a node of the network, with a wall clock of its own. `lock` is held by the fault that strikes it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.address = cluster.network.join(name)
        self.clock = clock.Clock(cluster.library, cluster.folder / f"{name}.clock")
        self.log = cluster.folder / f"{name}.log"
        self.statuses: list[int] = []  # with which it ended on SIGTERM
        self._cluster = cluster
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        outer = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
        environment = outer | self._cluster.environment | self.clock.environment | {"PYTHONUNBUFFERED": "1"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._cluster.network.inside(self.name), sys.executable, "-m", "rota", *self.command()],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Kill it if it runs."""
        if self._process is not None:
            self.kill()

    def stop(self) -> int:
        """Ask it to end, and return its status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.statuses.append(self.process.wait(PATIENCE_S))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {PATIENCE_S:g} s of SIGTERM") from None
        return self.statuses[-1]


class Server(Node):
    @property
    def url(self) -> str:
        return f"http://{self.address}:{PORT}"

    def command(self) -> list[str]:
        lease_s, drain_s = self._cluster.lease_s, self._cluster.drain_s
        return [
            "serve", "--host", self.address, "--port", str(PORT), "--workers", "0", "--lease", str(lease_s),
            "--drain", str(drain_s), "--retention", "1d",
        ]  # fmt: skip

    def await_ready(self) -> None:
        """Start it again until it serves, as systemd and its like do: without PostgreSQL a server does not start."""

        def serves() -> bool:
            if self.process.poll() is not None:
                self.start()
            return self._is_ready()

        wait_for(serves, f"{self.name} is ready")

    def _is_ready(self) -> bool:
        asked = http.client.HTTPConnection(self.address, PORT, timeout=5)
        try:
            asked.request("GET", "/readyz")
            return asked.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            asked.close()


class Worker(Node):
    def command(self) -> list[str]:
        return [
            "worker", "--server", self._cluster.urls, "--app", "tests.chaos.app:app", "--name", self.name,
            "--slots", "2", "--drain", str(self._cluster.drain_s),
        ]  # fmt: skip


class Database(postgres.Cluster):
    """PostgreSQL in a node, its data and its log each on a small disk of its own."""

    name = "postgres"

    def __init__(self, cluster: Cluster) -> None:
        self.lock = threading.Lock()
        self.disks = {name: cluster.folder / name for name in ("data", "wal")}
        for disk in self.disks.values():
            disk.mkdir()
            size = f"size={DISK_MB}m,mode=700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], check=True, timeout=60)
            postgres.give(disk)
        programs = postgres.found()
        assert programs is not None
        super().__init__(
            programs,
            host=cluster.network.join(self.name),
            inside=cluster.network.inside(self.name),
            folder=self.disks["data"],
            initdb=["-X", str(self.disks["wal"] / "pg_wal"), "--wal-segsize=1"],
            outlived=False,  # all of it ends with its namespaces
            max_wal_size="64MB",
            min_wal_size="2MB",
            autovacuum="on",
            log_min_messages="warning",
        )
        with (Path(self.data) / "pg_hba.conf").open("a") as hba:
            hba.write("host all all 10.0.0.0/8 trust\n")
        self.run("pg_ctl", "-D", self.data, "reload")
        self.sql("CREATE DATABASE rota")

    def processes(self) -> list[psutil.Process]:
        try:
            return tree_of(self.pid)
        except (OSError, IndexError):
            return []

    def kill(self) -> None:
        """kill -9 of all of it."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def bring_up(self) -> None:
        """Start it, as often as it takes: what was killed may not have gone, and a disk may just have been emptied."""

        def started() -> bool:
            if self.run("pg_ctl", "-D", self.data, "status", check=False).returncode != 0:
                with suppress(AssertionError):
                    self.start()
            done = self.run("psql", "-XAtq", "-d", self.url("rota"), "-c", "SELECT 1", check=False)
            return done.returncode == 0

        wait_for(started, "PostgreSQL is up")

    def fill(self, disk: str) -> Path:
        """Take all the space that is left of a disk; what is returned holds it."""
        ballast = self.disks[disk] / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        return ballast


class Cluster:
    """`servers` and `workers` are how many; everything is in `folder`, which must be empty."""

    def __init__(
        self, folder: Path, *, servers: int = 3, workers: int = 4, lease_s: float, drain_s: float = 4.0
    ) -> None:
        self.folder = folder
        self.lease_s = lease_s
        self.drain_s = drain_s
        self.ledger = folder / "ledger"
        self.ledger.mkdir()
        self.token = secrets.token_hex(32)
        (folder / "token").write_text(self.token)
        (folder / "token").chmod(0o600)
        self.library = clock.build(folder)
        self.network = Network()
        self.database = Database(self)
        self.environment = {
            "ROTA_STORE": self.database.url("rota"),
            "ROTA_TOKEN_FILE": str(folder / "token"),
            "ROTA_TOKEN": self.token,
            "ROTA_CHAOS_LEDGER": str(self.ledger),
            "ROTA_LOG_FORMAT": "json",
        }
        self.servers = [Server(self, f"server-{n}") for n in range(1, servers + 1)]
        self.urls = ",".join(server.url for server in self.servers)
        self.workers = [Worker(self, f"worker-{n}") for n in range(1, workers + 1)]
        self.nodes: dict[str, Node] = {node.name: node for node in [*self.servers, *self.workers]}

    def start(self) -> None:
        """Start all at once: who comes first makes the tables."""
        for node in self.nodes.values():
            node.start()
        for server in self.servers:
            server.await_ready()

    def locks_of(self, target: str) -> list[threading.Lock]:
        """Return the locks of what a fault strikes, in an order that all faults keep to."""
        if target == "all servers":
            return [server.lock for server in self.servers]
        names = sorted(target.split(" and "))
        return [self.database.lock if name == "postgres" else self.nodes[name].lock for name in names]

    def end(self) -> None:
        """Kill all that is left."""
        for node in self.nodes.values():
            node.end()
        self.database.kill()

    def complaints(self) -> list[str]:
        """Return what servers, workers and PostgreSQL wrote down of errors that none of them should meet."""
        found = []
        for log in [node.log for node in self.nodes.values()] + [self.database.folder / "log"]:
            lines = iter(log.read_text(errors="replace").splitlines())
            for line in lines:
                if line.startswith("Traceback"):  # its first line that is not indented says what happened
                    line = next((later for later in lines if not later.startswith(" ")), "Traceback")
                elif "Traceback" not in line and "deadlock detected" not in line:
                    continue
                found.append(f"{log.stem} wrote: {line[-1500:]}")
        return found

    def noted(self) -> Counter[str]:
        """Count what servers and workers have logged, warnings and worse."""
        counted: Counter[str] = Counter()
        for node in self.nodes.values():
            for line in node.log.read_text(errors="replace").splitlines():
                with suppress(ValueError, TypeError, KeyError):
                    entry = json.loads(line)
                    if entry["level"] != "info":
                        counted[entry["event"]] += 1
        return counted

    def stop(self) -> list[str]:
        """Stop everything gracefully; return what was wrong with that."""
        wrong = []
        for node in [*self.workers, *self.servers]:
            try:
                status = node.stop()
            except AssertionError as late:
                wrong.append(str(late))
            else:
                if status != 0:
                    wrong.append(f"{node.name} ended with status {status} on SIGTERM")
        database = self.database.processes()
        self.database.stop()
        wait_for(lambda: not alive(database), "PostgreSQL is gone")  # its pid file goes a moment before it does
        return wrong

    def left_over(self) -> list[str]:
        """Return the processes that run though all was stopped: in this namespace there is nobody else's."""
        ours = {os.getpid(), 1}
        left = []
        for process in alive(psutil.process_iter()):
            with suppress(psutil.NoSuchProcess):
                if process.pid not in ours:
                    left.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
        return left

    def save_logs(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for log in [*self.folder.glob("*.log"), self.database.folder / "log"]:
            with suppress(OSError):
                shutil.copyfile(log, folder / f"{log.stem}.log")
