"""Figures for Prometheus. Counts of what happens come from the service as its observer, the rest is asked when scraped.

No label names a job or an owner: their number has no bound.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from rota.core.states import FINAL, State
from rota.http.views import oldest_ready_s, worker_state
from rota.service.service import Stats, WorkerInfo

_WAITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600)
_ABORTS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts what the service observes; satisfies rota.service.observer.Observer."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._submitted = Counter("rota_jobs_submitted", "Jobs submitted.", registry=registry)
        self._finished = Counter("rota_jobs_finished", "Jobs that came to an end.", ["state"], registry=registry)
        self._expired = Counter("rota_leases_expired", "Leases that ran out.", registry=registry)
        self._waits = _Histogram("rota_queue_wait_seconds", "From when a job could run to its claim.", _WAITS)
        self._runs = _Histogram("rota_run_seconds", "From a job's start to its end.", _WAITS)
        self._aborts = _Histogram("rota_abort_seconds", "From the request of an abort to its proven end.", _ABORTS)
        for histogram in (self._waits, self._runs, self._aborts):
            registry.register(histogram)
        self._by_state = {state: self._finished.labels(state.value) for state in FINAL}

    def submitted(self, jobs: int) -> None:
        """Count jobs that were submitted."""
        self._submitted.inc(jobs)

    def started(self, waits_s: list[float]) -> None:
        """Count jobs that were claimed."""
        for wait_s in waits_s:
            self._waits.observe(max(0.0, wait_s))

    def ended(self, state: State, run_s: float | None) -> None:
        """Count a job that came to an end."""
        self._by_state[state].inc()
        if run_s is not None:
            self._runs.observe(max(0.0, run_s))

    def aborted(self, took_s: float) -> None:
        """Count an abort."""
        self._aborts.observe(max(0.0, took_s))

    def leases_expired(self, jobs: int) -> None:
        """Count leases that ran out."""
        self._expired.inc(jobs)

    def render(self, stats: Stats, workers: Sequence[WorkerInfo]) -> bytes:
        """Return everything in Prometheus's text format."""
        now = CollectorRegistry()
        now.register(_Gauges(stats, workers))
        return generate_latest(self._registry) + generate_latest(now)


class _Histogram(Collector):
    """A histogram for one thread: prometheus-client's own takes two locks a value, and a job has two values."""

    def __init__(self, name: str, what: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._what = what
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._what)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        family.add_metric([], list(zip(names, accumulate(self._counts), strict=True)), self._sum)
        yield family


class _Gauges(Collector):
    """What is so at this moment."""

    def __init__(self, stats: Stats, workers: Sequence[WorkerInfo]) -> None:
        self._stats = stats
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("rota_queue_depth", "Jobs by queue and state.", labels=["queue", "state"])
        for queue, counts in self._stats.queues.items():
            for state, n in counts.items():
                depth.add_metric([queue, state], n)
        yield depth
        oldest = GaugeMetricFamily(
            "rota_oldest_ready_age_seconds", "For how long the oldest queued job could have run.", labels=["queue"]
        )
        for queue, age_s in oldest_ready_s(self._stats).items():
            oldest.add_metric([queue], age_s)
        yield oldest
        states = Tally(worker_state(info) for info in self._workers)
        workers = GaugeMetricFamily("rota_workers", "Workers by state.", labels=["state"])
        for name in ("present", "draining", "gone"):
            workers.add_metric([name], states[name])
        yield workers
        used = sum(info.running for info in self._workers)
        free = sum(_slots(info) - info.running for info in self._workers if worker_state(info) == "present")
        slots = GaugeMetricFamily("rota_slots", "Slots of workers by state.", labels=["state"])
        slots.add_metric(["used"], used)
        slots.add_metric(["free"], max(0, free))
        yield slots


def _slots(info: WorkerInfo) -> int:
    hello = info.row.hello
    together = hello.slots + hello.async_slots
    return together if hello.max_jobs is None else min(together, hello.max_jobs)
