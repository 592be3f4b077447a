"""Figures for Prometheus. Counts of what happens come from the service as its observer, the rest is asked when scraped.

No label names a job or an owner: their number has no bound. Nor has that of queues, whose names users choose: those that
come after the fullest `MAX_QUEUES` are shown together, as `OTHERS`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import accumulate, chain
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from rota.core.jobs import WorkerHello
from rota.core.states import FINAL, Outcome, State
from rota.http.views import oldest_ready_s, worker_state
from rota.service.observer import HookResult, Step, Stored
from rota.service.service import Stats, WorkerInfo

MAX_QUEUES = 200
OTHERS = "(others)"
_WAITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600)
_ABORTS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STORE = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_FINAL_STATES = frozenset(state.value for state in FINAL)


Numbers = list[list[float]]  # what each collector has counted, in the order in which they are made


class Metrics:
    """Counts what the service observes; satisfies rota.service.observer.Observer.

    `share` takes this one's tally, and returns those of further processes of the same server, which are shown together with it.
    """

    def __init__(self, share: Callable[[Numbers], Iterable[Numbers]] = lambda _: ()) -> None:
        self._share = share
        self._submitted = _Counts("rota_jobs_submitted", "Jobs submitted.")
        self._finished = _Counts("rota_jobs_finished", "Jobs that came to an end.", "state", sorted(_FINAL_STATES))
        self._attempts = _Counts("rota_attempts", "Attempts that ended.", "outcome", [o.value for o in Outcome])
        self._expired = _Counts("rota_leases_expired", "Attempts that were rescued: their leases ran out.")
        self._lost = _Counts("rota_workers_lost", "Workers that were not heard of for a lease.")
        self._hooks = _Counts("rota_hook_tries", "Calls of hooks.", "result", get_args(HookResult))
        self._steps = _Counts(
            "rota_upkeep_failures", "Steps of upkeep that failed, and are done again.", "step", get_args(Step)
        )
        self._faults = _Counts("rota_request_failures", "Requests that failed by a fault of this server.")
        self._waits = _Histogram("rota_queue_wait_seconds", "From when a job could run to its claim.", _WAITS)
        self._runs = _Histogram("rota_run_seconds", "From a job's start to its end.", _WAITS)
        self._aborts = _Histogram("rota_abort_seconds", "From the request of an abort to its proven end.", _ABORTS)
        self._stored = _Histogram(
            "rota_store_seconds", "How long the store took.", _STORE, label="operation", values=get_args(Stored)
        )
        self._collectors = [each for each in vars(self).values() if isinstance(each, _Counts | _Histogram)]

    def submitted(self, jobs: int) -> None:
        """Count jobs that were submitted."""
        self._submitted.add(jobs)

    def started(self, waits_s: list[float]) -> None:
        """Count jobs that were claimed."""
        for wait_s in waits_s:
            self._waits.observe(max(0.0, wait_s))

    def ended(self, state: State, run_s: float | None) -> None:
        """Count a job that came to an end."""
        self._finished.add(1, state.value)
        if run_s is not None:
            self._runs.observe(max(0.0, run_s))

    def aborted(self, took_s: float) -> None:
        """Count an abort."""
        self._aborts.observe(max(0.0, took_s))

    def attempts_ended(self, outcomes: Sequence[Outcome]) -> None:
        """Count attempts that ended."""
        for outcome in outcomes:
            self._attempts.add(1, outcome.value)

    def leases_expired(self, jobs: int) -> None:
        """Count leases that ran out."""
        self._expired.add(jobs)

    def workers_lost(self, workers: int) -> None:
        """Count workers that were lost."""
        self._lost.add(workers)

    def hook_called(self, result: HookResult) -> None:
        """Count a call of a hook."""
        self._hooks.add(1, result)

    def stored(self, what: Stored, took_s: float) -> None:
        """Note how long the store took."""
        self._stored.observe(took_s, what)

    def step_failed(self, step: Step) -> None:
        """Count a step of upkeep that failed."""
        self._steps.add(1, step)

    def request_failed(self) -> None:
        """Count a request that failed by a fault of the server."""
        self._faults.add(1)

    def tally(self) -> Numbers:
        """Return all that was counted, for another one to `count` as well."""
        return [collector.numbers() for collector in self._collectors]

    def count(self, tally: Numbers) -> None:
        """Count what another one has counted."""
        for collector, numbers in zip(self._collectors, tally, strict=True):
            collector.count(numbers)

    def render(self, stats: Stats, workers: Sequence[WorkerInfo]) -> bytes:
        """Return everything in Prometheus's text format."""
        together = Metrics()
        own = self.tally()
        for tally in (own, *self._share(own)):
            together.count(tally)
        registry = CollectorRegistry()
        for collector in (*together._collectors, _Gauges(stats, workers)):
            registry.register(collector)
        return generate_latest(registry)


class _Counts(Collector):
    """A counter for one thread; with a `label`, one for each of its `values`, shown from 0 on."""

    def __init__(self, name: str, what: str, label: str | None = None, values: Iterable[str] = ("",)) -> None:
        self._name = name
        self._what = what
        self._labels = [] if label is None else [label]
        self._counts: dict[str, float] = dict.fromkeys(values, 0)

    def add(self, n: int, of: str = "") -> None:
        """Count `n` more."""
        self._counts[of] += n

    def numbers(self) -> list[float]:
        return list(self._counts.values())

    def count(self, numbers: list[float]) -> None:
        for value, n in zip(self._counts, numbers, strict=True):
            self._counts[value] += n

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._what, labels=self._labels)
        for value, n in self._counts.items():
            family.add_metric([value] if self._labels else [], n)
        yield family


class _Histogram(Collector):
    """A histogram for one thread: prometheus-client's own takes two locks a value, and a job has two values.

    With a `label`, one for each of its `values`.
    """

    def __init__(
        self, name: str, what: str, bounds: Sequence[float], label: str | None = None, values: Sequence[str] = ("",)
    ) -> None:
        self._name = name
        self._what = what
        self._bounds = bounds
        self._labels = [] if label is None else [label]
        self._counts = {value: [0] * (len(bounds) + 1) for value in values}
        self._sums = dict.fromkeys(values, 0.0)

    def observe(self, value: float, of: str = "") -> None:
        """Count a value."""
        self._counts[of][bisect_left(self._bounds, value)] += 1
        self._sums[of] += value

    def numbers(self) -> list[float]:
        return [*self._sums.values(), *chain.from_iterable(self._counts.values())]

    def count(self, numbers: list[float]) -> None:
        left = iter(numbers)
        for value in self._sums:
            self._sums[value] += next(left)
        for counts in self._counts.values():
            for at in range(len(counts)):
                counts[at] += int(next(left))

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._what, labels=self._labels)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for of, counts in self._counts.items():
            buckets = list(zip(names, accumulate(counts), strict=True))
            family.add_metric([of] if self._labels else [], buckets, self._sums[of])
        yield family


class _Gauges(Collector):
    """What is so at this moment, in the store: every server of a store says the same."""

    def __init__(self, stats: Stats, workers: Sequence[WorkerInfo]) -> None:
        self._stats = stats
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        yield from self._queues()
        states = Tally(worker_state(info) for info in self._workers)
        workers = GaugeMetricFamily("rota_workers", "Workers by state.", labels=["state"])
        for name in ("present", "draining", "gone"):
            workers.add_metric([name], states[name])
        yield workers
        used: Tally[str] = Tally()
        free: Tally[str] = Tally()
        for worker in self._workers:
            taken = {"process": worker.used, "async": worker.used_async}
            used.update(taken)
            if worker_state(worker) == "present":
                free.update(_free(worker.row.hello, taken))
        slots = GaugeMetricFamily("rota_slots", "Slots of workers by state.", labels=["state", "mode"])
        for mode in ("process", "async"):
            slots.add_metric(["used", mode], used[mode])
            slots.add_metric(["free", mode], free[mode])
        yield slots
        signals = GaugeMetricFamily("rota_signals", "By which way servers wake each other.", labels=["mode"])
        signals.add_metric([self._stats.signals], 1)
        yield signals
        info = GaugeMetricFamily("rota_info", "Which Rota this is.", labels=["version"])
        info.add_metric([version("rota")], 1)
        yield info

    def _queues(self) -> Iterator[Metric]:
        shown = _fullest(self._stats.queues)
        depths: Tally[tuple[str, str]] = Tally()
        for queue, counts in self._stats.queues.items():
            for state, n in counts.items():
                depths[queue if queue in shown else OTHERS, state] += n
        depth = GaugeMetricFamily("rota_queue_depth", "Jobs by queue and state.", labels=["queue", "state"])
        for (queue, state), n in depths.items():
            depth.add_metric([queue, state], n)
        yield depth
        ages: dict[str, float] = {}
        for queue, age_s in oldest_ready_s(self._stats).items():
            name = queue if queue in shown else OTHERS
            ages[name] = max(age_s, ages.get(name, 0.0))
        oldest = GaugeMetricFamily(
            "rota_oldest_ready_age_seconds", "For how long the oldest queued job could have run.", labels=["queue"]
        )
        for queue, age_s in ages.items():
            oldest.add_metric([queue], age_s)
        yield oldest


def _fullest(queues: Mapping[str, Mapping[str, int]]) -> set[str]:
    """Return the queues that are shown by name: those with the most jobs that are not over."""
    if len(queues) <= MAX_QUEUES:
        return set(queues)
    open_ = {
        queue: sum(n for state, n in counts.items() if state not in _FINAL_STATES) for queue, counts in queues.items()
    }
    return set(sorted(queues, key=lambda queue: (-open_[queue], queue))[:MAX_QUEUES])


def _free(hello: WorkerHello, used: dict[str, int]) -> dict[str, int]:
    """Return how many slots of each mode a worker has free; never less than none."""
    slots = {"process": hello.slots, "async": hello.async_slots}
    left = sum(slots.values()) if hello.max_jobs is None else hello.max_jobs - sum(used.values())
    return {mode: max(0, min(slots[mode] - used[mode], left)) for mode in slots}
