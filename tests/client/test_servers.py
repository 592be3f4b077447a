"""Several servers: a client goes on with another one when its own is gone, is stopping, or drops a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rota.client import AsyncClient, Client, ServerUnreachable
from rota.client.address import parse_addresses
from rota.client.async_servers import AsyncServers
from rota.client.problems import NobodyThere
from rota.client.servers import Servers
from rota.client.transport import Line, Reply, Request
from rota.core.errors import Invalid
from tests.client.live import LiveServer
from tests.processes import PATIENCE_S

GET = Request(method="GET", path="/")
QUICK = Request(method="GET", path="/quick")
WAITING = Request(method="GET", path="/", wait_s=30.0)
NOBODY = "http://127.0.0.1:9"  # nothing listens on the discard port


class FakeLine(Line):
    """Answers with what it was given, one after the other, the last one for ever."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.sent = 0

    def send(self, _request: Request) -> Reply:
        self.sent += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Reply(status=answer, body=b"")

    def close(self) -> None:
        pass


def servers(*lines: FakeLine) -> Servers:
    left: Iterator[Any] = iter(lines)
    return Servers(",".join([NOBODY] * len(lines)), lambda _address: next(left), first=lambda _n: 0)


def test_one_that_cannot_be_reached_is_passed_over_at_once_and_not_asked_again() -> None:
    gone, good = FakeLine(NobodyThere("no")), FakeLine(200)
    both = servers(gone, good)
    assert [both.send(GET).status for _ in range(3)] == [200, 200, 200]
    assert (gone.sent, good.sent) == (1, 3)


def test_a_lost_answer_is_the_callers_to_try_again_and_then_goes_elsewhere() -> None:
    """What was sent may have been done: who knows whether it may be sent twice is above."""
    torn, good = FakeLine(ServerUnreachable("torn")), FakeLine(200)
    both = servers(torn, good)
    with pytest.raises(ServerUnreachable, match="torn"):
        both.send(GET)
    assert both.send(GET).status == 200
    assert (torn.sent, good.sent) == (1, 1)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_one_that_is_stopping_is_left_for_the_next_try(status: int) -> None:
    both = servers(FakeLine(status), FakeLine(200))
    assert [both.send(GET).status, both.send(GET).status] == [status, 200]


class SilentLine(FakeLine):
    """Takes requests, and answers none but those for `/quick`, until it is closed."""

    def __init__(self) -> None:
        super().__init__(200)
        self.closed = asyncio.Event()

    async def send(self, request: Request) -> Reply:  # type: ignore[override]
        self.sent += 1
        if request.path != "/quick":
            await self.closed.wait()
            raise ServerUnreachable("closed")
        return Reply(status=200, body=b"")

    async def aclose(self) -> None:
        self.closed.set()


class Several(AsyncServers):
    """Has the time that a test gives it."""

    def __init__(self, *lines: SilentLine) -> None:
        left: Iterator[Any] = iter(lines)
        self.now = 0.0
        addresses = ",".join([NOBODY] * len(lines))
        super().__init__(addresses, lambda _address: next(left), first=lambda _n: 0, clock=lambda: self.now)

    async def given_up(self, request: Request, after_s: float) -> None:
        call = asyncio.create_task(self.send(request))
        await asyncio.sleep(0)
        self.now += after_s
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


def test_one_that_is_silent_is_left_and_so_are_the_calls_that_wait_for_it() -> None:
    """A worker's heartbeat is given up long before the connection is; its claim waits for half a minute and more."""

    async def test() -> None:
        silent, good = SilentLine(), SilentLine()
        both = Several(silent, good)
        claim = asyncio.create_task(both.send(GET))
        await asyncio.sleep(0)
        await both.given_up(GET, 1.0)
        with pytest.raises(ServerUnreachable):
            await asyncio.wait_for(claim, PATIENCE_S)
        assert (await both.send(QUICK)).status == 200
        assert (silent.sent, good.sent, good.closed.is_set()) == (2, 1, False)

    asyncio.run(test())


@pytest.mark.parametrize(("request_", "after_s"), [(GET, 0.1), (WAITING, 29.0)])
def test_one_whose_answer_is_not_due_yet_is_not_left(request_: Request, after_s: float) -> None:
    async def test() -> None:
        here, other = SilentLine(), SilentLine()
        both = Several(here, other)
        await both.given_up(request_, after_s)
        await both.send(QUICK)
        assert (here.sent, other.sent, here.closed.is_set()) == (2, 0, False)

    asyncio.run(test())


def test_one_that_answers_other_calls_meanwhile_is_not_left() -> None:
    async def test() -> None:
        here, other = SilentLine(), SilentLine()
        both = Several(here, other)
        claim = asyncio.create_task(both.send(GET))
        await asyncio.sleep(0)
        await both.send(QUICK)
        both.now += 60.0
        claim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claim
        await both.send(QUICK)
        assert (here.sent, other.sent, here.closed.is_set()) == (3, 0, False)

    asyncio.run(test())


def test_the_only_one_is_not_left() -> None:
    async def test() -> None:
        only = SilentLine()
        alone = Several(only)
        await alone.given_up(GET, 1.0)
        assert (await alone.send(QUICK)).status == 200
        assert not only.closed.is_set()

    asyncio.run(test())


def test_when_none_can_be_reached_each_is_asked_once() -> None:
    lines = [FakeLine(NobodyThere(str(n))) for n in range(3)]
    with pytest.raises(NobodyThere, match="2"):
        servers(*lines).send(GET)
    assert [line.sent for line in lines] == [1, 1, 1]


def test_addresses() -> None:
    assert [str(each) for each in parse_addresses("http://a:1, https://b:2/x,")] == ["http://a:1", "https://b:2/x"]
    assert [str(each) for each in parse_addresses("unix:/run/a,b.sock")] == ["unix:/run/a,b.sock"]
    for wrong in ("", ",", "a,b"):
        with pytest.raises(Invalid):
            parse_addresses(wrong)


def test_both_clients_ride_out_the_end_of_a_server(tmp_path: Path) -> None:
    here = LiveServer(tmp_path / "rota.db")
    urls = f"{NOBODY},{here.url},{NOBODY}"
    try:
        with Client(urls) as client:
            job = client.submit("nobody")
            assert client.get(job.id).state == "queued"

        async def test() -> None:
            async with AsyncClient(urls) as client:
                assert (await client.get(job.id)).state == "queued"
                assert [one.id async for one in client.jobs()] == [job.id]

        asyncio.run(test())
    finally:
        here.stop()
