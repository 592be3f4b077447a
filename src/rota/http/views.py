"""Workers, deliveries and counts as JSON. (Jobs and what belongs to them are rendered by core/wire.py.)"""

from __future__ import annotations

from msgspec import Struct

from rota.core.jobs import HandlerSpec
from rota.core.times import SECOND, rfc3339
from rota.core.wire import JobView, job_view
from rota.service.present import Present
from rota.service.service import Overview, Stats, WorkerInfo
from rota.store.protocol import DeliveryRow


class WorkerView(Struct, kw_only=True):
    """A worker in JSON. `state` is `present`, `draining` or `gone`; `running` is how many attempts it holds."""

    id: str
    name: str
    state: str
    handlers: list[HandlerSpec]
    scripts: bool
    images: bool
    arrays: bool
    queues: list[str]
    labels: dict[str, str | bool | int | float]
    slots: int
    async_slots: int
    max_jobs: int | None
    running: int
    host: str | None
    pid: int | None
    owned: bool
    draining: bool
    started_at: str
    seen_at: str
    gone_at: str | None
    gone_why: str | None


class TryView(Struct, kw_only=True):
    """One try to call a hook: the receiver's status, or an error."""

    at: str
    status: int | None
    error: str | None
    took: float


class DeliveryView(Struct, kw_only=True):
    """A call of a hook: due at `next_at`, or over at `done_at` (`gave_up`: it never worked)."""

    id: str
    url: str
    body: str
    tries: list[TryView]
    next_at: str | None
    done_at: str | None
    gave_up: bool


class OldestView(Struct, kw_only=True):
    """The job that could have run for the longest time, and for how many seconds."""

    job: str
    age: float


class NextView(Struct, kw_only=True):
    """A schedule, and its next slot."""

    id: str
    name: str
    rule: str
    timezone: str
    next_at: str


class StatsView(Struct, kw_only=True):
    """Counts of jobs by state, in all and by queue; the age in seconds of the oldest job of a queue that could run.

    `rates`: jobs a minute that were submitted, started, and ended in each state, `queue_rates`: that ended in each queue,
    over the last five minutes. `slots` are those for processes, `slots_in_use` of them run something.

    `signals`: how servers on one store wake each other: `notify`, `redis`, `none` (they look once a second), `local` (one
    server).
    """

    now: str
    jobs: dict[str, int]
    queues: dict[str, dict[str, int]]
    oldest_ready: dict[str, float]
    oldest: OldestView | None
    rates: dict[str, float]
    queue_rates: dict[str, float]
    schedules_next: list[NextView]
    workers: int
    slots: int
    slots_in_use: int
    running: int
    signals: str


class BusyView(Struct, kw_only=True):
    """A worker, and how many jobs it runs of the `slots` that it could run at once."""

    id: str
    name: str
    running: int
    slots: int


class OverviewView(Struct, kw_only=True):
    """What goes on, all of one moment: the newest dozen of jobs that run, of those that the caller may see.

    `stats` are all counts, and `workers` the first dozen of those that are there: null for who is no admin.
    """

    running: list[JobView]
    stats: StatsView | None
    workers: list[BusyView] | None


def worker_view(info: WorkerInfo) -> WorkerView:
    """Render a worker."""
    row, hello = info.row, info.row.hello
    return WorkerView(
        id=row.id,
        name=hello.name,
        state=worker_state(info),
        handlers=hello.handlers,
        scripts=hello.scripts,
        images=hello.images,
        arrays=hello.arrays,
        queues=hello.queues,
        labels=hello.labels,
        slots=hello.slots,
        async_slots=hello.async_slots,
        max_jobs=hello.max_jobs,
        running=info.running,
        host=hello.host,
        pid=hello.pid,
        owned=hello.owned,
        draining=row.draining,
        started_at=rfc3339(row.registered_at),
        seen_at=rfc3339(row.beat_at),
        gone_at=None if row.gone_at is None else rfc3339(row.gone_at),
        gone_why=row.gone_why,
    )


def worker_state(info: WorkerInfo) -> str:
    """Return the one word for how a worker is."""
    if info.row.gone_at is not None:
        return "gone"
    return "draining" if info.row.draining else "present"


def delivery_view(row: DeliveryRow) -> DeliveryView:
    """Render a call of a hook."""
    return DeliveryView(
        id=row.id,
        url=row.url,
        body=row.body,
        tries=[TryView(at=rfc3339(t.at), status=t.status, error=t.error, took=t.took_s) for t in row.log],
        next_at=None if row.next_at is None else rfc3339(row.next_at),
        done_at=None if row.done_at is None else rfc3339(row.done_at),
        gave_up=row.gave_up,
    )


def stats_view(stats: Stats, present: Present) -> StatsView:
    """Render the counts, and what else goes on."""
    return StatsView(
        now=rfc3339(stats.now),
        jobs=stats.jobs,
        queues=stats.queues,
        oldest_ready=oldest_ready_s(stats),
        oldest=None if stats.oldest is None else OldestView(job=stats.oldest[1], age=_age_s(stats, stats.oldest[0])),
        rates=present.rates,
        queue_rates=present.queue_rates,
        schedules_next=[
            NextView(id=s.id, name=s.name, rule=s.rule, timezone=s.timezone, next_at=rfc3339(s.next_at))
            for s in present.next_schedules
        ],
        workers=stats.workers,
        slots=stats.slots,
        slots_in_use=present.slots_in_use,
        running=stats.running,
        signals=stats.signals,
    )


def overview_view(found: Overview) -> OverviewView:
    """Render what goes on."""
    running = [job_view(job) for job in found.running]
    if found.whole is None:
        return OverviewView(running=running, stats=None, workers=None)
    stats, present, workers = found.whole
    return OverviewView(running=running, stats=stats_view(stats, present), workers=[_busy_view(one) for one in workers])


def _busy_view(info: WorkerInfo) -> BusyView:
    hello = info.row.hello
    slots = hello.slots + hello.async_slots if hello.max_jobs is None else hello.max_jobs
    return BusyView(id=info.row.id, name=hello.name, running=info.running, slots=slots)


def oldest_ready_s(stats: Stats) -> dict[str, float]:
    """Return, by queue, for how many seconds its oldest queued job could have run."""
    return {queue: _age_s(stats, at) for queue, at in stats.oldest_ready.items()}


def _age_s(stats: Stats, at: int) -> float:
    return max(0, stats.now - at) / SECOND
