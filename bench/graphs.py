"""Workflows of 10,000 jobs: how long the server takes to accept one, and to run it, by the shape of its graph.

In one process, with the store and a worker that only reports success: of HTTP and of real work other parts tell.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator

from bench import cluster
from bench.figures import Row
from bench.scale import Scale
from bench.server import new_store
from rota.core.jobs import Free, HandlerSpec, Report, Submission, WorkerHello
from rota.core.runs import RunSubmission
from rota.core.states import Outcome, State
from rota.service.service import Service
from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Store
from rota.store.sqlite.store import SqliteStore

_JOBS = 10_000
_LAYERS = 100
_AT_ONCE = 500
_LINKS = 1_000  # so many jobs of a chain are run: one after another, each in two transactions
SHAPES = ("a chain", "one to all", "all to one", f"{_LAYERS} layers, each job after two of the one before")


class _NoHooks:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:  # noqa: ARG002
        raise AssertionError("no job here has a hook")


def graph(shape: str, n: int) -> list[Submission]:
    """Return `n` jobs that wait for each other in this shape."""
    width = max(1, n // _LAYERS)

    def after(at: int) -> list[str]:
        if shape == "a chain":
            return [str(at - 1)] if at else []
        if shape == "one to all":
            return ["0"] if at else []
        if shape == "all to one":
            return [str(each) for each in range(n - 1)] if at == n - 1 else []
        layer, place = divmod(at, width)
        return [str((layer - 1) * width + (place + step) % width) for step in range(min(2, width))] if layer else []

    return [Submission(handler="h", ref=str(at), after=[*after(at)]) for at in range(n)]


def rows(scale: Scale) -> Iterator[Row]:
    """Submit and run each shape, on both stores."""
    n = scale.jobs(_JOBS)
    for name, on in (("SQLite", _on_sqlite), ("PostgreSQL", _on_postgres)):
        if on is _on_postgres and not cluster.found():
            print(
                "LEFT OUT: PostgreSQL is not installed (Debian: apt-get install postgresql)",
                file=sys.stderr,
                flush=True,
            )
            return
        for shape in SHAPES:
            taken = [on(shape, n) for _ in scale.repetitions()]
            yield Row(f"{name}, {n:,} jobs, {shape}: submitted", [each[0] for each in taken], "s", "≤ 1 s (issue)")
            ran = f"the first {min(n, _LINKS):,} run" if shape == "a chain" else "run to its end"
            yield Row(f"{name}, {n:,} jobs, {shape}: {ran}", [each[1] for each in taken], "s", "")


def _on_sqlite(shape: str, n: int) -> tuple[float, float]:
    with new_store() as place:
        return asyncio.run(_measure(SqliteStore(place.file), shape, n))


def _on_postgres(shape: str, n: int) -> tuple[float, float]:
    with cluster.new_database() as database:
        return asyncio.run(_measure(PostgresStore(database.url), shape, n))


async def _measure(store: Store, shape: str, n: int) -> tuple[float, float]:
    await store.open()
    service = Service(store, sender=_NoHooks(), lease_s=3600, rng=random.Random(1))
    await service.start()
    jobs = graph(shape, n)
    began = time.perf_counter()
    run, _ = await service.runs.submit(RunSubmission(jobs=jobs))
    submitted = time.perf_counter() - began
    welcome = await service.work.register(WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=_AT_ONCE))
    began = time.perf_counter()
    free = Free(process=_AT_ONCE, asynchronous=0, total=_AT_ONCE)
    most, done = (_LINKS if shape == "a chain" else n), 0
    while done < most and (await service.runs.get(run.id)).state is State.RUNNING:
        leases = await service.work.claim(welcome.worker, free, 0.05)
        reports = [Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED) for lease in leases]
        if reports:
            done += len(await service.work.settle(welcome.worker, reports))
    taken = time.perf_counter() - began
    await service.stop()
    await store.close()
    return submitted, taken
