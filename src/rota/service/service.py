"""The service as a whole: what the edges and the embedding program hold."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, tzinfo

from msgspec import Struct

from rota.core.errors import NotFound
from rota.core.ids import Ids
from rota.core.jobs import Job
from rota.core.states import State
from rota.service.audit import Audit
from rota.service.bulk import Bulk
from rota.service.claiming import Claiming
from rota.service.deploys import Deploys
from rota.service.feed import Feed
from rota.service.firing import ScheduleUpkeep
from rota.service.handlers import Handlers
from rota.service.hooks import Hooks, Sender
from rota.service.jobs import Jobs
from rota.service.keys import KeyUpkeep
from rota.service.limits import Limits
from rota.service.looking import Looking
from rota.service.nodes import Nodes
from rota.service.observer import Nobody, Observer, Step, Stopwatch
from rota.service.owners import Owners, Usage
from rota.service.present import Present, read_present
from rota.service.pull import DEFAULT_PULL_LEASE_S, PullWorkers
from rota.service.relay import Bell, Relay
from rota.service.runs import Runs, RunUpkeep
from rota.service.schedules import Schedules
from rota.service.series import Counting
from rota.service.signals import Signals
from rota.service.submissions import Submissions
from rota.service.tokens import Tokens
from rota.service.turns import TurnUpkeep
from rota.service.upkeep import Upkeep
from rota.service.work import Work
from rota.store.protocol import Query, RunningRow, Store, Tx, WorkerRow

DEFAULT_LEASE_S = 15.0
DEFAULT_RETENTION_S = 7 * 86400.0
MOST_SHOWN = 12  # jobs that run, and workers, of an overview
_MOST_ROWS = 50  # of a lane that are looked at for its oldest job: those from which nothing was started for longest


class WorkerInfo(Struct, frozen=True):
    """A worker, how many jobs it runs, and in how many slots: those of processes, and those of event loops."""

    row: WorkerRow
    running: int
    used: int
    used_async: int


class Stats(Struct, frozen=True, kw_only=True):
    """Counts of jobs by state, in all and by queue; and since when the oldest ready job of each queue could run; `oldest` is
    the oldest of all, with its moment.

    `signals` is by which way servers wake each other: `local` where there is only this one.
    """

    now: int
    jobs: dict[str, int]
    queues: dict[str, dict[str, int]]
    oldest_ready: dict[str, int]
    oldest: tuple[int, str] | None = None
    workers: int
    slots: int
    running: int
    signals: str


class Overview(Struct, frozen=True, kw_only=True):
    """What goes on, all of one moment: the newest jobs that run; and of all owners' the counts, what else goes on, and the
    first of the workers that are there.
    """

    running: list[Job]
    whole: tuple[Stats, Present, list[WorkerInfo]] | None = None


class Service:
    """Jobs, the work queue, live streams and upkeep over one store.

    `rng`, `monotonic` and the store's clock are the only sources of chance and time: with seeded ones everything can be
    stepped and replayed. `sender` delivers hooks; `zone` is that of dates without one.
    """

    def __init__(
        self,
        store: Store,
        *,
        sender: Sender,
        lease_s: float = DEFAULT_LEASE_S,
        pull_lease_s: float = DEFAULT_PULL_LEASE_S,
        retention_s: float = DEFAULT_RETENTION_S,
        hook_secret: str | None = None,
        zone: tzinfo = UTC,
        observer: Observer | None = None,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        failed: Callable[[Step, Exception], None] = lambda _step, _error: None,
        bell: Bell | None = None,
    ) -> None:
        rng = rng or random.Random()  # noqa: S311  # seeded by the system; ids and jitter need no more
        self.store = store
        observer = observer or Nobody()
        self.zone = zone
        self.signals = Signals(observer)
        stopwatch = Stopwatch(store, observer, monotonic)
        ids = Ids(rng.getrandbits)
        self.handlers = Handlers(store, monotonic)
        submissions = Submissions(store, self.signals, observer, ids, zone, stopwatch=stopwatch, handlers=self.handlers)
        self.jobs = Jobs(store, self.signals, ids, submissions, zone)
        self.bulk = Bulk(store, self.signals, observer, ids, zone)
        self.limits = Limits(store, self.signals)
        self.schedules = Schedules(store, self.signals, observer, ids, zone=zone, handlers=self.handlers)
        self.deploys = Deploys(store, self.signals, self.schedules)
        self.runs = Runs(store, self.signals, ids, self.jobs, submissions)
        self.looking, self.nodes = Looking(store), Nodes(store, lease_s=lease_s)
        self.turns = TurnUpkeep(store, claiming := Claiming(store, self.signals.full_owners), monotonic)
        self.work = Work(
            store, self.signals, observer, stopwatch, claiming=claiming, lease_s=lease_s, random_bits=rng.getrandbits,
            jitter=rng.random, handlers=self.handlers,
        )  # fmt: skip
        self.pull = PullWorkers(
            store, self.signals, observer, self.jobs, self.work, claiming=claiming, lease_s=pull_lease_s, jitter=rng.random
        )  # fmt: skip
        self.owners, self.usage = Owners(store, self.signals), Usage(store, self.signals, monotonic)
        self.feed = Feed(store, self.signals, self.jobs)
        self.hooks = Hooks(
            store, sender, secret=hook_secret, jitter=rng.random, wake=self.signals.wake_upkeep, observer=observer
        )
        self.tokens = Tokens(store, secret=secrets.token_hex, zone=zone, monotonic=monotonic)
        self.audit = Audit(store, monotonic)
        self.counting = Counting(store, monotonic)
        self.signals.counted = self.counting.note
        firing = ScheduleUpkeep(store, self.signals, observer, ids, monotonic=monotonic)
        self.upkeep = Upkeep(
            store, self.signals, observer, self.work, self.hooks, tokens=self.tokens, audit=self.audit, schedules=firing,
            counting=self.counting, runs=RunUpkeep(store, self.signals, monotonic), turns=self.turns, usage=self.usage,
            keys=KeyUpkeep(store, self.signals, monotonic), lease_s=lease_s, retention_s=retention_s, jitter=rng.random,
            monotonic=monotonic, failed=failed, stopwatch=stopwatch,
        )  # fmt: skip
        if bell is not None:
            name = f"{rng.getrandbits(64):016x}"
            self.signals.relay = Relay(bell, name, self.signals.hear, failed=lambda error: failed("signals", error))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take stock of the store, and let upkeep run."""
        await self.upkeep.begin()
        await self.tokens.refresh()
        self._tasks = [asyncio.create_task(self.upkeep.run(), name="upkeep")]
        if self.signals.relay is not None:
            self._tasks.append(asyncio.create_task(self.signals.relay.run(), name="signals"))

    async def stop(self) -> None:
        """End all waits, upkeep and deliveries. The store stays open: it is its opener's to close."""
        self.signals.close()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self.hooks.close()
        if self.audit.pending:
            await self.audit.flush()
        if self.counting.changed:
            await self.counting.flush()
        if self.signals.used:
            await self.usage.flush()

    async def workers(self) -> list[WorkerInfo]:
        """Return all workers, those that are present first; gone ones stay for an hour."""

        async def look(tx: Tx) -> list[WorkerInfo]:
            rows = await tx.list_workers()
            return [_info(row, [] if row.gone_at else await tx.running_of(row.id)) for row in rows]

        return await self.store.read(look)

    async def worker(self, worker: str) -> WorkerInfo:
        """Return a worker. Raises NotFound."""

        async def look(tx: Tx) -> WorkerInfo:
            row = await tx.get_worker(worker)
            if row is None:
                raise NotFound(f"there is no worker {worker!r}")
            return _info(row, await tx.running_of(worker))

        return await self.store.read(look)

    async def stats(self) -> Stats:
        """Count, at a cost that does not grow with the number of jobs."""

        async def look(tx: Tx) -> Stats:
            return await self._count(tx, await tx.list_workers())

        return await self.store.read(look)

    async def present(self) -> tuple[Stats, Present]:
        """Return the counts and what else goes on."""

        async def look(tx: Tx) -> tuple[Stats, Present]:
            workers = await tx.list_workers()
            return await self._count(tx, workers), await read_present(tx, workers)

        return await self.store.read(look)

    async def overview(self, owner: str | None) -> Overview:
        """Return what goes on; of an `owner` only which of its jobs run."""
        running = Query(states=[State.RUNNING], owner=owner, limit=MOST_SHOWN)

        async def look(tx: Tx) -> Overview:
            if owner is not None:
                return Overview(running=(await tx.find_jobs(running))[0])
            workers = await tx.list_workers()
            stats = await self._count(tx, workers)
            shown = [row for row in workers if row.gone_at is None][:MOST_SHOWN]
            held = await tx.held_by([row.id for row in shown])
            return Overview(
                running=(await tx.find_jobs(running))[0] if stats.running else [],
                whole=(stats, await read_present(tx, workers), [_info(row, held.get(row.id, [])) for row in shown]),
            )

        return await self.store.read(look)

    async def _count(self, tx: Tx, workers: Sequence[WorkerRow]) -> Stats:
        counts = await tx.counts()
        workers = [row for row in workers if row.gone_at is None]
        jobs = dict.fromkeys((state.value for state in State), 0)
        queues: defaultdict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(jobs, 0))
        ready: dict[str, int] = {}
        oldest: tuple[int, str] | None = None
        for row in counts:
            jobs[row.state.value] += row.n
            queues[row.queue][row.state.value] += row.n
        lanes = [(row.queue, row.lane) for row in counts if row.state is State.QUEUED]
        for turn in await tx.oldest_turns(lanes, tx.now + 1, _MOST_ROWS):
            for at, job in turn.heads:
                ready[turn.name.queue] = min(at, ready.get(turn.name.queue, at))
                oldest = min((at, job), oldest or (at, job))
        return Stats(
            now=tx.now, jobs=jobs, queues=dict(queues), oldest_ready=ready, oldest=oldest, workers=len(workers),
            slots=sum(row.hello.slots for row in workers), running=jobs[State.RUNNING.value],
            signals="local" if self.store.exclusive else self.signals.mode,
        )  # fmt: skip

    async def now(self) -> int:
        """Return the store's time."""

        async def look(tx: Tx) -> int:
            return tx.now

        return await self.store.read(look)

    async def ready(self) -> None:
        """Raise Unavailable (or another error) unless the store answers."""
        await self.store.read(lambda tx: tx.last_event())


def _info(row: WorkerRow, running: Sequence[RunningRow]) -> WorkerInfo:
    async_handlers = {spec.name for spec in row.hello.handlers if spec.mode == "async"}
    used = sum(each.slots for each in running)
    used_async = sum(each.slots for each in running if each.handler in async_handlers)
    return WorkerInfo(row, len(running), used - used_async, used_async)
