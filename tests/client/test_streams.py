from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.client import AsyncClient, Client, ServerUnreachable
from rota.client.streams import EventStream
from tests.client.fakes import FakeServer, reply

TEXT = b"retry: 1000\n\n: alive\n\nid: 1.0\nevent: log\ndata: {}\n\ndata: a\r\ndata: b\r\n\r\nid: 2\ndata:c\n\n"


@given(st.lists(st.integers(0, len(TEXT)), max_size=8))
def test_events_do_not_depend_on_where_the_pieces_end(cuts: list[int]) -> None:
    stream = EventStream()
    edges = [0, *sorted(cuts), len(TEXT)]
    events = [event for a, b in pairwise(edges) for event in stream.feed(TEXT[a:b])]
    assert events == [("log", b"{}"), ("message", b"a\nb"), ("message", b"c")]
    assert stream.last_id == "2"


def log(n: int) -> bytes:
    at = b'"2026-01-01T00:00:00Z"'
    return b'id: 1.%d\nevent: log\ndata: {"attempt":1,"n":%d,"stream":"stdout","at":%b,"text":"%d"}\n\n' % (n, n, at, n)


def stream(*parts: bytes) -> bytes:
    return b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + b"".join(parts)


END = b'event: end\ndata: {"state":"succeeded"}\n\n'
STOPPED = b'event: end\ndata: {"state":"running"}\n\n'


def test_a_broken_stream_goes_on_where_it_was() -> None:
    fake = FakeServer(
        [stream(log(0), log(1), b"id: 1.2\nevent: log\nda"), reply(503), stream(log(2), STOPPED), stream(log(3), END)]
    )
    client = Client(fake.url, sleep=lambda _: None)
    assert [piece.n for piece in client.logs("x", follow=True)] == [0, 1, 2, 3]
    assert [seen.headers.get("last-event-id") for seen in fake.seen] == [None, "1.1", "1.1", "1.2"]

    async def main() -> None:
        fake.seen.clear()
        async with AsyncClient(fake.url, sleep=lambda _: asyncio.sleep(0)) as client:
            assert [piece.n async for piece in client.logs("x", follow=True)] == [0, 1, 2, 3]

    asyncio.run(main())
    fake.close()


def test_a_stream_that_never_comes_is_given_up() -> None:
    fake = FakeServer([None])
    with pytest.raises(ServerUnreachable):
        list(Client(fake.url, sleep=lambda _: None).logs("x", follow=True))
    assert len(fake.seen) == 10
    fake.close()
