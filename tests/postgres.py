"""A real PostgreSQL for the tests: one cluster a test process, in a folder of its own, with a fresh database for each test.

It is Debian's package `postgresql`, of any version that is there, or that of ROTA_POSTGRES_BIN, the folder of `initdb`,
`pg_ctl` and `postgres`. `initdb` refuses root, so as root it runs as `nobody`. Nothing is flushed to the disk: no test here
pulls the plug. A cluster ends with the process that made it, however that ends.

A cluster and a schema are dear to make, a fifth of a second of processor time each. A run of the tests makes one of each,
and its processes work on copies (`new_store`). A store that is given back is emptied for the next test (`take_store`,
`give_store`).
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from rota.store.postgres.store import PostgresStore
from tests import leavings

RUN = "TESTS_OF_ONE_RUN"  # names the folder that the processes of a run of the tests share (tests/conftest.py)
_TEMPLATE = "rota_template"
_EMPTY = """
SET lock_timeout = '5s';
SET session_replication_role = replica;  -- all goes, in whatever order
DO $$ DECLARE one record; BEGIN
  FOR one IN SELECT oid, relname FROM pg_class
      WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'rota_schema' LOOP
    EXECUTE format(CASE WHEN pg_relation_size(one.oid) > 1000000 THEN 'TRUNCATE %I CASCADE' ELSE 'DELETE FROM %I' END,
      one.relname);
  END LOOP;
  FOR one IN SELECT seqrelid, seqstart FROM pg_sequence LOOP
    PERFORM setval(one.seqrelid::regclass, one.seqstart, false);
  END LOOP;
END $$
"""
_IN_USE = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_IN_USE += " AND xact_start IS NOT NULL"
_QUICK = {
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "100",
}
_QUICK |= {"shared_buffers": "64MB", "log_min_messages": "fatal", "max_wal_size": "256MB", "shared_memory_type": "mmap"}
_INITDB = ["-U", "rota", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
# What is done when the test process is gone: the server, if it is still this one, and its folder go too.
_LAST_WILL = """
cat >/dev/null
if [ -e "$1/data/postmaster.pid" ] && read -r pid <"$1/data/postmaster.pid"; then
  grep -qF "$1/data" "/proc/$pid/cmdline" && kill -QUIT "$pid"
fi
rm -rf "$1" || { sleep 1; rm -rf "$1"; }
"""
_names = count(1)


def found() -> Path | None:
    """Return the folder of PostgreSQL's programs, if there is one."""
    if named := os.environ.get("ROTA_POSTGRES_BIN"):
        return Path(named)
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if packaged:
        return packaged[-1].parent
    here = shutil.which("initdb")
    return None if here is None else Path(here).resolve().parent


def _is_mapped() -> bool:
    """Say whether there is a user `nobody` to become: who is root in a namespace of users alone has none."""
    rows = [[int(number) for number in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= 65534 < first + count for first, _, count in rows)


def _as_nobody() -> list[str]:
    """Return what stands before a command so that it does not run as root."""
    if os.getuid() != 0:
        return []
    if _is_mapped():
        return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534"]


def give(folder: Path) -> None:
    """Let PostgreSQL have a folder, if we are root."""
    if os.getuid() == 0 and _is_mapped():
        os.chown(folder, 65534, 65534)


class Cluster:
    """A PostgreSQL server that can be stopped, killed and started again. `port` is on `host`.

    `inside` stands before each of its commands (to enter a namespace); `initdb` is more to say to that program. A `folder`
    that is given has to exist. With either it is made anew, not copied. Unless it may be `outlived`, what ends it is
    something else than the end of this process: that of a namespace.
    """

    def __init__(
        self,
        programs: Path,
        *,
        copy_of: Cluster | None = None,
        host: str = "127.0.0.1",
        inside: Sequence[str] = (),
        folder: Path | None = None,
        initdb: Sequence[str] = (),
        outlived: bool = True,
        **settings: str,
    ) -> None:
        self.programs = programs
        self.folder = folder or Path(tempfile.mkdtemp(prefix="rota-pg-"))
        self.host = host
        self._before = [*inside, *_as_nobody()]
        give(self.folder)
        # It reads from us, and so learns of our end, also when we are killed.
        will = ["sh", "-c", _LAST_WILL, "sh", str(self.folder)]
        self._last = subprocess.Popen(will, stdin=subprocess.PIPE, start_new_session=True) if outlived else None
        self._settings = {**_QUICK, **settings}
        self.port = free_port()
        self._free: list[str] = []
        made = None if copy_of or folder or initdb else _made(programs)
        if copy_of is not None:  # a standby that follows it
            self.run("pg_basebackup", "-D", self.data, "-d", copy_of.url(), "-R", "-c", "fast", "--no-sync")
        elif made is not None:
            subprocess.run(["cp", "-a", made, self.data], check=True, timeout=120)
        else:
            self.run("initdb", "-D", self.data, *_INITDB, *initdb)
        self._template = f" TEMPLATE {_TEMPLATE}" if made is not None else ""
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
        found = shutil.which(program, path=f"{self.programs}:{os.environ['PATH']}")  # some builds lack clients
        assert found is not None, f"there is no {program}"
        command = [*self._before, found, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/")
        assert not check or done.returncode == 0, f"{program}: {done.stdout}\n{done.stderr}"
        return done

    def start(self) -> None:
        options = [f"-c {name}={value}" for name, value in self._settings.items()]
        options += [f"-p {self.port}", f"-k {self.folder}", f"-h {self.host}"]
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", self.data, "-o", " ".join(options), "-l", log, "-w", "-t", "60", "start")

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "-D", self.data, "-m", mode, "-w", "-t", "60", "stop", check=False)

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("pg_ctl", "-D", self.data, "-w", "-t", "60", "promote")

    def remove(self) -> None:
        self.stop("immediate")
        leavings.remove(self.folder)
        self.bequeath_nothing()

    def bequeath_nothing(self) -> None:
        """Leave no last will: there is nothing left in the folder, or the folder is somewhere else now."""
        if self._last is not None:
            self._last.communicate(timeout=60)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://rota@{self.host}:{self.port}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement with psql and return its rows as lines."""
        done = self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", statement)
        return done.stdout.strip()

    def new_database(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"t{next(_names)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def new_store(self) -> str:
        """Return the URL of a new database for a store. If it can be had for less its schema is there already."""
        name = f"t{next(_names)}"
        self.sql(f"CREATE DATABASE {name}{self._template}")
        return self.url(name)

    def take_store(self) -> str:
        """Return the URL of an empty store, which `give_store` takes back."""
        return self._free.pop() if self._free else self.new_store()

    async def give_store(self, url: str) -> None:
        """Empty a store for who takes the next, when nothing uses it any more and its schema is what it was."""
        con = await asyncpg.connect(url)
        try:
            version = await con.fetchval("SELECT max(version) FROM rota_schema")
            if version == PostgresStore.schema_version and not await con.fetchval(_IN_USE):
                await con.execute(_EMPTY)
                self._free.append(url)
        except asyncpg.PostgresError:  # one that was left as no other test wants it
            return
        finally:
            await con.close()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def programs() -> Path:
    """Return the folder of PostgreSQL's programs; where there are none, skip the test, but fail in CI."""
    folder = found()
    if folder is None:
        assert not os.environ.get("CI"), "CI has PostgreSQL: apt-get install postgresql"
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return folder


@cache
def _made(programs: Path) -> Path | None:
    """Return the data of a cluster with a database `rota_template`, made once in a run of the tests; None outside of one."""
    if RUN not in os.environ:
        return None
    folder = Path(os.environ[RUN]) / f"postgresql{str(programs).replace('/', '-')}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            making = folder.with_suffix(".new")
            making.mkdir(mode=0o755)
            cluster = Cluster(programs, folder=making)
            cluster.sql(f"CREATE DATABASE {_TEMPLATE}")
            with ThreadPoolExecutor(1) as thread:  # there may be a loop in this one
                thread.submit(asyncio.run, _migrate(cluster.url(_TEMPLATE))).result()
            cluster.stop()
            atexit.unregister(cluster.remove)
            making.rename(folder)
            cluster.bequeath_nothing()
    return folder / "data"


async def _migrate(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.close()


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
