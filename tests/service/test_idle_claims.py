"""A worker that waits asks the store for nothing: not before there is something, and not again after it took all there was."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rota.core.jobs import Free, HandlerSpec, Lease, Submission, WorkerHello
from rota.service.service import Service
from rota.store.sqlite.store import SqliteStore

HELLO = WorkerHello(
    name="w", handlers=[HandlerSpec(name="h", mode="async"), HandlerSpec(name="p")], slots=2, async_slots=9
)
ALL = Free(process=2, asynchronous=9, total=11)


class Scene:
    """A service, a worker, and how often claims have looked."""

    def __init__(self, service: Service, worker: str) -> None:
        self.service = service
        self.worker = worker
        self.looks = 0
        stopwatch = service.work._stopwatch
        write = stopwatch.write

        async def counted(what: Any, function: Any) -> Any:
            self.looks += what == "claim"
            return await write(what, function)

        stopwatch.write = counted  # type: ignore[method-assign]

    async def submit(self, *handlers: str, **fields: Any) -> None:
        await self.service.jobs.submit_many([Submission(handler=handler, **fields) for handler in handlers])

    async def claim(self, free: Free = ALL, wait_s: float = 60.0) -> list[Lease]:
        return await self.service.work.claim(self.worker, free, wait_s)

    async def waits(self, free: Free = ALL) -> asyncio.Task[list[Lease]]:
        """Begin a claim, and let it go until it waits."""
        task = asyncio.create_task(self.claim(free))
        for _ in range(5):
            await asyncio.sleep(0)
        await self.service.store.read(lambda tx: tx.last_event())  # what was asked before is answered
        for _ in range(5):
            await asyncio.sleep(0)
        return task


def run(tmp_path: Path, test: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "a.db", inline=True)
        await store.open()
        service = Service(store, sender=None)
        try:
            await test(Scene(service, (await service.work.register(HELLO)).worker))
        finally:
            await store.close()

    asyncio.run(main())


def test_who_took_all_that_there_was_does_not_look_again(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.submit("h", "p")
        assert len(await scene.claim()) == 2 and scene.looks == 1
        waiting = await scene.waits(Free(process=1, asynchronous=8, total=9))
        assert scene.looks == 1
        await scene.submit("h")
        assert len(await waiting) == 1 and scene.looks == 2

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("handlers", "fields", "free"),
    [
        (["p", "p", "p"], {}, ALL),  # no slot was left for the third one
        (["h", "p"], {}, Free(process=2, asynchronous=0, total=2)),  # the other kind was not asked for
        (["h"] * 12, {}, ALL),
        (["p", "p"], {"slots": 2}, ALL),
    ],
    ids=["no slot left", "not asked for", "more than slots", "several slots"],
)
def test_who_left_something_looks_again(
    tmp_path: Path, handlers: list[str], fields: dict[str, Any], free: Free
) -> None:
    async def test(scene: Scene) -> None:
        await scene.submit(*handlers, **fields)
        assert await scene.claim(free)
        before = scene.looks
        assert await scene.claim(ALL)
        assert scene.looks > before

    run(tmp_path, test)
