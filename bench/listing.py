"""What a page of a listing takes, by each filter, in a store with a million jobs; and the map of a million inputs."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx

from bench import cluster
from bench.figures import Row, percentile
from bench.scale import Scale
from bench.server import new_store, serving
from rota.core.ids import Ids
from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Store
from rota.store.sqlite.store import SqliteStore

_JOBS = 1_000_000
_INPUTS = 1_000_000
_ASKED = 40  # times
_WARM_UP = 3
_SPAN = 6 * 86_400_000_000  # in which the jobs were submitted, in microseconds: they are not pruned yet
_ERROR = '{"type":"ConnectionError","message":"mail.example refused the connection"}'
_JOB = (
    "id", "state", "kind", "lane", "handler", "data", "args", "owner", "queue", "priority", "run_at", "submitted_at", "grace_s",
    "started_at", "finished_at", "attempt", "worker", "error", "reason", "inputs", "confirmed", "abort_requested_at",
)  # fmt: skip
_STATES = [
    ("succeeded", 0.955),
    ("failed", 0.02),
    ("scheduled", 0.01),
    ("queued", 0.01),
    ("canceled", 0.004),
    ("aborted", 0.001),
]
_FILTERS: dict[str, dict[str, Any]] = {
    "no filter": {}, "failed ones": {"state": "failed"}, "two states": {"state": ["queued", "failed"]},
    "a queue": {"queue": "q3"}, "what failed in a queue": {"queue": "q3", "state": "failed"},
    "an owner": {"owner": "owner7"}, "what failed of an owner": {"owner": "owner7", "state": "failed"},
    "an owner with three jobs": {"owner": "rare"}, "a handler": {"handler": "h11"},
    "an owner's of a handler that it has none of": {"owner": "owner7", "handler": "h1"},
    "a label": {"label": "batch=7"}, "a label and a state": {"label": "batch=7", "state": "failed"},
    "a text in errors": {"error": "refused"}, "a text in no error": {"error": "no such thing"},
    "a handler, and a text in errors": {"handler": "h11", "error": "refused"},
}  # fmt: skip
_OF_POSTGRES = {"rota_listed"}
_REASONS = {"failed": "error", "canceled": "requested", "aborted": "requested"}
_RESULT = '{"index":%d,"state":"failed","outcome":"errored","attempt":1}'
Rows = dict[str, tuple[tuple[str, ...], list[tuple[Any, ...]]]]


def rows(scale: Scale) -> Iterator[Row]:
    """Fill a store of each kind, and ask for pages one after another."""
    jobs, inputs = scale.jobs(_JOBS), scale.jobs(_INPUTS)
    with new_store() as store:
        asyncio.run(_make(SqliteStore(store.file)))
        array, tables = _rows(jobs, inputs)
        with sqlite3.connect(store.file) as con:
            for name, (columns, values) in tables.items():
                if name in _OF_POSTGRES:
                    continue
                places = ",".join("?" * len(columns))
                con.executemany(f"INSERT INTO {name} ({','.join(columns)}) VALUES ({places})", values)
        con.close()
        yield from _measure("SQLite", f"sqlite:///{store.file}", array, jobs, inputs)
    if not cluster.found():
        print("LEFT OUT: PostgreSQL is not installed (Debian: apt-get install postgresql)", file=sys.stderr, flush=True)
        return
    with cluster.new_database() as database:
        asyncio.run(_make(PostgresStore(database.url)))
        tables["rota_counts"] = _in_parts(*tables["rota_counts"])
        tables["rota_jobs"] = _as_told(*tables["rota_jobs"])
        asyncio.run(_copy(database.url, tables))
        database.sql("VACUUM ANALYZE")
        yield from _measure("PostgreSQL", database.url, array, jobs, inputs)


def _measure(kind: str, url: str, array: str, jobs: int, inputs: int) -> Iterator[Row]:
    with serving(url, workers=0) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        medians, worst = {}, {}
        for name, query in _FILTERS.items():
            taken = [_page(client, "/v1/jobs", query) for _ in range(_WARM_UP + _ASKED)][_WARM_UP:]
            medians[name] = sorted(taken)[len(taken) // 2]
            worst[name] = percentile(taken, 95)
        for name, ms in medians.items():
            yield Row(f"{kind}: a page of {jobs:,} jobs, {name}", [ms], "ms", "≤ 100 ms (issue)")
        slowest = max(worst, key=lambda name: worst[name])
        yield Row(f"{kind}: the same, p95 of the slowest ({slowest})", [worst[slowest]], "ms", "≤ 100 ms (issue)")
        for name, path in (
            ("how many of an owner", "/v1/jobs/count?owner=owner7"),
            ("counts and rates", "/v1/stats"),
            (f"the map of {inputs:,} inputs", f"/v1/jobs/{array}/inputs/map?buckets=2000"),
        ):
            taken = [_page(client, path, {}) for _ in range(_WARM_UP + _ASKED)][_WARM_UP:]
            yield Row(f"{kind}: {name}", [sorted(taken)[len(taken) // 2]], "ms")


def _page(client: httpx.Client, path: str, query: dict[str, Any]) -> float:
    """Return the milliseconds that an answer took."""
    began = time.perf_counter()
    answer = client.get(path, params=query or None)
    took = time.perf_counter() - began
    answer.raise_for_status()
    return 1000 * took


def _rows(jobs: int, inputs: int) -> tuple[str, Rows]:
    """Return the id of an array that runs, and the rows of all tables."""
    chance = random.Random(7)
    ids = Ids(chance.getrandbits)
    now = time.time_ns() // 1000
    made: list[tuple[Any, ...]] = []
    labels, listed = [], []
    counts: Counter[tuple[str, str, str]] = Counter()
    states = chance.choices([state for state, _ in _STATES], [share for _, share in _STATES], k=jobs)
    for n, state in enumerate(states):
        at = now - _SPAN + n * _SPAN // jobs
        owner = "rare" if n % (jobs // 3) == 1 else f"owner{n % 50}"
        id_, handler, queue = ids.new(at), f"h{n % 10 + (10 if n % 7 else 0)}", f"q{n % 20}"
        over = state not in ("scheduled", "queued")
        ran = state in ("succeeded", "failed", "aborted")
        made.append((
            id_, state, "handler", handler, handler, "{}", "[]", owner, queue, 0,
            now + 10**12 if state == "scheduled" else at, at, 5.0,
            at if ran else None, at + 1000 if over else None, int(ran), "w" if ran else None,
            _ERROR if state == "failed" else None, _REASONS.get(state), None, 1 if state == "aborted" else None,
            at if state == "aborted" else None,
        ))  # fmt: skip
        listed.append((id_, owner, queue, handler))
        counts[queue, handler, state] += 1
        if n % 10 == 0:
            labels.append(("batch", str(n // 10 % 500), id_))
    array = ids.new(now)
    made.append((
        array, "running", "handler", "array:h", "h", "{}", "[]", "owner7", "q3", 0, now, now, 5.0, now, None, 1, None, None,
        None, inputs, None, None,
    ))  # fmt: skip
    listed.append((array, "owner7", "q3", "h"))
    counts["q3", "array:h", "running"] += 1
    cursor = inputs * 6 // 10
    again = [(array, first, 1, now + 10**12, 1, 0, False) for first in range(0, cursor, 50)]
    bad = [(array, n, "failed", _RESULT % n) for n in range(7, cursor, 30)]
    missed = {n for _, n, *_ in bad} & {first for _, first, *_ in again}
    return array, {
        "rota_jobs": (_JOB, made),
        "rota_listed": (("id", "owner", "queue", "handler"), listed),
        "rota_labels": (("name", "value", "job"), labels),
        "rota_counts": (("queue", "lane", "state", "n"), [(*name, n) for name, n in counts.items()]),
        "rota_arrays": (
            ("job", "inputs", "cursor", "done", "failed", "root"),
            [(array, inputs, cursor, cursor - len(again), len(bad) - len(missed), array)],
        ),
        "rota_ranges": (("job", "first", "n", "run_at", "failures", "crashes", "due"), again),
        "rota_results": (("job", "n", "state", "body"), [row for row in bad if row[1] not in missed]),
    }


async def _make(store: Store) -> None:
    """Make the tables."""
    await store.open()
    await store.close()


def _in_parts(columns: tuple[str, ...], values: list[tuple[Any, ...]]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    return (*columns, "part"), [(*row, 0) for row in values]


def _as_told(columns: tuple[str, ...], values: list[tuple[Any, ...]]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Return jobs as PostgreSQL has them: what is yes or no there is a number on SQLite."""
    at = columns.index("confirmed")
    return columns, [(*row[:at], None if row[at] is None else bool(row[at]), *row[at + 1 :]) for row in values]


async def _copy(url: str, tables: Rows) -> None:
    con = await asyncpg.connect(url)
    try:
        for name, (columns, values) in tables.items():
            await con.copy_records_to_table(name, records=values, columns=columns)
    finally:
        await con.close()
