"""The same figures with ten jobs in the store, and with a million that are over, a million delayed and a million waiting.

The others wait for handlers that no worker here offers. Both stores are measured in turns, so that a ratio compares what ran
side by side.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from tests.store.postgres_filled import fill as fill_postgres

from bench import cluster
from bench.draining import fill
from bench.figures import Row, percentile
from bench.latency import starts
from bench.scale import Scale
from bench.server import Server, new_store, serving
from rota.store.sqlite.store import SqliteStore

_OTHERS = 1_000_000  # of each kind
_FEW = 10
_TIMES = 1  # stores this full take a minute each to make
_DRAINED = 20_000
_SINGLES = 500
_STARTS = 60
_SLOTS = 500
_UNITS = {
    "submit one by one": "/s",
    "submit in bulk": "/s",
    "drain": "/s",
    "idle start p50": "ms",
    "idle start p99": "ms",
}
_JOBS = """
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {n})
INSERT INTO rota_jobs (id, state, kind, lane, handler, data, args, owner, queue, priority, run_at, submitted_at, grace_s,
  started_at, finished_at, attempt, worker)
SELECT 'f{what}' || printf('%09d', n), '{state}', 'handler', char(97 + n % 3), char(97 + n % 3), '{{}}', '[]',
  'owner' || (n % 50), 'default', -1, 1700000000000000 + {ahead} + n, 1700000000000000, 5, {ended} FROM n;
INSERT INTO rota_counts SELECT queue, lane, state, count(*) FROM rota_jobs WHERE id LIKE 'f{what}%' GROUP BY 1, 2, 3;
"""
_TURNS = """
INSERT INTO rota_turns SELECT DISTINCT queue, priority, owner, lane, substr(owner, 6), 'ready', 1
  FROM rota_jobs WHERE id LIKE 'fw%';
"""
_ENDED = "1700000000000000, 1700000001000000 + n, 1, 'w'"
_NOT_ENDED = "NULL, NULL, 0, NULL"


class _Where(Protocol):
    def drained(self, priority: int) -> tuple[int, float]: ...


def rows(scale: Scale) -> Iterator[Row]:
    """Submit, drain and start jobs on stores that are almost empty, and on full ones."""
    with new_store() as few, new_store() as many:
        for store, others in ((few, _FEW), (many, scale.jobs(_OTHERS))):
            asyncio.run(_fill_sqlite(store.file, others))
        yield from _compared(scale, "SQLite", {f"sqlite:///{few.file}": few, f"sqlite:///{many.file}": many})
    if cluster.found():
        with ExitStack() as stack:
            databases = [stack.enter_context(cluster.new_database()) for _ in range(2)]
            for database, others in zip(databases, (_FEW, scale.jobs(_OTHERS)), strict=True):
                asyncio.run(fill_postgres(database.url, others, rest=False))
                database.sql("CHECKPOINT")
            yield from _compared(scale, "PostgreSQL", {database.url: database for database in databases})


async def _fill_sqlite(file: Path, n: int) -> None:
    store = SqliteStore(file)
    await store.open()
    await store.close()
    con = sqlite3.connect(file)
    con.execute("PRAGMA synchronous = off")
    for what, state, ahead, ended in (
        ("o", "succeeded", 0, _ENDED),
        ("d", "scheduled", 10**15, _NOT_ENDED),
        ("w", "queued", 0, _NOT_ENDED),
    ):
        con.executescript(_JOBS.format(what=what, state=state, ahead=ahead, ended=ended, n=n))
    con.executescript(_TURNS + "PRAGMA wal_checkpoint(TRUNCATE);")
    con.close()


def _compared(scale: Scale, kind: str, stores: dict[str, _Where]) -> Iterator[Row]:
    taken: dict[str, list[dict[str, float]]] = {url: [] for url in stores}
    for n in range(min(scale.times, _TIMES)):
        for url, where in stores.items():
            taken[url].append(_measured(url, where, scale, priority=n + 1))
    few, many = taken.values()
    others = scale.jobs(_OTHERS)
    for what, unit in _UNITS.items():
        yield Row(f"{kind}, {3 * _FEW} jobs in the store: {what}", [each[what] for each in few], unit)
        yield Row(f"{kind}, {3 * others:,} jobs in the store: {what}", [each[what] for each in many], unit)
        times = [
            large[what] / small[what] if unit == "ms" else small[what] / large[what]
            for small, large in zip(few, many, strict=True)
        ]
        required = "≤ 1.3 (design)" if what in ("drain", "submit in bulk", "idle start p50") else ""
        yield Row(f"{kind}, {what}: time with {3 * others:,} jobs over that with {3 * _FEW}", times, "times", required)


def _measured(url: str, where: _Where, scale: Scale, *, priority: int) -> dict[str, float]:
    found = {}
    count, singles = scale.jobs(_DRAINED), scale.jobs(_SINGLES)
    with serving(url, workers=0) as server:
        waiting = _queued(server)
        found["submit one by one"] = singles / _singly(server, singles)
        began = time.perf_counter()
        fill(server, "noop", count, priority)
        found["submit in bulk"] = count / (time.perf_counter() - began)
    with serving(url, workers=2, slots=_SLOTS) as server, server.client() as client:
        server.wait_idle(waiting)
        ran, took_s = where.drained(priority)
        found["drain"] = ran / took_s
        starts(client, "clock", 20)  # warm-up
        taken = starts(client, "clock", scale.jobs(_STARTS))
        found["idle start p50"] = 1000 * percentile(taken, 50)
        found["idle start p99"] = 1000 * percentile(taken, 99)
    if ran != count:
        raise RuntimeError(f"{ran} of {count} jobs succeeded")
    return found


def _singly(server: Server, count: int) -> float:
    with server.client() as client:
        began = time.perf_counter()
        for _ in range(count):
            client.submit("noop", {"n": 1})
        return time.perf_counter() - began


def _queued(server: Server) -> int:
    with server.client() as client:
        queued: int = client.stats()["jobs"]["queued"]
        return queued
