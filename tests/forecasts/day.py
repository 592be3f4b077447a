"""A day of a cluster in virtual time, over the real service: who submits what and when, who runs it, and what was expected.

Demand has a daily curve: quiet nights, a rush in the morning that the slots cannot keep up with, a second, lower one in the
afternoon. Owners differ in how much they submit, and one submits in bursts; handlers have log-normal run times; workers come
and go. Each job that has to wait is asked about when it is submitted, and some of those that wait from time to time.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import tempfile
from pathlib import Path

from msgspec import Struct

from rota.core.jobs import Free, HandlerSpec, Report, Submission, WorkerHello
from rota.core.states import Outcome
from rota.core.times import SECOND
from rota.service.service import Service
from rota.store.sqlite.store import SqliteStore
from tests.service.test_hooks import START, Receiver, status

HOUR = 3600.0
HANDLERS = {"mail": (40.0, 0.7), "render": (300.0, 0.9), "report": (900.0, 0.6)}  # the median run time, and its spread
OWNERS = {"ana": 5.0, "bob": 4.0, "eve": 3.0, "ops": 2.0, "tim": 1.0}  # how much each submits
MIX = {"mail": 5.0, "render": 4.0, "report": 1.0}
CURVE = (
    0.2,
    0.2,
    0.2,
    0.2,
    0.3,
    0.5,
    0.8,
    1.1,
    1.5,
    1.5,
    1.2,
    0.9,
    0.7,
    0.9,
    1.2,
    1.2,
    1.0,
    0.8,
    0.6,
    0.5,
    0.4,
    0.3,
    0.2,
    0.2,
)
SLOTS = 4
WORKERS = (("w0", 0.0, 24.0), ("w1", 0.0, 12.0), ("w2", 0.0, 24.0), ("w3", 12.5, 24.0))  # the hours of each
ASK_S = 300.0  # how often one of those that wait is asked about
_LATE = 30 * 86400.0


class Asked(Struct):
    """What was expected of a job at a moment, and when it has started, in seconds from then on."""

    at: float
    expected_s: float | None
    ahead: int
    took_s: float | None = None

    def right(self) -> bool:
        """Say whether it came within a factor of 2, to the second."""
        if self.expected_s is None or self.took_s is None:
            return False
        a, b = max(self.expected_s, 1.0), max(self.took_s, 1.0)
        return max(a, b) <= 2 * min(a, b)


class Day:
    """One day; `load` is how much of what all slots can do is asked of them where the curve is 1."""

    def __init__(self, seed: int, *, first_hour: float = 0.0, hours: float = 24.0, load: float = 1.0) -> None:
        self._rng = random.Random(seed)
        self._begin, self._end = first_hour * HOUR, (first_hour + hours) * HOUR
        mean = sum(MIX[name] * m * math.exp(s * s / 2) for name, (m, s) in HANDLERS.items()) / sum(MIX.values())
        self._per_s = load * 3 * SLOTS / mean
        self._now = self._begin
        self._events: list[tuple[float, int, str, tuple[str, ...]]] = []
        self._waiting: dict[str, list[Asked]] = {}
        self._free: dict[str, int] = {}
        self._ids: dict[str, str] = {}
        self._gone: set[str] = set()
        self.asked: list[Asked] = []
        self.jobs = 0

    def run(self) -> None:
        """Let the day pass."""
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            asyncio.run(self._run(Path(folder)))

    @property
    def right(self) -> float:
        """Return which part of what was asked came within a factor of 2."""
        return sum(each.right() for each in self.asked) / len(self.asked)

    async def _run(self, folder: Path) -> None:
        store = SqliteStore(folder / "day.db", clock=lambda: START + round(self._now * SECOND), inline=True)
        await store.open()
        self._service = Service(
            store,
            sender=Receiver(lambda _: status(204)),
            rng=random.Random(1),
            lease_s=_LATE,
            monotonic=lambda: self._now,
        )
        for name, comes, goes in WORKERS:
            self._at(max(comes * HOUR, self._begin), "comes", name)
            self._at(goes * HOUR, "goes", name)
        self._at(self._begin, "submits")
        self._at(self._begin + ASK_S, "asks")
        self._at(self._begin, "upkeep")
        while self._events and (self._now < self._end or self._waiting):
            self._now, _, what, words = heapq.heappop(self._events)
            await getattr(self, f"_{what}")(*words)
        await store.close()

    def _at(self, at: float, what: str, *words: str) -> None:
        heapq.heappush(self._events, (at, len(self._events) + self.jobs * 1000, what, words))

    # -- what happens

    async def _submits(self) -> None:
        if self._now >= self._end:
            return
        rng = self._rng
        (owner,) = rng.choices(list(OWNERS), list(OWNERS.values()))
        (handler,) = rng.choices(list(MIX), list(MIX.values()))
        n = rng.randint(5, 25) if owner == "eve" else 1
        priority = 1 if owner == "ops" else 0
        for _ in range(n):
            await self._submit(handler, owner, priority)
        rate = self._per_s * CURVE[int(self._now / HOUR) % 24] / (1 + 14 * OWNERS["eve"] / sum(OWNERS.values()))
        self._at(self._now + rng.expovariate(rate), "submits")

    async def _submit(self, handler: str, owner: str, priority: int) -> None:
        job = await self._service.jobs.submit(Submission(handler=handler, owner=owner, priority=priority))
        self.jobs += 1
        self._waiting[job.id] = []
        await self._start()
        if job.id in self._waiting:
            await self._ask(job.id)

    async def _asks(self) -> None:
        if self._waiting:
            await self._ask(self._rng.choice(sorted(self._waiting)))
        if self._now < self._end:
            self._at(self._now + ASK_S, "asks")

    async def _upkeep(self) -> None:
        while not await self._service.upkeep.round():
            pass
        self._at(self._now + 60.0, "upkeep")

    async def _comes(self, name: str) -> None:
        specs = [HandlerSpec(name=handler) for handler in HANDLERS]
        hello = WorkerHello(name=name, handlers=specs, slots=SLOTS)
        self._ids[name] = (await self._service.work.register(hello)).worker
        self._free[name] = SLOTS
        await self._start()

    async def _goes(self, name: str) -> None:
        self._gone.add(name)
        await self._service.work.drain(self._ids[name])

    async def _ends(self, name: str, job: str) -> None:
        report = Report(job=job, attempt=1, outcome=Outcome.SUCCEEDED)
        await self._service.work.settle(self._ids[name], [report])
        self._free[name] += 1
        await self._start()

    # -- what follows

    async def _start(self) -> None:
        """Let workers take what they can."""
        for name, n in sorted(self._free.items(), key=lambda each: (-each[1], each[0])):
            if n == 0 or name in self._gone or not self._waiting:
                continue
            for lease in await self._service.work.claim(self._ids[name], Free(process=n, asynchronous=0, total=n)):
                median, spread = HANDLERS[lease.handler or ""]
                self._free[name] -= 1
                self._at(self._now + self._rng.lognormvariate(math.log(median), spread), "ends", name, lease.job)
                for each in self._waiting.pop(lease.job):
                    each.took_s = self._now - each.at

    async def _ask(self, job: str) -> None:
        told = await self._service.jobs.explain(job)
        asked = Asked(self._now, told.starts_in_s, told.ahead or 0)
        self._waiting[job].append(asked)
        self.asked.append(asked)
