"""The work queue over HTTP: what the conformance suite does not see, lost replies and errors."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from rota.client import Client
from rota.client.work_queue import HttpWorkQueue
from rota.core.errors import Invalid, NotFound, Unavailable
from rota.core.jobs import Free, HandlerSpec, Held, HookCall, LogChunk, Report, WorkerHello
from rota.core.states import Outcome
from rota.worker.queue import WorkQueue
from tests.client.fakes import FakeServer, reply
from tests.client.live import LiveServer

HELLO = WorkerHello(name="w", handlers=[HandlerSpec(name="mine")])
FREE = Free(process=8, asynchronous=0, total=8)


def test_it_has_the_protocols_verbs() -> None:
    for name, verb in inspect.getmembers(WorkQueue, inspect.iscoroutinefunction):
        ours = inspect.signature(getattr(HttpWorkQueue, name))
        assert ours.parameters.keys() == inspect.signature(verb).parameters.keys()


@pytest.mark.parametrize("way", ["url", "unix"])
def test_a_job_from_claim_to_settle(server: LiveServer, client: Client, way: str) -> None:
    async def main() -> None:
        queue = HttpWorkQueue(server.url if way == "url" else f"unix:{server.socket}")
        worker = (await queue.register(HELLO)).worker
        claiming = asyncio.create_task(queue.claim(worker, FREE, 10.0))
        watching = asyncio.create_task(queue.watch(worker, 10.0))
        job = await asyncio.to_thread(client.submit, "mine", [1, 2], args=[3], timeout=60)
        (lease,) = await claiming
        assert (lease.job, lease.attempt, bytes(lease.data), bytes(lease.args)) == (job.id, 1, b"[1,2]", b"[3]")
        assert lease.timeout_s == 60
        held = Held(job=job.id, attempt=1)
        assert not (await queue.heartbeat(worker, [held])).abort
        chunk = LogChunk(job=job.id, attempt=1, n=0, stream="stderr", text="\N{SNOWMAN}\0\x1b")
        await queue.tell(worker, [chunk, chunk], [], [HookCall(job=job.id, attempt=1, n=0)], [])
        await asyncio.to_thread(client.abort, job)
        (order,) = (await watching).abort
        assert (order.job, order.attempt, order.why) == (job.id, 1, "requested")
        (settled,) = await queue.settle(worker, [Report(job=job.id, attempt=1, outcome=Outcome.ABORTED)])
        assert (settled.accepted, settled.state) == (True, "aborted")
        (again,) = await queue.settle(worker, [Report(job=job.id, attempt=1, outcome=Outcome.SUCCEEDED)])
        assert not again.accepted
        assert [log.text for log in client.logs(job)] == ["\N{SNOWMAN}\0\x1b"]
        assert await queue.claim(worker, FREE, 0.0) == []
        await queue.leave(worker)
        with pytest.raises(NotFound):
            await queue.heartbeat(worker, [])
        await queue.aclose()

    asyncio.run(main())


def test_what_goes_wrong_is_told_and_never_tried_twice() -> None:
    unavailable = b'{"type":"urn:rota:problem:unavailable","detail":"disk full"}'
    fake = FakeServer([None, reply(503, unavailable), reply(404, b'{"type":"urn:rota:problem:not-found"}'), reply(200)])

    async def main() -> None:
        queue = HttpWorkQueue(fake.url)
        with pytest.raises(ConnectionError):
            await queue.claim("w", FREE, 0.0)
        with pytest.raises(Unavailable, match="disk full"):
            await queue.claim("w", FREE, 0.0)
        with pytest.raises(NotFound):
            await queue.watch("a/b", 0.0)
        with pytest.raises(ConnectionError, match="no Rota server"):
            await queue.claim("w", FREE, 0.0)
        await queue.aclose()
        gone = HttpWorkQueue("unix:/nowhere/x.sock")
        with pytest.raises(ConnectionError):
            await gone.register(HELLO)
        await gone.aclose()

    asyncio.run(main())
    assert len(fake.seen) == 4
    assert "/v1/workers/a%2Fb/watch" in fake.seen[2].line
    fake.close()
    with pytest.raises(Invalid):
        HttpWorkQueue("nonsense")
