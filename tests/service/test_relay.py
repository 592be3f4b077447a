"""Several servers on one store: what one of them does wakes those who wait at the others, and losing that costs only time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rota.core.jobs import Free, HandlerSpec, LogChunk, Report, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.service.relay import LONGEST, News, Relay
from rota.service.service import Service
from tests.embedded import store_at

HELLO = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=4)
FREE = Free(process=1, asynchronous=0, total=1)


class NoHooks:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        return 204


class Tower:
    """Bells that hear each other, until they are cut off."""

    mode = "tower"

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.hearing: set[Callable[[str], None]] = set()
        self.broken = False
        self.lost = asyncio.Event()

    async def ring(self, message: str) -> None:
        if self.broken:
            raise ConnectionError("the rope is torn")
        self.messages.append(message)
        for heard in list(self.hearing):
            heard(message)

    async def listen(self, heard: Callable[[str], None], joined: Callable[[], None]) -> None:
        if self.broken:
            raise ConnectionError("the rope is torn")
        self.hearing.add(heard)
        joined()
        try:
            await self.lost.wait()
        finally:
            self.hearing.discard(heard)

    async def close(self) -> None:
        pass


class Two:
    """Two servers on one store, as on PostgreSQL; here an SQLite file, which the test lets both use."""

    def __init__(self, file: Path, *, bells: bool = True) -> None:
        self.tower = Tower()
        self.store = store_at(file, inline=True)
        self.store.exclusive = False
        self.errors: list[str] = []
        self.one, self.two = (
            Service(
                self.store,
                sender=NoHooks(),
                rng=random.Random(n),
                bell=self.tower if bells else None,
                failed=lambda step, error: self.errors.append(f"{step}: {error}"),
            )
            for n in (1, 2)
        )

    async def __aenter__(self) -> Two:
        await self.store.open()
        await self.one.start()
        await self.two.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.one.stop()
        await self.two.stop()
        await self.store.close()

    async def heard(self) -> None:
        """Wait until both servers hear."""
        async with asyncio.timeout(30):
            while len(self.tower.hearing) < 2:  # noqa: ASYNC110  # that it hears is known only by looking
                await asyncio.sleep(0.001)


def run(test: Callable[[Two], Awaitable[None]], file: Path, *, bells: bool = True) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), Two(file, bells=bells) as two:
            if bells:
                await two.heard()
            await test(two)

    asyncio.run(main())


async def waiting(coroutine: Awaitable[object]) -> asyncio.Task[object]:
    """Start it, and let it come to where it waits."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(10):
        await asyncio.sleep(0)
    return task  # type: ignore[return-value]


@pytest.fixture(params=["with signals", "without"])
def bells(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "with signals")


def test_a_job_submitted_at_one_server_starts_at_the_other_and_its_end_is_heard_at_the_first(
    tmp_path: Path, bells: bool
) -> None:
    async def test(two: Two) -> None:
        worker = (await two.two.work.register(HELLO)).worker
        claim = await waiting(two.two.work.claim(worker, FREE, 30.0))
        job = (await two.one.jobs.submit(Submission(handler="h"))).id
        (lease,) = await claim
        wait = await waiting(two.one.jobs.wait(job, 30.0))
        await two.two.work.settle(worker, [Report(job=job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED)])
        assert (await wait).state is State.SUCCEEDED

    run(test, tmp_path / "rota.db", bells=bells)


def test_an_abort_at_one_server_reaches_a_worker_at_the_other(tmp_path: Path, bells: bool) -> None:
    async def test(two: Two) -> None:
        worker = (await two.two.work.register(HELLO)).worker
        job = (await two.one.jobs.submit(Submission(handler="h"))).id
        (lease,) = await two.two.work.claim(worker, FREE, 30.0)
        watch = await waiting(two.two.work.watch(worker, 30.0))
        await two.one.jobs.abort(job)
        orders = await watch
        assert [(order.job, order.attempt) for order in orders.abort] == [(job, lease.attempt)]

    run(test, tmp_path / "rota.db", bells=bells)


def test_events_and_output_of_one_server_are_followed_at_the_other(tmp_path: Path, bells: bool) -> None:
    async def test(two: Two) -> None:
        events = two.one.feed.events()
        event = await waiting(anext(events))
        worker = (await two.two.work.register(HELLO)).worker
        job = (await two.two.jobs.submit(Submission(handler="h"))).id
        assert [each.kind for each in await event] == ["submitted"]
        (lease,) = await two.two.work.claim(worker, FREE, 30.0)
        logs = two.one.feed.logs(job)
        piece = await waiting(anext(logs))
        chunk = LogChunk(job=job, attempt=lease.attempt, n=0, stream="stdout", text="hello")
        await two.two.work.tell(worker, [chunk], [], [], [])
        assert [each.text for each in await piece] == ["hello"]
        await events.aclose()
        await logs.aclose()

    run(test, tmp_path / "rota.db", bells=bells)


def test_a_bell_that_is_lost_costs_time_and_is_taken_up_again(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        assert two.two.signals.relay is not None
        two.tower.broken = True
        two.tower.lost.set()
        worker = (await two.two.work.register(HELLO)).worker
        claim = await waiting(two.two.work.claim(worker, FREE, 30.0))
        await two.one.jobs.submit(Submission(handler="h"))
        (lease,) = await claim
        assert any(error.startswith("signals: ") for error in two.errors)
        assert two.two.signals.mode == "none" and not two.two.signals.relay.listening
        two.tower.broken = False
        two.tower.lost.clear()
        await two.heard()
        assert two.two.signals.mode == "tower"
        watch = await waiting(two.two.work.watch(worker, 30.0))
        await two.one.jobs.abort(lease.job)
        assert (await watch).abort

    run(test, tmp_path / "rota.db")


def test_who_hears_again_looks_at_everything(tmp_path: Path) -> None:
    heard: list[News] = []

    async def test() -> None:
        tower = Tower()
        relay = Relay(tower, "a", heard.append)
        task = asyncio.create_task(relay.run())
        async with asyncio.timeout(30):
            while not heard:  # noqa: ASYNC110  # the same
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(test())
    assert [news.everybody for news in heard] == [True]


def test_a_crowd_shares_messages_and_one_that_is_too_long_says_look_at_everything(tmp_path: Path) -> None:
    async def test(two: Two) -> None:
        two.tower.messages.clear()
        for _ in range(50):
            await two.one.jobs.submit(Submission(handler="nobody"))
        assert len(two.tower.messages) < 10
        two.tower.messages.clear()
        worker = (await two.two.work.register(HELLO)).worker
        claim = await waiting(two.two.work.claim(worker, FREE, 30.0))
        await two.one.jobs.submit_many(
            [Submission(handler=f"{'x' * 60}{n}") for n in range(500)] + [Submission(handler="h")]
        )
        (lease,) = await claim
        assert lease.handler == "h"
        assert all(len(message.encode()) <= LONGEST for message in two.tower.messages)
        assert any('"x":true' in message for message in two.tower.messages)

    run(test, tmp_path / "rota.db")


@pytest.mark.parametrize("message", ["", "nonsense", "[]", '{"s":1}', '{"r":[["q"]]}', "\udc80"])
def test_a_message_that_makes_no_sense_wakes_everybody(message: str) -> None:
    heard: list[News] = []
    Relay(Tower(), "a", heard.append).heard(message)
    assert [news.everybody for news in heard] == [True]


def test_its_own_messages_wake_nobody_again() -> None:
    heard: list[News] = []
    relay = Relay(Tower(), "a", heard.append)
    relay.heard('{"s":"a","e":true}')
    relay.heard('{"s":"b","e":true}')
    assert [news.server for news in heard] == ["b"]
