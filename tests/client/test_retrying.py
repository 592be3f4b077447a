"""When a call is sent again, by the pure policy and by both clients, with their pauses injected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from rota.client import AsyncClient, Client, ServerUnreachable
from rota.client.problems import TYPE_PREFIX
from rota.client.retrying import Retrying
from rota.client.transport import Reply
from rota.core.errors import Invalid, Unavailable
from tests.client.fakes import FakeServer, reply

JOB = b'{"id":"j","state":"queued","submitted_at":"2026-01-01T00:00:00.000000Z","run_at":"2026-01-01T00:00:00.000000Z"}'
IN_FLIGHT = json.dumps({"type": TYPE_PREFIX + "in-flight", "detail": "wait"}).encode()
CONFLICT = json.dumps({"type": TYPE_PREFIX + "conflict", "detail": "over", "state": "failed"}).encode()
LOST = ServerUnreachable("lost")


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    server = FakeServer([])
    yield server
    server.close()


@pytest.mark.parametrize(
    ("outcome", "again"),
    [
        (LOST, True),
        (Reply(status=201, body=JOB), False),
        (Reply(status=409, body=IN_FLIGHT), True),
        (Reply(status=409, body=CONFLICT), False),
        (Reply(status=422, body=b"{}"), False),
        (Reply(status=429, body=b""), True),
        (Reply(status=500, body=b""), False),
        (Reply(status=502, body=b"<html>"), True),
        (Reply(status=503, body=b""), True),
        (Reply(status=504, body=b""), True),
    ],
)
def test_what_passes_with_time_is_tried_again(outcome: Reply | ServerUnreachable, again: bool) -> None:
    assert (Retrying().pause_s(outcome, 1, 0.5) is not None) is again


def test_ten_tries_with_growing_pauses_and_jitter() -> None:
    high = [Retrying().pause_s(LOST, tried, 1.0) for tried in range(1, 11)]
    low = [Retrying().pause_s(LOST, tried, 0.0) for tried in range(1, 11)]
    assert high == [pytest.approx(p) for p in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5)] + [None]
    assert low[:9] == [pytest.approx(p / 2) for p in high[:9] if p is not None]


@pytest.mark.parametrize(("header", "least"), [("7", 7.0), ("0", 0.05), ("-3", 0.05), ("9999999", 60.0), ("nan", 0.05),
                                               ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0)])  # fmt: skip
def test_retry_after_is_honoured_within_reason(header: str, least: float) -> None:
    pause = Retrying().pause_s(Reply(status=503, body=b"", retry_after=header), 1, 0.0)
    assert pause == pytest.approx(least)


def test_a_lost_reply_is_asked_for_again_with_the_same_key(fake: FakeServer) -> None:
    fake.answers = [None, reply(503, b"", "Retry-After: 2"), reply(409, IN_FLIGHT), reply(201, JOB)]
    pauses: list[float] = []
    client = Client(fake.url, sleep=pauses.append, jitter=lambda: 1.0)
    assert client.submit("resize", {"a": 1}).id == "j"
    keys = {seen.headers["idempotency-key"] for seen in fake.seen}
    assert len(fake.seen) == 4
    assert len(keys) == 1
    assert {seen.body for seen in fake.seen} == {b'{"handler":"resize","data":{"a":1}}'}
    assert pauses == [pytest.approx(p) for p in (0.1, 2.0, 0.4)]
    client.submit("resize", {"a": 1})
    assert fake.seen[-1].headers["idempotency-key"] not in keys


def test_the_callers_key_is_sent(fake: FakeServer) -> None:
    fake.answers = [reply(201, JOB)]
    client = Client(fake.url)
    client.submit("resize", key="a.png@80")
    client.submit_script("true", key="b")
    fake.answers = [reply(201, b'{"items":[],"next":null}')]
    client.submit_many([{"handler": "x"}], key="c")
    assert [seen.headers["idempotency-key"] for seen in fake.seen] == ["a.png@80", "b", "c"]


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256, "a\nb"])
def test_a_key_that_no_header_can_carry_is_refused_here(key: str) -> None:
    with pytest.raises(Invalid, match="key"):
        Client("http://127.0.0.1:1").submit("x", key=key)


def test_the_last_failure_is_told_after_ten_tries(fake: FakeServer) -> None:
    fake.answers = [reply(503, json.dumps({"type": TYPE_PREFIX + "unavailable", "detail": "disk full"}).encode())]
    pauses: list[float] = []
    with pytest.raises(Unavailable, match="disk full"):
        Client(fake.url, sleep=pauses.append).get("x")
    assert (len(fake.seen), len(pauses)) == (10, 9)
    fake.answers = [None]
    with pytest.raises(ServerUnreachable, match="broke before the answer came"):
        Client(fake.url, sleep=pauses.append).get("x")
    assert len(fake.seen) == 20


def test_the_async_client_does_the_same(fake: FakeServer) -> None:
    fake.answers = [None, reply(503, b"", "Retry-After: 2"), reply(201, JOB)]
    pauses: list[float] = []

    async def sleep(pause: float) -> None:
        pauses.append(pause)

    async def main() -> None:
        async with AsyncClient(fake.url, sleep=sleep, jitter=lambda: 1.0) as client:
            assert (await client.submit("resize")).id == "j"
        async with AsyncClient("http://127.0.0.1:1", sleep=sleep, tries=3) as client:
            with pytest.raises(ServerUnreachable, match="connection refused"):
                await client.get("x")

    asyncio.run(main())
    assert len({seen.headers["idempotency-key"] for seen in fake.seen}) == 1
    assert pauses[:2] == [pytest.approx(0.1), pytest.approx(2.0)]
    assert len(pauses) == 4
