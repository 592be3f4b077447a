"""A store that nobody serves any more gives back what runs, and not before its leases are over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import Raw

from rota.core.errors import StoreInUse
from rota.core.jobs import Free, HandlerSpec, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.core.times import SECOND
from rota.service.handover import give_back
from rota.service.service import Service
from tests.embedded import store_at

START = 1_800_000_000 * SECOND


class Scene:
    """A service without a server, at a time that only the test moves."""

    def __init__(self, path: Path) -> None:
        self.now = START
        self.slept: list[float] = []
        self.store = store_at(path, clock=lambda: self.now, inline=True)
        self.service = Service(self.store, sender=None, rng=random.Random(1), monotonic=lambda: 0.0)  # type: ignore[arg-type]

    async def claim(self, name: str) -> str:
        hello = WorkerHello(name=name, handlers=[HandlerSpec(name="h")], slots=9, arrays=True)
        worker = (await self.service.work.register(hello)).worker
        await self.service.work.claim(worker, Free(process=1, asynchronous=0, total=1))
        return worker

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += round(seconds * SECOND)


def run(path: Path, play: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        scene = Scene(path)
        await scene.store.open()
        await play(scene)
        await scene.store.close()

    asyncio.run(main())


def test_each_lease_is_waited_for_and_no_attempt_is_charged(tmp_path: Path) -> None:
    async def play(scene: Scene) -> None:
        jobs = scene.service.jobs
        ids = [(await jobs.submit(Submission(handler="h"))).id for _ in range(2)]
        array = (await jobs.submit(Submission(handler="h", inputs=Raw(b"[1]")))).id
        stopped = (await jobs.submit(Submission(handler="h"))).id
        for n in range(4):
            await scene.claim(f"w{n}")
            scene.now += SECOND
        await jobs.abort(stopped)
        assert await give_back(scene.service, scene.sleep) == 4
        assert scene.slept == [11.0, 1.0, 1.0, 1.0]
        for job in [await jobs.get(id_) for id_ in ids]:
            assert (job.state, job.attempt, job.failures, job.crashes) == (State.QUEUED, 1, 0, 0)
            (attempt,) = await scene.store.read(lambda tx, id_=job.id: tx.attempts_of(id_))
            assert attempt.outcome is Outcome.LOST
        assert (await jobs.get(array)).state is State.RUNNING
        assert await scene.store.read(lambda tx: tx.shards_of(array)) == []
        ended = await jobs.get(stopped)
        assert (ended.state, ended.confirmed) == (State.ABORTED, False)
        assert await give_back(scene.service, scene.sleep) == 0, "there is nothing left to do"

    run(tmp_path / "a.db", play)


def test_a_lease_with_an_end_of_its_own_is_waited_for_though_its_worker_is_gone(tmp_path: Path) -> None:
    async def play(scene: Scene) -> None:
        job = (await scene.service.jobs.submit(Submission(handler="h"))).id
        worker = await scene.claim("w")
        await scene.service.work.heartbeat(worker, [])  # it has not heard of what it got
        scene.now += 5 * SECOND
        await scene.store.write(lambda tx: tx.bury_worker(worker, "its lease ran out"))
        assert await give_back(scene.service, scene.sleep) == 1
        assert sum(scene.slept) > 0
        assert (await scene.service.jobs.get(job)).state in (State.QUEUED, State.SCHEDULED)

    run(tmp_path / "a.db", play)


def test_a_lease_that_is_renewed_tells_of_a_server(tmp_path: Path) -> None:
    async def play(scene: Scene) -> None:
        worker = await scene.claim("w")

        async def sleep(seconds: float) -> None:
            await scene.sleep(seconds)
            await scene.service.work.heartbeat(worker, [])

        with pytest.raises(StoreInUse, match="a worker's lease was renewed"):
            await give_back(scene.service, sleep)

    run(tmp_path / "a.db", play)


def test_a_worker_that_comes_tells_of_a_server(tmp_path: Path) -> None:
    async def play(scene: Scene) -> None:
        await scene.claim("w")

        async def sleep(seconds: float) -> None:
            await scene.sleep(seconds)
            await scene.claim("new")

        with pytest.raises(StoreInUse, match="a worker's lease was renewed"):
            await give_back(scene.service, sleep)

    run(tmp_path / "a.db", play)
