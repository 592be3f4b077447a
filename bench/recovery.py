"""How soon a job runs again after `kill -9` of the worker that ran it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import rota
from bench.figures import Row
from bench.latency import wait_started
from bench.scale import Scale
from bench.server import new_store

_LEASE_S = 5.0


def rows(scale: Scale) -> Iterator[Row]:
    """Kill workers in the middle of a job."""
    with new_store() as store, store.serve(workers=2, lease_s=_LEASE_S) as server, server.client() as client:
        yield Row(
            f"kill -9 of a worker: until its job runs again, lease {_LEASE_S:g} s",
            [recovery(client) for _ in scale.repetitions()],
            "s",
            "≤ lease + 1 s (design)",
        )


def recovery(client: rota.Client) -> float:
    """Return the seconds from the death of a worker to the next line of its job."""
    job = client.submit("second_start")
    wait_started(job)
    worker = next(worker for worker in client.workers() if worker.id == job.worker)
    assert worker.pid is not None
    killed = time.time_ns()
    os.kill(worker.pid, signal.SIGKILL)
    return float(job.get_result(60) - killed) / 1e9
