"""The Chronos method: random schedules over simulated years, what was expected to fire against what did.

Servers look when something is due, or late, or not for days; they crash before and after commits, start anew, look one
after another at the same slots; the store's clock is set forward and back; schedules are paused. A model that knows no
more than when somebody looked says which slots must have fired.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rota.core.access import LOCAL
from rota.core.jobs import Submission
from rota.core.schedules import Missed, Overlap
from rota.service.schedules import NewSchedule
from rota.service.service import Service
from tests.chronos.clock import SECOND, ZONES, a_cron, seconds, slots
from tests.conformance.store.bench import Crash
from tests.embedded import store_at
from tests.service.test_hooks import Receiver, status

HOUR = 3600 * SECOND
_LIVING = "('blocked', 'scheduled', 'queued', 'running')"


@dataclass
class Expected:
    """A schedule as the model knows it: its slots, what has been decided, and what must have fired."""

    id: str
    rule: str
    missed: Missed
    limit: int
    overlap: Overlap
    slots: list[int]
    seen: int
    paused: bool = False
    fired: set[int] = field(default_factory=set)
    decided: set[int] = field(default_factory=set)  # of which some row must be there

    def look(self, now: int) -> None:
        """Somebody looks."""
        if self.seen > now + SECOND:  # the clock was set back
            self.seen = now
        if self.paused:
            return
        come = [slot for slot in self.slots if self.seen < slot <= now]
        self.seen = max(self.seen, now)
        fire = come[-(self.limit if self.missed is Missed.ALL else 1) :]
        if self.missed is Missed.SKIP and fire and now - fire[-1] > 60 * SECOND:
            fire = []
        self.fired.update(fire)
        self.decided.update(fire)


class Chronos:
    """One history of a few schedules, from a seed."""

    def __init__(self, seed: int, *, years: float = 1.0, schedules: int = 6) -> None:
        self.dice = random.Random(seed)
        begin = seconds(2026 + seed % 3)
        self.begin, self.end = begin * SECOND, (begin + round(years * 366 * 86400)) * SECOND
        self.now = self.begin
        self.elapsed = 0.0
        self.n = schedules
        self.told: Counter[str] = Counter()
        self.expected: list[Expected] = []
        self.crash: str | None = None

    def run(self) -> None:
        """Live through it, and check. Raises AssertionError."""
        with tempfile.TemporaryDirectory() as folder:
            self.folder = Path(folder)
            asyncio.run(self._run())

    async def _run(self) -> None:
        self.store = store_at(self.folder / "a.db", clock=lambda: self.now, inline=True)
        await self.store.open()
        self.services = [self._service(n) for n in range(2)]
        for n in range(self.n):
            await self._add(n)
        while self.now < self.end:
            await self._step()
        self._check()
        await self.store.close()

    def _service(self, n: int) -> Service:
        self.store.inline_runner.boundary = self._boundary
        return Service(
            self.store, sender=Receiver(lambda _: status(204)), rng=random.Random(self.dice.getrandbits(32) + n),
            monotonic=lambda: self.elapsed, retention_s=50 * 366 * 86400.0, failed=self._failed,
        )  # fmt: skip

    def _failed(self, step: str, error: Exception) -> None:
        raise AssertionError(f"{step}: {error!r}")

    def _boundary(self, side: str) -> None:
        if side == self.crash and self.dice.random() < 0.3:
            self.crash = None
            self.told[f"crash {side} a commit"] += 1
            raise Crash

    async def _add(self, n: int) -> None:
        cron, zone = a_cron(self.dice), self.dice.choice(ZONES)
        missed, overlap = self.dice.choice(list(Missed)), self.dice.choice([Overlap.ALLOW, Overlap.ALLOW, *Overlap])
        new = NewSchedule(
            rule=cron.text, job=Submission(handler="h"), name=f"s{n}", timezone=zone, missed=missed, missed_limit=3,
            overlap=overlap,
        )  # fmt: skip
        made = await self.services[0].schedules.add(new, LOCAL)
        found = slots(cron, zone, self.begin // SECOND, self.end // SECOND + 40 * 86400)
        what = f"{cron.text} {zone} {missed} {overlap}"
        self.expected.append(Expected(made.id, what, missed, 3, overlap, found, self.now))

    async def _step(self) -> None:
        await self._sleep_until_next()
        chance = self.dice.random()
        if chance < 0.01:
            await self._pause_or_resume()
        elif chance < 0.02:
            self.now += self.dice.choice([-1, 1]) * self.dice.randrange(2 * SECOND, 5 * HOUR)
            self.told["the clock is set"] += 1
        elif chance < 0.05:
            self.services[0] = self._service(0)
            self.told["restart"] += 1
        elif chance < 0.08:
            self.crash = self.dice.choice(["before", "after"])
        await self._look()
        await self._end_jobs()

    async def _sleep_until_next(self) -> None:
        """Let time pass: to the next slot and a little more, or through an outage."""
        if self.dice.random() < 0.02:
            pause = self.dice.randrange(HOUR, 200 * HOUR)
            self.told["outage"] += 1
        else:
            next_at = (await self.store.read(lambda tx: tx.wakeups())).slot
            pause = max(0, (self.now + 6 * HOUR if next_at is None else next_at) - self.now)
            pause = min(pause, 24 * HOUR) + self.dice.randrange(0, 3 * SECOND)
        self.now += pause
        self.elapsed += pause / SECOND

    async def _look(self) -> None:
        """Let both servers look, until neither finds anything; one that crashes starts anew at once."""
        for schedule in self.expected:
            schedule.look(self.now)
        for n in self.dice.sample(range(len(self.services)), len(self.services)):
            while True:
                try:
                    if await self.services[n].upkeep.round() > 0:
                        break
                except Crash:
                    await self.store.close()
                    self.store = store_at(self.folder / "a.db", clock=lambda: self.now, inline=True)
                    await self.store.open()
                    self.services = [self._service(n) for n in range(2)]
            self.told["look"] += 1
        self.crash = None
        crowded = self._sql(
            f"SELECT schedule, count(*) FROM rota_firings f JOIN rota_jobs j ON j.id = f.job WHERE f.open = 1 "
            f"AND j.state IN {_LIVING} GROUP BY schedule HAVING count(*) > 1"
        )
        assert crowded == [], "two jobs of a schedule at once"

    async def _end_jobs(self) -> None:
        for (job,) in self._sql(
            f"SELECT job FROM rota_firings f JOIN rota_jobs j ON j.id = f.job WHERE f.open = 1 AND j.state IN {_LIVING}"
        ):
            if self.dice.random() < 0.3:
                await self.services[0].jobs.abort(job)

    async def _pause_or_resume(self) -> None:
        await self._look()
        schedule = self.dice.choice(self.expected)
        act = self.services[0].schedules.resume if schedule.paused else self.services[0].schedules.pause
        await act(schedule.id, LOCAL)
        schedule.paused = not schedule.paused
        schedule.seen = max(schedule.seen, self.now)
        self.told["pause or resume"] += 1

    def _check(self) -> None:
        for e in self.expected:
            rows = self._sql(f"SELECT slot, fate, job FROM rota_firings WHERE schedule = '{e.id}'")
            found = {slot: fate for slot, fate, _ in rows}
            assert len(found) == len(rows)
            assert set(found) <= set(e.slots), f"{e.rule}: fired at no slot of its rule"
            sent = {slot for slot, fate in found.items() if fate == "submitted"}
            jobs = [job for _, _, job in rows if job is not None]
            assert len(jobs) == len(set(jobs)) == len(sent)
            if e.overlap is Overlap.ALLOW:
                assert sent == e.fired, (e.rule, sorted(sent ^ e.fired))
            assert e.decided <= set(found), (e.rule, sorted(e.decided - set(found)))
            assert sum(fate == "waiting" for fate in found.values()) <= 1
            self.told["slots expected"] += len(e.fired)
            self.told["slots fired"] += len(sent)
            self.told["slots missed, skipped"] += len(found) - len(sent)
        made = self._sql("SELECT count(*) FROM rota_jobs")[0][0]
        assert made == self._sql("SELECT count(*) FROM rota_firings WHERE job IS NOT NULL")[0][0], (
            "a job without a firing"
        )

    def _sql(self, statement: str) -> list[Any]:
        return self.store.inline_runner._connection.execute(statement).fetchall()
