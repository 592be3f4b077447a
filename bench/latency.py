"""How soon a job starts on an idle server, and how soon an abort is proven."""

from __future__ import annotations

import time
from collections.abc import Iterator

import rota
from bench import limits
from bench.figures import Row, percentile
from bench.scale import Scale
from bench.server import new_store
from rota.client import Job

_PAUSE_S = 0.02  # between two jobs, so that the server is idle
WARM_UP = 50


def rows(scale: Scale) -> Iterator[Row]:
    """Start jobs, then abort jobs, one at a time on a server with three workers."""
    with new_store() as store, store.serve(workers=3) as server, server.client() as client:
        for handler, kind, required in (
            ("clock", "async", ("≤ 1.2 ms (design)", "≤ 3 ms (design)")),
            ("clock_process", "process", ("", "")),
        ):
            starts(client, handler, WARM_UP)
            taken = [starts(client, handler, scale.jobs(100)) for _ in scale.repetitions()]
            yield from percentiles(f"idle: submit to the first line, {kind}", taken, required, limits.START)
        for handler, kind in (
            ("sleep", "async"),
            ("sleep_process", "process"),
            ("sleep_tree", "process with bash and three children"),
        ):
            _aborts(client, handler, 5)
            taken = [_aborts(client, handler, scale.jobs(30)) for _ in scale.repetitions()]
            yield from percentiles(f"abort to proof, {kind}", taken, ("", "≤ 30 ms (design)"))


def percentiles(what: str, taken: list[list[float]], required: tuple[str, str], limit: str = "") -> Iterator[Row]:
    """Make rows of seconds: one for the median, one for the 99th percentile."""
    for percent, wanted in zip((50, 99), required, strict=True):
        values = [1000 * percentile(one, percent) for one in taken]
        yield Row(f"{what}: p{percent} of {len(taken[0])}", values, "ms", wanted, limit)


def starts(client: rota.Client, handler: str, count: int) -> list[float]:
    """Return the seconds from before the client's call to the handler's first line; one machine has one clock."""
    taken = []
    for _ in range(count):
        sent = time.time_ns()
        job = client.submit(handler)
        taken.append((job.get_result(30) - sent) / 1e9)
        time.sleep(_PAUSE_S)
    return taken


def _aborts(client: rota.Client, handler: str, count: int) -> list[float]:
    """Return the seconds from before the client's call to its answer, which waits for the proof."""
    taken = []
    for _ in range(count):
        job = client.submit(handler, grace=5)
        wait_started(job)
        time.sleep(_PAUSE_S)
        began = time.perf_counter()
        job.abort(wait=30)
        taken.append(time.perf_counter() - began)
        if job.state != "aborted" or not job.confirmed:
            raise RuntimeError(f"an abort ended {job.state}, confirmed: {job.confirmed}")
    return taken


def wait_started(job: Job) -> None:
    """Wait until a handler has said that it is ready."""
    deadline = time.monotonic() + 30
    while job.refresh().progress is None:
        if time.monotonic() > deadline or job.over:
            raise RuntimeError(f"a job does not start: {job.state} {job.error}")
        time.sleep(0.005)
