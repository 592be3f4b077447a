"""Hints between servers through a real Valkey, which goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rota.client.redis import RedisBell
from rota.core.errors import Invalid
from rota.service.relay import News, Relay
from tests.valkey import Valkey

PASSWORD = "not-to-be-seen"


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path, PASSWORD)
    yield server
    server.kill()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  # what is waited for happens in a server
            await asyncio.sleep(0.005)  # between two looks


def test_what_one_rings_the_others_hear_also_after_the_server_was_away(valkey: Valkey) -> None:
    heard: list[News] = []
    errors: list[str] = []

    async def test() -> None:
        here = Relay(RedisBell(valkey.url), "here", heard.append, failed=lambda error: errors.append(repr(error)))
        there = Relay(
            RedisBell(valkey.url), "there", lambda _news: None, failed=lambda error: errors.append(repr(error))
        )
        tasks = [asyncio.create_task(relay.run()) for relay in (here, there)]
        await until(lambda: here.listening and there.listening)
        there.tell(over=["a", "b"], orders=["w"], events=True)
        await until(lambda: len(heard) == 2)
        assert heard[1] == News(server="there", over={"a", "b"}, orders={"w"}, events=True)
        valkey.kill()
        await until(lambda: not here.listening and not there.listening)
        there.tell(told=["lost"])
        await until(lambda: len(errors) == 2)  # each says it once
        valkey.start()
        await until(lambda: here.listening and there.listening)
        assert heard[2:] == [News(everybody=True)]
        there.tell(told=["c"])
        await until(lambda: len(heard) == 4)
        assert heard[3].told == {"c"}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(test())
    assert not any(PASSWORD in error for error in errors)


@pytest.mark.parametrize("url", ["", "redis", "redis://", "http://a", "postgresql://a"])
def test_what_is_no_url_of_a_redis_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="signals: is the URL"):
        RedisBell(url)
