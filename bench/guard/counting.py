"""What can be counted of a job: bytecodes, steps of SQLite, and what PostgreSQL is asked, reads and writes."""

from __future__ import annotations

import itertools
import sqlite3
import statistics
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import Struct
from tests import postgres

from bench.guard.bytecodes import Counter
from bench.guard.work import ASGI, BATCH, BULK, SINGLE, Jobs, nothing, opened_in
from rota.store.postgres.store import PostgresStore
from rota.store.sqlite.store import SqliteStore

_LAPS = 2  # beside one that warms up
_MOST = 1 << 62
_ASKED = """
SELECT coalesce(sum(calls), 0), coalesce(sum(shared_blks_hit + shared_blks_read), 0), coalesce(sum(wal_bytes), 0)
FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'
"""


class _Counted(Struct, frozen=True):
    """Work for so many jobs, after `prepare`, which is not counted."""

    jobs: int
    run: Callable[[], Awaitable[None]]
    prepare: Callable[[], Awaitable[None]] = nothing


def _works(jobs: Jobs) -> dict[str, _Counted]:
    return {
        "submit one by one": _Counted(SINGLE, jobs.singly),
        "submit one by one over HTTP": _Counted(ASGI, jobs.over_http),
        "submit in bulk": _Counted(BULK, jobs.in_bulk),
        "claim and settle": _Counted(BATCH, jobs.claim_and_settle, jobs.fill),
    }


async def counts() -> dict[str, float]:
    """Count all, by name; the median of a few laps each, for what a checkpoint or a full page does."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as folder:
        found |= await _bytecodes(Path(folder))
        found |= await _steps(Path(folder))
    programs = postgres.found()
    if programs is not None:
        found |= await _asked(programs)
    return found


async def _laps(works: Mapping[str, _Counted], look: Callable[[], Awaitable[Mapping[str, float]]]) -> dict[str, float]:
    """Return how much more of each kind there is after a lap than before it."""
    taken: dict[str, list[float]] = {}
    for _ in range(_LAPS + 1):
        for name, one in works.items():
            await one.prepare()
            before = await look()
            await one.run()
            for kind, n in (await look()).items():
                taken.setdefault(f"{kind}: {name}", []).append((n - before[kind]) / one.jobs)
    return {name: round(statistics.median(laps[1:]), 4) for name, laps in taken.items()}


async def _bytecodes(folder: Path) -> dict[str, float]:
    counter = Counter()

    async def look() -> dict[str, float]:
        return {"bytecodes": counter.read()}

    with counter.installed():
        async with _on(SqliteStore(folder / "bytecodes.db")) as jobs:
            return await _laps(_works(jobs), look)


class _Stepping(SqliteStore):
    """Counts the instructions of SQLite's machine."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._left = itertools.repeat(0, _MOST)  # what is called for each has to return 0, and fast

    def steps(self) -> int:
        return _MOST - self._left.__length_hint__()

    def _connect(self) -> sqlite3.Connection:
        con = super()._connect()
        con.set_progress_handler(self._left.__next__, 1)
        return con


async def _steps(folder: Path) -> dict[str, float]:
    store = _Stepping(folder / "steps.db")

    async def look() -> dict[str, float]:
        return {"SQLite, steps": store.steps()}

    async with _on(store) as jobs:
        return await _laps(_works(jobs), look)


async def _asked(programs: Path) -> dict[str, float]:
    """Ask PostgreSQL itself; blocks and bytes of its log vary by a few per cent, as pages fill up."""
    settings: dict[str, Any] = {"pg_stat_statements.track_utility": "on", "checkpoint_timeout": "1h"}
    cluster = postgres.Cluster(programs, shared_preload_libraries="pg_stat_statements", **settings)
    try:
        url = cluster.new_database()
        con = await asyncpg.connect(url)
        await con.execute("CREATE EXTENSION pg_stat_statements")

        async def look() -> dict[str, float]:
            kinds = ("PostgreSQL, statements", "PostgreSQL, blocks", "PostgreSQL, bytes of log")
            return {kind: float(n) for kind, n in zip(kinds, await con.fetchrow(_ASKED), strict=True)}

        async with _on(PostgresStore(url)) as jobs:
            found = await _laps(_works(jobs), look)
        await con.close()
    finally:
        cluster.remove()
    return {name: n for name, n in found.items() if "over HTTP" not in name}  # the same as without


@asynccontextmanager
async def _on(store: SqliteStore | PostgresStore) -> AsyncIterator[Jobs]:
    async with AsyncExitStack() as stack:
        yield await opened_in(stack, Jobs(store))
