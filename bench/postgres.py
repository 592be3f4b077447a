"""The same on PostgreSQL, with the database on the same two cores, `fsync` and `synchronous_commit` on.

PostgreSQL is the package that is installed (Debian: `apt-get install postgresql`); without it the part is left out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.valkey import Valkey

import rota
from bench import cluster, limits
from bench.cluster import Database
from bench.draining import FIRST, fill
from bench.figures import Row
from bench.latency import WARM_UP, percentiles, starts
from bench.recovery import recovery
from bench.scale import Scale
from bench.server import serving
from bench.submitting import bulk
from rota.core.errors import RotaError

_JOBS = 100_000
_WARM_UP = 10_000
_WORKERS = 2
_SLOTS = 500  # for async jobs: so many travel together in a claim and in a report
_LEASE_S = 5.0
_AWAY_S = 3.0  # PostgreSQL


def rows(scale: Scale) -> Iterator[Row]:
    """Measure all that an issue or the design asks of PostgreSQL."""
    if not cluster.found():
        return
    yield from _submit(scale)
    yield from _drain(scale)
    yield from _recover(scale)
    yield from _latency(scale)


def _submit(scale: Scale) -> Iterator[Row]:
    with cluster.new_database() as database, serving(database.url, workers=0) as server:
        bulk(server)  # warm-up
        yield Row(
            "PostgreSQL: submit in bulk over HTTP, 10,000 at once",
            [bulk(server) for _ in scale.repetitions()],
            "/s",
            "≥ 50,000/s (design)",
            limits.POSTGRES_SUBMIT,
        )


def _drain(scale: Scale) -> Iterator[Row]:
    count = scale.jobs(_JOBS)
    rates, spent = [], []
    for _ in scale.repetitions():
        with cluster.new_database() as database:
            rate, costs = _drained(database, count, scale.jobs(_WARM_UP))
        rates.append(rate)
        spent.append(costs)
    yield Row(
        f"PostgreSQL: drain {count:,} async jobs, {_WORKERS} workers of {_SLOTS} slots",
        rates,
        "/s",
        "≥ 15,000/s (issue)",
        limits.POSTGRES_CYCLE,
    )
    for part in spent[0]:
        yield Row(f"PostgreSQL: drain, processor time a job: {part}", [each[part] for each in spent], "µs")


def _drained(database: Database, count: int, warm_up: int) -> tuple[float, dict[str, float]]:
    """Return jobs a second by the store's own times, and microseconds of processor time a job, warm-up included."""
    with serving(database.url, workers=0) as server:
        fill(server, "noop", warm_up, FIRST)
        fill(server, "noop", count, 0)
    with serving(database.url, workers=_WORKERS, slots=_SLOTS) as server:
        before, over = database.spent(server), database.over()
        server.wait_idle()
        after, jobs = database.spent(server), database.over() - over
    ran, took_s = database.drained(0)
    if ran != count:
        raise RuntimeError(f"{ran} of {count} jobs succeeded")
    costs = {part: 1e6 * (after[part] - before[part]) / jobs for part in after}
    return count / took_s, costs | {"all": sum(costs.values())}


def _recover(scale: Scale) -> Iterator[Row]:
    with (
        cluster.new_database() as database,
        serving(database.url, workers=2, lease_s=_LEASE_S) as server,
        server.client() as client,
    ):
        yield Row(
            f"PostgreSQL: kill -9 of a worker: until its job runs again, lease {_LEASE_S:g} s",
            [recovery(client) for _ in scale.repetitions()],
            "s",
            "≤ lease + 1 s (issue)",
        )
        yield Row(
            "PostgreSQL killed, and back: until a job is taken in and has run",
            [_return(database, client) for _ in scale.repetitions()],
            "s",
            "≤ 2 s (issue)",
        )


def _return(database: Database, client: rota.Client) -> float:
    """Return the seconds from when PostgreSQL answers again until a job that was submitted after that is over."""
    client.submit("noop", {"n": 1}).get_result(60)
    database.cluster.stop("immediate")
    time.sleep(_AWAY_S)
    database.cluster.start()
    began = time.perf_counter()
    while time.perf_counter() - began < 60:
        with suppress(RotaError):
            client.submit("noop", {"n": 1}).get_result(60)
            return time.perf_counter() - began
    raise RuntimeError("no job runs after PostgreSQL has come back")


def _latency(scale: Scale) -> Iterator[Row]:
    """Submit to one server; the workers are another one's."""
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as folder:
        valkey = Valkey(Path(folder))
        try:
            for signals, what in (("auto", "NOTIFY"), (valkey.url, "Valkey")):
                with (
                    cluster.new_database() as database,
                    serving(database.url, workers=3, signals=signals),
                    serving(database.url, workers=0, signals=signals) as server,
                    server.client() as client,
                ):
                    starts(client, "clock", WARM_UP)
                    taken = [starts(client, "clock", scale.jobs(100)) for _ in scale.repetitions()]
                    name = f"PostgreSQL, another server's worker, {what}: submit to the first line"
                    yield from percentiles(name, taken, ("≤ 2 ms (design)", "≤ 3 ms (design)"), limits.START)
        finally:
            valkey.kill()
