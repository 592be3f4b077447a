"""How fast a backlog of jobs that do nothing is run: claimed, run, results and history stored, durably."""

from __future__ import annotations

from collections.abc import Iterator

from bench import huey_peer, limits
from bench.figures import Row
from bench.scale import Scale
from bench.server import Server, new_store

_JOBS = 50_000
_WARM_UP = 5_000
FIRST = 10  # the priority of the warm-up
_BULK = 10_000
_WORKERS = 2


def rows(scale: Scale) -> Iterator[Row]:
    """Drain async and process-isolated jobs, and Huey's, in turn: so that a ratio compares what ran side by side."""
    count = scale.jobs(_JOBS)
    asynchronous, isolated, peer = [], [], []
    for _ in scale.repetitions():
        asynchronous.append(_drain("noop", scale))
        peer.append(huey_peer.drain(scale.jobs(10_000)))
        isolated.append(_drain("noop_process", scale, slots=1))
    name = f"drain {count:,} async jobs, {_WORKERS} workers"
    yield Row(name, asynchronous, "/s", "≥ 25,000/s (design)", limits.SQLITE_CYCLE)
    name = f"drain {count:,} process-isolated jobs, {_WORKERS} workers of 1 slot"
    yield Row(name, isolated, "/s", "≥ 9,000/s (design)", limits.PIPE)
    yield Row(f"Huey {huey_peer.VERSION} on SQLite (WAL, FULL, results), 2 processes", peer, "/s")
    ratios = [ours / theirs for ours, theirs in zip(asynchronous, peer, strict=True)]
    yield Row("drain of async jobs over Huey's", ratios, "times", "≥ 10 (design)")


def _drain(handler: str, scale: Scale, slots: int | None = None) -> float:
    """Return jobs a second, from the first claim to the last settlement, by the store's own times.

    The jobs wait in the store before the workers start. A warm-up of higher priority goes first, so that what is
    measured starts with everything warm.
    """
    count, warm_up = scale.jobs(_JOBS), scale.jobs(_WARM_UP)
    with new_store() as store:
        with store.serve(workers=0) as server:
            fill(server, handler, warm_up, FIRST)
            fill(server, handler, count, 0)
        with store.serve(workers=_WORKERS, slots=slots) as server:
            server.wait_idle()
        ran, took_s = store.drained(0)
    if ran != count:
        raise RuntimeError(f"{ran} of {count} jobs succeeded")
    return count / took_s


def fill(server: Server, handler: str, count: int, priority: int) -> None:
    """Submit jobs of one priority."""
    with server.client() as client:
        for start in range(0, count, _BULK):
            numbers = range(start, min(start + _BULK, count))
            client.submit_many([{"handler": handler, "data": {"n": n}, "priority": priority} for n in numbers])
