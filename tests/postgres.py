"""A real PostgreSQL for the tests: one cluster a test process, in a folder of its own, with a fresh database for each test.

It is Debian's package `postgresql`, of any version that is there, or the folder that ROTA_POSTGRES_BIN names. `initdb`
refuses root, so as root it runs as `nobody`. Nothing is flushed to the disk: no test here pulls the plug.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
import time
from functools import cache
from itertools import count
from pathlib import Path

import pytest

_QUICK = {
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "100",
}
_QUICK |= {"shared_buffers": "64MB", "log_min_messages": "fatal", "max_wal_size": "256MB", "shared_memory_type": "mmap"}
_names = count(1)


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, if it is installed."""
    if named := os.environ.get("ROTA_POSTGRES_BIN"):
        return Path(named)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    here = shutil.which("initdb")
    return None if here is None else Path(here).resolve().parent


class Cluster:
    """A PostgreSQL server that can be stopped, killed and started again. `port` is on 127.0.0.1."""

    def __init__(self, programs: Path, *, copy_of: Cluster | None = None, **settings: str) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="rota-pg-"))
        self._user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        if os.getuid() == 0:
            os.chown(self.folder, 65534, 65534)
        self._settings = {**_QUICK, **settings}
        self.port = free_port()
        if copy_of is None:
            self.run(
                "initdb", "-D", self.data, "-U", "rota", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
            )
        else:  # a standby that follows it
            self.run("pg_basebackup", "-D", self.data, "-d", copy_of.url(), "-R", "-c", "fast", "--no-sync")
        self.start()
        atexit.register(self.remove)

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    @property
    def pid(self) -> int:
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the cluster's user."""
        command = [*self._user, str(self.programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/")
        assert not check or done.returncode == 0, f"{program}: {done.stdout}\n{done.stderr}"
        return done

    def start(self) -> None:
        options = [f"-c {name}={value}" for name, value in self._settings.items()]
        options += [f"-p {self.port}", f"-k {self.folder}", "-h 127.0.0.1"]
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", self.data, "-o", " ".join(options), "-l", log, "-w", "-t", "60", "start")

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "60", "stop", check=False)

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("pg_ctl", "-D", self.data, "-w", "-t", "60", "promote")

    def remove(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://rota@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement with psql and return its rows as lines."""
        done = self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", statement)
        return done.stdout.strip()

    def new_database(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"t{next(_names)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def programs() -> Path:
    """Return the folder of PostgreSQL's programs; where there are none, skip the test, but fail in CI."""
    found = find_programs()
    if found is None:
        assert not os.environ.get("CI"), "CI has PostgreSQL: apt-get install postgresql"
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return found


@cache
def _shared(folder: Path) -> Cluster:
    return Cluster(folder)


def cluster() -> Cluster:
    """Return this test process's cluster; the first to ask starts it."""
    return _shared(programs())


def wait_for(true: object, seconds: float = 30.0) -> None:
    """Poll until a function says that something is so."""
    assert callable(true)
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
