"""What a server with three workers costs while there is nothing to do, and how much memory it holds."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psutil

from bench.figures import Row
from bench.scale import Scale
from bench.server import Server, new_store

_WATCHED_S = 10.0
_SETTLE_S = 3.0
_MIB = 2**20


def rows(scale: Scale) -> Iterator[Row]:
    """Run some jobs, then watch all processes."""
    with new_store() as store, store.serve(workers=3) as server:
        with server.client() as client:
            for handler in ("noop", "noop_process"):
                client.submit_many([{"handler": handler, "data": {"n": n}} for n in range(scale.jobs(5_000))])
        server.wait_idle()
        time.sleep(_SETTLE_S)
        taken = [_watch(server) for _ in scale.repetitions()]
        yield Row("idle: processor time of the busiest process", [max(one) for one in taken], "%", "≤ 1 % (issue)")
        yield Row("idle: processor time of all processes", [sum(one) for one in taken], "%")
        yield from _memory(server)


def _watch(server: Server) -> list[float]:
    """Return the share of a core, in percent, that each process took."""
    before = {process.pid: _spent(process) for process in server.family()}
    time.sleep(_WATCHED_S)
    return [100 * (_spent(process) - before[process.pid]) / _WATCHED_S for process in server.family()]


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _memory(server: Server) -> Iterator[Row]:
    """Tell the server from its workers; what a worker shares with its children counts once in PSS."""
    service, *_ = server.family()
    yield Row("memory of the server: RSS", [service.memory_info().rss / _MIB], "MiB", "≤ 120 MB (issue)")
    for what, field in (("RSS of the supervisor alone", "rss"), ("PSS with all its processes", "pss")):
        values = []
        for worker in service.children():
            processes = [worker] if field == "rss" else [worker, *worker.children(recursive=True)]
            values.append(sum(getattr(process.memory_full_info(), field) for process in processes) / _MIB)
        yield Row(f"memory of a worker: {what}", values, "MiB")
