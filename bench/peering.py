"""Rota beside its peers, in turn, so that each ratio compares what ran side by side.

The drain rate runs from the first handler's line to the last's, and a start ends with it: handlers write the time into a
file, Rota's too. A broker is new for every peer and every repetition; peers on Redis's protocol have a Valkey without
persistence. *Half load* is half of what a peer drains, or of what one client submits one by one, whichever is less. An abort
is over when the handler has ended; Rota's when that is proven, with all that it started. What is idle is watched once, the
broker's part with it. Recovery is watched for all at the same time, for it is mostly waiting.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil

from bench import cluster, limits
from bench.figures import Row, percentile
from bench.peers import environments
from bench.peers.scene import Scene, kill, scene
from bench.peers.table import OURS, PEERS, Peer
from bench.scale import Scale

_SINGLES = 1_000
_STARTS = 60
_ABORTS = 30
_BEGIN_S = 60.0
_PATIENCE_S = 75.0  # for a job whose worker was killed
_SETTLE_S = 2.0
_WATCHED_S = 5.0
_MIB = 2**20
_FAILURES = (subprocess.CalledProcessError, TimeoutError)  # of a peer
_UNITS = {
    "submit one by one": "/s",
    "submit in bulk": "/s",
    "drain": "/s",
    "idle start p50": "ms",
    "idle start p99": "ms",
    "start at half load p50": "ms",
    "start at half load p99": "ms",
    "half load": "/s",
    "abort p50": "ms",
    "abort p99": "ms",
    "memory, idle: PSS without the broker": "MiB",
    "idle, with the broker: processor": "%",
    "kill -9 of the workers, new ones at once: it runs again after": "s",
}
_COMPARED = {"submit one by one", "submit in bulk", "drain", "idle start p50", "start at half load p50", "abort p50"}
_LIMITS = {
    ("submit one by one", "sqlite"): limits.FSYNC,
    ("submit one by one", "postgres"): limits.FSYNC,
    ("submit in bulk", "sqlite"): limits.SQLITE_SUBMIT,
    ("submit in bulk", "postgres"): limits.POSTGRES_SUBMIT,
    ("drain", "sqlite"): limits.SQLITE_CYCLE,
    ("drain", "postgres"): limits.POSTGRES_CYCLE,
    ("idle start p50", "sqlite"): limits.START,
    ("idle start p50", "postgres"): limits.START,
}
_REQUIRED = {
    ("drain", "postgres", "pgqueuer"): "≥ 1.2 (design)",
    ("drain", "postgres", "graphile"): "≥ 1.2 (design)",
}


def rows(scale: Scale) -> Iterator[Row]:
    """Measure Rota and each peer: submission, drain, latency, aborts, recovery, and what they cost while they are idle."""
    everybody = {key: peer for key, peer in (OURS | PEERS).items() if _is_there(peer)}
    taken: dict[tuple[str, str], list[float]] = {}
    failed: set[str] = set()
    for n in scale.repetitions():
        began = time.monotonic()
        for key, peer in everybody.items():
            if n > 0 and peer.once:
                continue
            print(f"  {peer.name}, {n + 1} of {scale.times} …", file=sys.stderr, flush=True)
            try:
                found = list(_measure(peer, scale, watch=n == 0))
            except _FAILURES as error:  # what it has said stands above
                _leave_out(peer, f"it failed: {error}")
                failed.add(key)
                continue
            for what, value in found:
                taken.setdefault((what, key), []).append(value)
        everybody = {key: peer for key, peer in everybody.items() if key not in failed}
        again = sum(not peer.once for peer in everybody.values())
        next_s = (time.monotonic() - began) * again / max(1, len(everybody) if n == 0 else again)
        if n + 1 < scale.times and not scale.has_time(time.monotonic() + next_s + _PATIENCE_S):
            print(f"  no time for more than {n + 1} repetitions", file=sys.stderr, flush=True)
            break
    if not everybody:
        return
    print("  recovery of all …", file=sys.stderr, flush=True)
    recovery = "kill -9 of the workers, new ones at once: it runs again after"
    with ThreadPoolExecutor(len(everybody)) as threads:
        for key, took in zip(everybody, threads.map(_recover, everybody.values()), strict=True):
            taken[recovery, key] = [] if took is None else [took]
    for what, unit in _UNITS.items():
        for key, peer in everybody.items():
            values = taken.get((what, key), [])
            instead = ""
            if not values and what == "abort p50":
                instead = peer.cannot_abort
            elif not values and what == recovery:
                instead = f"not within {_PATIENCE_S:.0f} s"
            if values or instead:
                yield Row(f"{what}: {peer.name}", values, unit, limit=_LIMITS.get((what, key), ""), instead=instead)
        if what in _COMPARED:
            yield from _ratios(what, everybody, taken)


def about() -> list[str]:
    """Return a line about Rota on each store and each peer: versions, settings, what it keeps."""
    lines = []
    for peer in (*OURS.values(), *PEERS.values()):
        made_of = f" ({', '.join(peer.requires)})" if peer.requires else ""
        lines.append(f"{peer.name}{made_of}: {peer.settings}; {peer.keeps}")
    return lines


def _ratios(what: str, everybody: dict[str, Peer], taken: dict[tuple[str, str], list[float]]) -> Iterator[Row]:
    """Compare ours with each peer, repetition by repetition: how many times as fast, or as long."""
    for ours in OURS:
        for key in PEERS:
            mine, others = taken.get((what, ours)), taken.get((what, key))
            if mine and others:
                ratios = [a / b for a, b in zip(mine, others, strict=False)]  # some are measured once
                name = f"{what}: {everybody[ours].name} over {everybody[key].name}"
                yield Row(name, ratios, "times", _REQUIRED.get((what, ours, key), ""))


def present(peers: Sequence[Peer]) -> dict[str, Peer]:
    """Return those that can be run here, by name."""
    return {peer.name: peer for peer in peers if _is_there(peer)}


def drained(here: Scene) -> float:
    """Return how many jobs a second have started, from the first to the last."""
    times = sorted(start for start, _ in here.ticks.read())
    return (len(times) - 1) / ((times[-1] - times[0]) / 1e9)


def _is_there(peer: Peer) -> bool:
    """Say whether a peer can be run here; why not is said aloud."""
    if peer.broker == "postgres" and not cluster.found():
        why: str | None = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    else:
        why = environments.missing(peer)
    if why is None:
        try:
            environments.make(peer)
        except (subprocess.CalledProcessError, OSError) as error:
            why = f"its packages cannot be installed: {error}"
    if why is not None:
        _leave_out(peer, why)
    return why is None


def _leave_out(peer: Peer, why: str) -> None:
    print(f"LEFT OUT: {peer.name}: {why}", file=sys.stderr, flush=True)


def _measure(peer: Peer, scale: Scale, *, watch: bool) -> Iterator[tuple[str, float]]:
    count, singles, starts = scale.jobs(peer.backlog), scale.jobs(_SINGLES), scale.jobs(_STARTS)
    with scene(peer) as here:
        here.produce("prepare")
        here.produce("submit", singles)  # warm-up
        rate = singles / float(here.produce("submit", singles))
        yield "submit one by one", rate
        took = float(here.produce("bulk" if peer.bulk else "submit", count))
        if peer.bulk:
            yield "submit in bulk", count / took
        with here.running(peer.workers):
            here.ticks.wait(2 * singles + count, _BEGIN_S)
            rate_of_drain = drained(here)
            yield "drain", rate_of_drain
            here.produce("starts", 20)  # warm-up
            taken = json.loads(here.produce("starts", starts))
            yield "idle start p50", 1000 * percentile(taken, 50)
            yield "idle start p99", 1000 * percentile(taken, 99)
            half = int(min(rate, rate_of_drain) / 2)
            taken = json.loads(here.produce("load", half))
            yield "half load", half
            yield "start at half load p50", 1000 * percentile(taken, 50)
            yield "start at half load p99", 1000 * percentile(taken, 99)
            if watch:
                yield from _watch(here)
            if not peer.cannot_abort:
                taken = json.loads(here.produce("aborts", max(scale.jobs(_ABORTS), 20)))
                yield "abort p50", 1000 * percentile(taken, 50)
                yield "abort p99", 1000 * percentile(taken, 99)


def _watch(here: Scene) -> Iterator[tuple[str, float]]:
    time.sleep(_SETTLE_S)
    tree = here.tree()
    before = {process: _spent([process]) for process in (*tree, *here.broker())}
    time.sleep(_WATCHED_S)
    spent = sum(_spent([process]) - was for process, was in before.items())
    yield "idle, with the broker: processor", 100 * max(0.0, spent) / _WATCHED_S
    yield "memory, idle: PSS without the broker", sum(_pss(process) for process in tree) / _MIB


def _spent(processes: Sequence[psutil.Process]) -> float:
    taken = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            taken += times.user + times.system
    return taken


def _pss(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_full_info().pss)
    return 0


def _recover(peer: Peer) -> float | None:
    """Return the seconds from the death of all workers to the next line of the job that one of them ran."""
    with suppress(*_FAILURES), scene(peer) as here:
        here.produce("prepare")
        with here.running(peer.workers) as workers:
            here.produce("hold")
            here.holds.begun(1, _BEGIN_S)
            killed = time.time_ns()
            kill(workers)
        with here.running(peer.workers):
            _, at = here.holds.begun(2, _PATIENCE_S)
            return (at - killed) / 1e9
    return None
