"""Hooks (invariant 9): at least once, with back-off, across a restart; a slow receiver slows nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rota.core.jobs import Submission
from rota.core.times import SECOND
from rota.service.hooks import MAX_TRIES, Hooks
from rota.service.service import Service
from tests.embedded import store_at

START = 1_800_000_000 * SECOND
Answer = Callable[[str], Awaitable[int]]


class Receiver:
    """Answers as it is told to; keeps who was called."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.calls: list[str] = []

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        self.calls.append(url)
        return await self.answer(url)


async def status(code: int) -> int:
    return code


class Scene:
    """A store with a clock of its own, a service whose upkeep is not running, and jobs that ended with a hook each."""

    def __init__(self, folder: Path, answer: Answer) -> None:
        self.now = START
        self.folder = folder
        self.store = store_at(folder / "a.db", clock=lambda: self.now, inline=True)
        self.receiver = Receiver(answer)

    async def open(self) -> Scene:
        await self.store.open()
        self.service = Service(self.store, sender=self.receiver, rng=random.Random(1))
        return self

    async def ended(self, *urls: str) -> list[str]:
        jobs = [await self.service.jobs.submit(Submission(handler="noop", hook=url)) for url in urls]
        for job in jobs:
            await self.service.jobs.abort(job.id)
        return [job.id for job in jobs]

    async def deliver(self, hooks: Hooks | None = None) -> None:
        """Take what is due, and let what can end do so."""
        await (hooks or self.service.hooks).step()
        for _ in range(20):
            await asyncio.sleep(0)

    async def row(self, job: str) -> Any:
        (row,) = await self.service.jobs.deliveries(job)
        return row


def scene_of(tmp_path: Path, answer: Answer, story: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        scene = await Scene(tmp_path, answer).open()
        await story(scene)
        await scene.service.hooks.close()
        await scene.store.close()

    asyncio.run(main())


def test_what_fails_is_tried_again_later_and_later_and_given_up(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        (job,) = await scene.ended("http://a.example/x")
        pauses = []
        for tries in range(1, MAX_TRIES + 1):
            await scene.deliver()
            row = await scene.row(job)
            assert (row.tries, len(scene.receiver.calls), row.log[-1].status) == (tries, tries, 500)
            if row.next_at is not None:
                pauses.append((row.next_at - scene.now) / SECOND)
                await scene.deliver()
                assert len(scene.receiver.calls) == tries, "not before its time"
                scene.now = row.next_at
        assert row.gave_up and row.next_at is None and row.done_at == scene.now
        assert len(pauses) == MAX_TRIES - 1
        assert 2.5 <= pauses[0] <= 5 and pauses[-1] <= 6 * 3600 and pauses[4] > pauses[0] * 10

    scene_of(tmp_path, lambda _: status(500), story)


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        (job,) = await scene.ended("http://a.example/x")
        await scene.deliver()
        assert (await scene.row(job)).gave_up

    scene_of(tmp_path, lambda _: status(410), story)


def test_a_redirect_is_no_success_and_no_answer_is_told_with_its_reason(tmp_path: Path) -> None:
    async def answer(url: str) -> int:
        if "moved" in url:
            return 302
        raise ConnectionRefusedError("nobody listens")

    async def story(scene: Scene) -> None:
        moved, dead = await scene.ended("http://a.example/moved", "http://b.example/dead")
        await scene.deliver()
        assert (await scene.row(moved)).next_at is not None
        assert "nobody listens" in (await scene.row(dead)).log[-1].error

    scene_of(tmp_path, answer, story)


def test_a_slow_receiver_slows_nobody_else_even_with_a_flood(tmp_path: Path) -> None:
    stuck = asyncio.Event

    async def story(scene: Scene) -> None:
        never = stuck()

        async def answer(url: str) -> int:
            if "slow" in url:
                await never.wait()
            return 204

        scene.receiver.answer = answer
        slow = await scene.ended(*["http://slow.example/x"] * 40)
        quick = await scene.ended(*["http://quick.example/x"] * 5)
        for _ in range(3):
            await scene.deliver()
        assert [(await scene.row(job)).done_at is not None for job in quick] == [True] * 5
        assert [(await scene.row(job)).done_at is not None for job in slow] == [False] * 40
        assert sum("slow" in url for url in scene.receiver.calls) <= 8, "a host gets so many at once"

    scene_of(tmp_path, lambda _: status(204), story)


def test_what_was_under_way_when_the_server_died_is_delivered_by_the_next(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        never = asyncio.Event()

        async def hang(_: str) -> int:
            await never.wait()
            return 204

        scene.receiver.answer = hang
        (job,) = await scene.ended("http://a.example/x")
        await scene.deliver()
        assert scene.receiver.calls == ["http://a.example/x"]
        await scene.service.hooks.close()  # as if it had died: nothing is written down
        successor = Receiver(lambda _: status(204))
        hooks = Hooks(scene.store, successor, secret=None, jitter=lambda: 0.5)
        await scene.deliver(hooks)
        assert successor.calls == [], "it is hidden while the other might still be at it"
        scene.now += 60 * SECOND
        await scene.deliver(hooks)
        assert successor.calls == ["http://a.example/x"]
        assert (await scene.row(job)).done_at == scene.now and not (await scene.row(job)).gave_up

    scene_of(tmp_path, lambda _: status(204), story)
