"""Arrays through the clients: inputs of all kinds go out, results come back as a stream that survives breaks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import pytest

from rota.client import AsyncClient, Client
from rota.client.problems import ServerUnreachable
from rota.client.submission import body_of_item, inputs_of
from rota.client.transport import Request
from rota.client.views import Result
from rota.core.arrays import MAX_INPUTS
from rota.core.errors import Invalid, NotFound, TooLarge
from tests.client.live import Hands, LiveServer


def test_a_handler_is_called_for_each_input(client: Client, hands: Hands) -> None:
    job = client.submit("echo", inputs=({"n": n} for n in range(50)), parallel=2)
    assert job.array is not None
    assert (job.array.inputs, job.array.parallel) == (50, 2)
    lines = list(job.results())
    assert [(line.index, line.input, line.result, line.state) for line in lines] == [
        (n, {"n": n}, {"n": n}, "succeeded") for n in range(50)
    ]
    job.refresh()
    assert job.state == "succeeded"
    assert (job.array.done, job.array.failed) == (50, 0)


def test_results_of_those_that_failed(client: Client, hands: Hands) -> None:
    job = client.submit("fail", inputs=range(10), retries=0)
    assert [(line.index, line.error and line.error.message) for line in job.results(failed=True)] == [
        (n, str(n)) for n in (1, 3, 5, 7, 9)
    ]
    assert job.refresh().state == "failed"
    assert job.array is not None
    assert job.array.failed == 5
    assert len(list(job.results())) == 10
    assert [line.index for line in job.results(after=7)] == [8, 9]


def test_results_that_are_there_without_waiting(client: Client) -> None:
    job = client.submit("nobody-has-it", inputs=[1, 2])
    assert list(job.results(follow=False)) == []
    assert list(job.results(follow=False, failed=True)) == []
    job.abort()
    assert list(job.results()) == []


def test_scripts_take_lines(client: Client, hands: Hands) -> None:
    job = client.submit_script("echo $1", inputs="one\ntwo\n", halt="soon,fail=1", limits={"memory": "64M"})
    assert [(line.input, line.stdout) for line in job.results()] == [("one", 'out "one"\n'), ("two", 'out "two"\n')]
    assert job.array is not None
    assert job.array.halt == "soon,fail=1"
    assert job.limits == {"memory": 64 << 20}


def test_a_job_without_inputs_has_no_results(client: Client, hands: Hands) -> None:
    job = client.submit("echo", 1)
    assert job.array is None
    with pytest.raises(NotFound, match="has no inputs"):
        list(job.results())


def test_the_same_with_asyncio(server: LiveServer, hands: Hands) -> None:
    async def use() -> None:
        async with AsyncClient(server.url) as client:
            job = await client.submit("fail", inputs=range(6))
            assert [line.index async for line in job.results(failed=True)] == [1, 3, 5]
            assert [line.index async for line in job.results(after=2)] == [3, 4, 5]
            assert [line.index async for line in client.results(job.id, follow=False)] == list(range(6))

    asyncio.run(use())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": [1], "parallel": 0}, "parallel"),
        ({"inputs": [1], "halt": "whenever"}, "halt"),
        ({"halt": "now,fail=1"}, "halt"),
        ({"inputs": {1: object()}.values()}, "is not JSON"),
    ],
)
def test_wrong_arrays_are_refused_by_the_name_of_the_field(client: Client, options: Any, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        client.submit("echo", **options)


def test_inputs_are_written_as_they_come() -> None:
    assert inputs_of([]) == (msgspec.Raw(b"[]"), 0)
    raw, count = inputs_of(f"é{n}" for n in range(10_000))
    assert count == 10_000
    assert msgspec.json.decode(raw) == [f"é{n}" for n in range(10_000)]
    taken = itertools.count()
    with pytest.raises(TooLarge, match="more than 1,000,000"):
        inputs_of(taken)
    assert next(taken) < MAX_INPUTS + 10_000, "an endless list is not read for ever"
    with pytest.raises(TooLarge, match="256 MiB"):
        inputs_of("x" * (1 << 20) for _ in range(300))


def test_an_item_of_many_may_be_an_array() -> None:
    assert (
        msgspec.json.encode(body_of_item({"handler": "h", "inputs": range(3)})) == b'{"handler":"h","inputs":[0,1,2]}'
    )


class Broken:
    """A server's results, cut into pieces of `size` bytes, of which each answer brings `pieces` before it breaks."""

    def __init__(self, count: int, size: int, pieces: int) -> None:
        self.lines = [msgspec.json.encode({"index": n, "state": "succeeded"}) + b"\n" for n in range(count)]
        self.size = size
        self.pieces = pieces
        self.asked: list[str] = []

    def answer(self, path: str) -> Iterator[bytes]:
        self.asked.append(path)
        after = int(path.partition("after=")[2].partition("&")[0] or -1)
        body = b"".join(self.lines[after + 1 :])
        for n, at in enumerate(range(0, len(body), self.size)):
            if n == self.pieces:
                raise ServerUnreachable("broken")
            yield body[at : at + self.size]

    @contextmanager
    def stream(self, request: Request) -> Iterator[tuple[int, Iterator[bytes]]]:
        yield 200, self.answer(request.path)

    @asynccontextmanager
    async def astream(self, request: Request) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in self.answer(request.path):
                yield piece

        yield 200, pieces()


@pytest.mark.parametrize(("size", "pieces"), [(7, 9), (64, 3), (1000, 1), (1 << 20, 1)])
def test_a_stream_that_breaks_goes_on_after_the_last_whole_line(size: int, pieces: int) -> None:
    broken = Broken(100, size, pieces)
    client = Client("http://127.0.0.1:9", sleep=lambda _: None)
    client._servers.stream = broken.stream  # type: ignore[method-assign, assignment]
    assert [line.index for line in client.results("j", follow=False)] == list(range(100))
    assert len(broken.asked) > 1 or size > 4000


def test_an_async_stream_too() -> None:
    broken = Broken(50, 30, 4)

    async def at_once(_: float) -> None:
        pass

    async def use() -> None:
        client = AsyncClient("http://127.0.0.1:9", sleep=at_once)
        client._servers.stream = broken.astream  # type: ignore[method-assign, assignment]
        assert [line.index async for line in client.results("j", follow=False)] == list(range(50))

    asyncio.run(use())


def test_a_server_that_restarts_in_the_middle_is_asked_again(server: LiveServer, client: Client) -> None:
    job = client.submit("later", inputs=range(5))
    found: Iterator[Result] = job.results()
    server.stop()
    server.__init__(server.file, server.port)  # type: ignore[misc]  # the same server, again
    job.abort()
    assert list(found) == []
