"""A service on a store with a clock of its own, and workers that the test plays: what they run is said, not done."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from msgspec import Raw, json

from rota.core.jobs import Free, HandlerSpec, Held, InputReport, Lease, Orders, Report, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.core.times import SECOND
from rota.service.service import Service
from tests import virtual_time
from tests.embedded import store_at
from tests.service.test_hooks import START, Receiver, status

LEASE_S = 15.0
OK = Outcome.SUCCEEDED
SPECS = [HandlerSpec(name="h"), HandlerSpec(name="again", retries=2), HandlerSpec(name="a", mode="async")]


class Scene:
    """One life of a service; `now` is the store's clock, and upkeep goes round only in `let`."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.store = store_at(folder / "a.db", clock=lambda: self.now, inline=True)
        self.receiver = Receiver(lambda _: status(204))

    async def open(self) -> Scene:
        await self.store.open()
        self.service = Service(
            self.store, sender=self.receiver, rng=random.Random(1), lease_s=LEASE_S,
            monotonic=lambda: (self.now - START) / SECOND,
        )  # fmt: skip
        self.jobs, self.work, self.upkeep = self.service.jobs, self.service.work, self.service.upkeep
        await self.upkeep.begin()
        return self

    def sql(self, statement: str) -> list[Any]:
        return self.store.inline_runner._connection.execute(statement).fetchall()

    # -- people

    async def submit(self, inputs: int | Iterable[Any] = 10, handler: str = "h", **fields: Any) -> str:
        values = list(range(inputs)) if isinstance(inputs, int) else list(inputs)
        job = await self.jobs.submit(Submission(handler=handler, inputs=Raw(json.encode(values)), **fields))
        return job.id

    async def plain(self, **fields: Any) -> str:
        return (await self.jobs.submit(Submission(**{"handler": "h", **fields}))).id

    async def states(self, job: str) -> dict[int, State]:
        """What became of the inputs that are over, in their order."""
        lines = await self.jobs.results(job, limit=10_000)
        assert [line.outcome.index for line in lines] == sorted(line.outcome.index for line in lines)
        return {line.outcome.index: line.outcome.state for line in lines}

    async def array(self, job: str) -> tuple[int, int, int]:
        """Return (done, failed, live)."""
        array = (await self.jobs.get(job)).array
        assert array is not None
        return array.done, array.failed, array.live

    # -- workers

    async def worker(self, slots: int = 1, **hello: Any) -> str:
        made = WorkerHello(
            **{
                "name": "w",
                "handlers": SPECS,
                "slots": slots,
                "async_slots": 2,
                "scripts": True,
                "arrays": True,
                **hello,
            }
        )
        return (await self.work.register(made)).worker

    async def claim(self, worker: str, n: int = 1, wait_s: float = 0.0, **free: int) -> list[Lease]:
        return await self.work.claim(worker, Free(**{"process": n, "asynchronous": 0, "total": n, **free}), wait_s)

    async def one(self, worker: str) -> Lease:
        (lease,) = await self.claim(worker)
        return lease

    async def tell(self, worker: str, lease: Lease, *indices: int, outcome: Outcome = OK, **fields: Any) -> None:
        reports = [
            InputReport(job=lease.job, attempt=lease.attempt, index=index, outcome=outcome, **fields)
            for index in indices
        ]
        await self.work.tell(worker, [], [], [], reports)

    async def end(self, worker: str, lease: Lease, outcome: Outcome = OK, **fields: Any) -> State | None:
        """Report a shard's end; return its array's state."""
        report = Report(job=lease.job, attempt=lease.attempt, outcome=outcome, **fields)
        (answer,) = await self.work.settle(worker, [report])
        assert answer.accepted
        return answer.state

    async def finish(self, worker: str, lease: Lease) -> State | None:
        """Tell that every input of a shard has succeeded, and the shard's end."""
        await self.tell(worker, lease, *indices(lease), duration_s=0.1)
        return await self.end(worker, lease)

    async def run_all(self, worker: str) -> list[int]:
        """Run what there is, and return the inputs in the order in which they were leased."""
        seen = []
        while leases := await self.claim(worker):
            seen += indices(leases[0])
            await self.finish(worker, leases[0])
        return seen

    async def beat(self, worker: str, *leases: Lease) -> Orders:
        return await self.work.heartbeat(worker, [Held(job=lease.job, attempt=lease.attempt) for lease in leases])

    # -- time

    async def let(self, seconds: float, **held: list[Lease]) -> None:
        """Let time pass while upkeep goes round, and the workers named as in `held` go on with their heartbeats."""
        until = self.now + round(seconds * SECOND)
        while self.now < until:
            self.now = min(self.now + 2 * SECOND, until)
            for worker, leases in held.items():
                await self.beat(worker, *leases)
            while not await self.upkeep.round():
                pass


def indices(lease: Lease) -> list[int]:
    assert lease.first is not None
    return list(range(lease.first, lease.first + len(lease.inputs)))


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    """Run a story from its beginning on a fresh store."""

    async def main() -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            scene = await Scene(Path(folder)).open()
            await story(scene)
            await scene.service.hooks.close()
            await scene.store.close()

    virtual_time.run(main)
