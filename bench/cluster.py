"""A PostgreSQL of the benchmark's own, from the packages that are installed: as durable as it comes, and of no special size."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from tests import postgres

from bench.server import Server

_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
}
_COUNTING = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_utility": "on"}


class Database:
    """One database of a cluster of its own."""

    def __init__(self, cluster: postgres.Cluster) -> None:
        self.cluster = cluster
        self.url = cluster.new_database()

    def sql(self, statement: str) -> str:
        """Return the rows of a statement as lines."""
        return self.cluster.sql(statement, self.url.rpartition("/")[2])

    def drained(self, priority: int) -> tuple[int, float]:
        """Return how many jobs of a priority succeeded, and the seconds from their first claim to their last settlement."""
        row = self.sql(
            "SELECT count(*), max(finished_at) - min(started_at) FROM rota_jobs"
            f" WHERE state = 'succeeded' AND priority = {priority}"
        )
        count, took = row.split("|")
        return int(count), int(took) / 1e6

    def over(self) -> int:
        """Return how many jobs have succeeded."""
        return int(self.sql("SELECT coalesce(sum(n), 0) FROM rota_counts WHERE state = 'succeeded'"))

    def statements(self, seconds: float) -> float:
        """Return how many statements a second it is asked for so many seconds, BEGIN and COMMIT among them."""
        self.sql("SELECT pg_stat_statements_reset()")
        began = time.monotonic()
        time.sleep(seconds)
        asked = int(self.sql("SELECT sum(calls) FROM pg_stat_statements"))
        return asked / (time.monotonic() - began)

    def spent(self, server: Server | None = None) -> dict[str, float]:
        """Return the seconds of processor time that each part has taken until now."""
        parts = {"PostgreSQL": psutil.Process(self.cluster.pid).children()}
        if server is not None:
            service, *others = server.family()
            parts |= {"server": [service], "workers": others}
        return {part: sum(_seconds(process) for process in processes) for part, processes in parts.items()}


def found() -> bool:
    """Say whether PostgreSQL is installed."""
    return postgres.found() is not None


def about() -> list[str]:
    """Return a line about PostgreSQL: its version, and what is set."""
    programs = postgres.found()
    if programs is None:
        return []
    version = subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    return [f"{version.strip()}: " + ", ".join(f"{name} {value}" for name, value in _SETTINGS.items())]


@contextmanager
def new_database(*, counting: bool = False) -> Iterator[Database]:
    """Start a cluster, which is removed in the end; with `counting` it counts statements."""
    programs = postgres.found()
    assert programs is not None, "whoever asks has looked"
    settings: dict[str, Any] = {**_SETTINGS, **(_COUNTING if counting else {})}
    cluster = postgres.Cluster(programs, **settings)
    try:
        database = Database(cluster)
        if counting:
            database.sql("CREATE EXTENSION pg_stat_statements")
        yield database
    finally:
        cluster.remove()


def _seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
