"""Hints between servers by NOTIFY: heard at once, lost without harm, and known not to come through a pooler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from rota.core.jobs import Free, HandlerSpec, Report, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.service.relay import News, Relay
from rota.service.service import Service
from rota.store.postgres.bell import NotifyBell
from rota.store.postgres.store import PostgresStore
from tests import postgres

from .postgres_between import Bouncer
from .postgres_race import NoHooks

HELLO = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=4)
FREE = Free(process=1, asynchronous=0, total=1)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  # what is waited for happens in a server
            await asyncio.sleep(0.005)


@pytest.fixture
def bouncer() -> Iterator[Bouncer]:
    bouncer = Bouncer(postgres.cluster())
    yield bouncer
    bouncer.close()


def test_what_one_rings_the_others_hear_also_after_a_connection_was_cut() -> None:
    url = postgres.cluster().new_store()
    heard: list[News] = []
    errors: list[Exception] = []

    async def test() -> None:
        here = Relay(NotifyBell(url, "a"), "here", heard.append, failed=errors.append)
        there = Relay(NotifyBell(url, "b"), "there", lambda _news: None, failed=errors.append)
        tasks = [asyncio.create_task(relay.run()) for relay in (here, there)]
        await until(lambda: here.listening and there.listening)
        assert here.mode == "notify"
        there.tell(over=["a"], orders=["w"], events=True)
        await until(lambda: len(heard) == 2)
        assert heard[1] == News(server="there", over={"a"}, orders={"w"}, events=True)
        who = "query LIKE 'LISTEN%' AND datname = current_database()"
        cut = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {who}"
        postgres.cluster().sql(cut, url.rpartition("/")[2])
        await until(lambda: len(errors) == 2)
        await until(lambda: here.listening and there.listening)
        assert heard[2:] == [News(everybody=True)]
        there.tell(told=["c"])
        await until(lambda: len(heard) == 4)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(test())


def test_a_pooler_that_forbids_it_is_known_at_once(bouncer: Bouncer) -> None:
    url = bouncer.url(postgres.cluster().new_store())

    async def test() -> None:
        bell = NotifyBell(url, "a")
        with pytest.raises(Exception, match="a pooler in between forbids it"):
            await bell.listen(lambda _message: None, lambda: None)
        await bell.close()

    asyncio.run(test())


@pytest.mark.parametrize("pooled", [False, True])
def test_two_servers_hand_work_to_each_other_with_hints_and_without(pooled: bool, bouncer: Bouncer) -> None:
    url = postgres.cluster().new_store()
    url = bouncer.url(url) if pooled else url

    async def test() -> None:
        stores = [PostgresStore(url), PostgresStore(url)]
        for store in stores:
            await store.open()
        one, two = (
            Service(store, sender=NoHooks(), lease_s=120, bell=NotifyBell(url, str(n)))
            for n, store in enumerate(stores)
        )
        await one.start()
        await two.start()
        if not pooled:
            await until(lambda: one.signals.mode == two.signals.mode == "notify")
        worker = (await two.work.register(HELLO)).worker
        for _ in range(3):
            claim = asyncio.create_task(two.work.claim(worker, FREE, 30.0))
            job = (await one.jobs.submit(Submission(handler="h"))).id
            (lease,) = await claim
            wait = asyncio.create_task(one.jobs.wait(job, 30.0))
            watch = asyncio.create_task(two.work.watch(worker, 30.0))
            await one.jobs.abort(job)
            assert (await watch).abort
            await two.work.settle(worker, [Report(job=job, attempt=lease.attempt, outcome=Outcome.ABORTED)])
            assert (await wait).state is State.ABORTED
        assert (await one.stats()).signals == ("none" if pooled else "notify")
        for service in (one, two):
            await service.stop()
        for store in stores:
            await store.close()

    asyncio.run(asyncio.wait_for(test(), 100))
