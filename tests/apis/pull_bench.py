"""A service in virtual time, as pull workers see it: upkeep runs, and every sleep is exact and takes no time."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec import Raw

from rota.core.jobs import Job, Submission
from rota.core.states import Outcome
from rota.service.pull import PullWorkers, Taken
from rota.service.service import Service
from tests import virtual_time
from tests.embedded import store_at

SECOND = 1_000_000
START = 1_750_000_000 * SECOND
LEASE_S = 10.0


class NoHooks:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        return 204


class Bench:
    """One server at a time over one store; tests begin when rescue is no longer held back by the start."""

    def __init__(self, folder: Path, retention_s: float) -> None:
        self._file = folder / "rota.db"
        self._retention_s = retention_s
        self._servers = 0

    async def __aenter__(self) -> Bench:
        await self._start()
        await asyncio.sleep(16)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _start(self) -> None:
        self._servers += 1
        loop = virtual_time.loop()
        self.store = store_at(self._file, clock=lambda: START + round(loop.time() * SECOND), inline=True)
        await self.store.open()
        self.service = Service(
            self.store, sender=NoHooks(), pull_lease_s=LEASE_S, retention_s=self._retention_s,
            rng=random.Random(self._servers), monotonic=loop.time,
        )  # fmt: skip
        await self.service.start()

    async def _stop(self) -> None:
        await self.service.stop()
        await self.store.close()

    async def restart(self, down_s: float = 0.0) -> None:
        await self._stop()
        await asyncio.sleep(down_s)
        await self._start()

    @property
    def pull(self) -> PullWorkers:
        return self.service.pull

    def now(self) -> float:
        return virtual_time.loop().time()

    async def add(self, function: str = "f", **fields: Any) -> str:
        fields = {"args": Raw(b"[]"), "data": Raw(b"{}"), **fields}
        return (await self.pull.add(Submission(handler=function, **fields))).id

    async def job(self, task: str) -> Job:
        return await self.service.jobs.get(task)

    async def take(self, worker: str, wait_s: float = 0.0) -> Job:
        """Take a task, as the edge does whose client gets its answer."""
        taken = await self.pull.take(worker, wait_s)
        assert taken.task is not None
        await self.pull.deliver(worker, taken.task)
        return taken.task

    async def nothing(self, worker: str, wait_s: float = 0.0) -> Taken:
        taken = await self.pull.take(worker, wait_s)
        assert taken.task is None
        return taken

    async def completed(self, task: Job, worker: str | None = None) -> Job:
        return await self.pull.report(task.id, Outcome.SUCCEEDED, worker=worker)

    async def beat(self, worker: str, seconds: float, every_s: float = 5.0) -> None:
        """Let time pass while this worker sends heartbeats."""
        until = self.now() + seconds
        while self.now() < until:
            await self.pull.heartbeat(worker)
            await asyncio.sleep(min(every_s, until - self.now()))

    async def outcomes(self, task: str) -> list[str]:
        return [str(attempt.outcome) for attempt in await self.service.jobs.attempts(task) if attempt.outcome]

    def counted(self) -> dict[str, int]:
        """Return how many tasks are in each state, counted row by row."""
        with sqlite3.connect(self._file) as connection:
            sql = (
                "SELECT CASE WHEN reason = 'timed_out' THEN reason ELSE state END, count(*) FROM rota_jobs "
                "WHERE kind = 'pull' GROUP BY 1"
            )
            return dict(connection.execute(sql).fetchall())


def run(folder: Path, test: Callable[[Bench], Awaitable[None]], *, retention_s: float = 86400.0) -> None:
    """Run a test in virtual time."""

    async def main() -> None:
        async with Bench(folder, retention_s) as bench:
            await test(bench)

    virtual_time.run(main)
