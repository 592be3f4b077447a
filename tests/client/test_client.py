"""Both clients against the real server."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rota.client import AsyncClient, Client, JobFailed
from rota.core.errors import Conflict, Invalid, KeyReused, NotFound
from rota.core.retry import Backoff
from tests.client.live import Hands, LiveServer
from tests.processes import PATIENCE_S


@dataclass
class Picture:
    path: str
    width: int


def test_submit_wait_result(client: Client) -> None:
    before = datetime.now(UTC)
    job = client.submit("echo", {"path": "a.png", "width": 80}, owner="ana", labels={"x": "1"}, priority=3)
    assert job.wait(PATIENCE_S) is job
    assert (job.state, job.over, job.result) == ("succeeded", True, {"path": "a.png", "width": 80})
    assert (job.owner, job.labels, job.priority, job.attempt) == ("ana", {"x": "1"}, 3, 1)
    assert job.finished_at is not None
    assert before - timedelta(seconds=1) < job.submitted_at <= job.finished_at
    assert job.get_result() == job.result
    picture = job.get_result(type=Picture)
    assert (picture.path, picture.width) == ("a.png", 80)
    with pytest.raises(Invalid, match="result: Expected `int`, got `object`"):
        job.get_result(type=int)
    assert [event.kind for event in client.events(job)] == ["submitted", "started", "succeeded"]
    assert [attempt.outcome for attempt in client.attempts(job)] == ["succeeded"]


def test_options_reach_the_job(client: Client) -> None:
    at = datetime(2100, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    job = client.submit(
        "echo", args=[1, "a"], at=at, queue="slow", timeout=timedelta(minutes=2), grace="1s", retries=4,
        backoff=Backoff(base=2.0), hook="http://127.0.0.1:1/hook",
    )  # fmt: skip
    assert (job.state, job.run_at, job.queue, job.args, job.timeout, job.grace) == (
        "scheduled",
        at,
        "slow",
        [1, "a"],
        120,
        1,
    )
    assert job.max_failures == 5
    edited = job.edit(priority=9, delay=timedelta(hours=1))
    assert edited is job
    assert job.priority == 9
    assert job.run_at < at
    assert job.abort().state == "canceled"


def test_a_failed_job_has_no_result(client: Client) -> None:
    job = client.submit("fail")
    with pytest.raises(JobFailed, match="no good") as caught:
        job.get_result(PATIENCE_S)
    assert (caught.value.job, caught.value.state, caught.value.reason) == (job.id, "failed", "error")
    assert job.result is None
    assert job.error is not None
    assert job.error.traceback is not None
    again = job.retry()
    assert again.retry_of == job.id
    assert again.wait(PATIENCE_S).state == "failed"


def test_abort(client: Client, hands: Hands) -> None:
    job = client.submit("hang")
    assert hands.started.wait(PATIENCE_S)
    with pytest.raises(TimeoutError, match="goes on"):
        job.wait(0.01)
    assert job.refresh().state == "running"
    job.abort(wait=PATIENCE_S)
    assert (job.state, job.confirmed) == ("aborted", True)
    with pytest.raises(Conflict) as caught:
        job.abort()
    assert caught.value.state == "aborted"


def test_the_same_key_makes_one_job(client: Client) -> None:
    first = client.submit("echo", 1, key="once")
    assert client.submit("echo", 1, key="once").id == first.id
    with pytest.raises(KeyReused):
        client.submit("echo", 2, key="once")


def test_scripts(client: Client) -> None:
    job = client.submit_script("echo {{name}} {{n}}", {"name": "a b", "n": 3}, timeout=5)
    assert job.get_result(PATIENCE_S) == "echo 'a b' 3"


def test_many_with_references(client: Client) -> None:
    jobs = client.submit_many(
        [{"handler": "echo", "data": n, "ref": str(n), "after": [str(n - 1)] if n else []} for n in range(5)]
    )
    assert [job.wait(PATIENCE_S).result for job in jobs] == [0, 1, 2, 3, 4]
    assert jobs[4].after == [jobs[3].id]
    later = client.submit("echo", after=jobs[0])
    assert later.after == [jobs[0].id]
    with pytest.raises(Invalid) as caught:
        client.submit_many([{"handler": "echo"}, {"handler": "echo", "delay": "soon"}])
    assert caught.value.field == "[1].delay"


def test_listing_walks_pages(client: Client) -> None:
    client.submit_many([{"handler": "nobody", "labels": {"batch": "p"}} for _ in range(1100)])
    found = list(client.jobs(labels={"batch": "p"}, state=["queued", "running"]))
    assert len(found) == len({job.id for job in found}) == 1100
    assert [job.id for job in found] == sorted((job.id for job in found), reverse=True)
    assert [job.id for job in client.jobs(labels={"batch": "p"}, limit=1050)] == [job.id for job in found[:1050]]
    assert list(client.jobs(handler="nobody", before_time=datetime(2020, 1, 1, tzinfo=UTC))) == []
    assert list(client.jobs(limit=0)) == []


def test_bad_input_names_the_field(client: Client) -> None:
    with pytest.raises(Invalid) as caught:
        client.submit("echo", delay="soon")
    assert caught.value.field == "delay"
    with pytest.raises(Invalid, match="data"):
        client.submit("echo", object())
    with pytest.raises(TypeError, match="no argument 'dealy'"):
        client.submit("echo", dealy=3)  # type: ignore[call-arg]
    with pytest.raises(NotFound):
        client.get("nope")
    with pytest.raises(NotFound):
        client.get("../stats?")
    with pytest.raises(Invalid):
        client.get("")


def test_logs_and_their_stream(client: Client) -> None:
    job = client.submit("talk")
    assert [log.text for log in job.logs(follow=True)] == ["line 0\n", "line 1\n", "line 2\n"]
    assert job.wait(PATIENCE_S).progress is not None
    assert [log.n for log in job.logs()] == [0, 1, 2]
    assert list(client.logs(job, attempt=2)) == []
    with pytest.raises(NotFound):
        list(client.logs("nope", follow=True))


def test_following_events(client: Client) -> None:
    job = client.submit("echo", owner="watched").wait(PATIENCE_S)
    first, second, third = client.events(job)
    stream = client.follow(after=first.seq, owner="watched")
    assert [next(stream).seq, next(stream).seq] == [second.seq, third.seq]
    another = client.submit("echo", owner="watched")
    assert next(stream).job == another.id
    stream.close()  # type: ignore[attr-defined]


def test_explain_workers_stats(client: Client, hands: Hands) -> None:
    job = client.submit("nobody_has_this")
    told = client.explain(job)
    assert told.job == job.id
    assert told.reasons[0].way_out
    assert hands.worker in {worker.id for worker in client.workers()}
    assert client.stats()["jobs"]["queued"] >= 1
    with pytest.raises(NotFound):
        client.drain("nobody")


def test_a_stores_url_leads_to_its_owner(client: Client, server: LiveServer) -> None:
    job = client.submit("echo", 5)
    with Client(server.store) as other:
        assert other.get(job).wait(PATIENCE_S).result == 5
    with Client(f"unix:{server.socket}") as other:
        assert other.get(job.id).state == "succeeded"


def test_a_wait_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "r.db")
    client = Client(server.url)
    job = client.submit("echo", {"kept": True})
    waited: list[object] = []
    waiting = threading.Thread(target=lambda: waited.append(job.get_result(PATIENCE_S)))
    waiting.start()
    server.stop()
    server = LiveServer(server.file, server.port)
    hands = Hands(server.url)
    waiting.join(PATIENCE_S)
    assert waited == [{"kept": True}]
    hands.stop()
    server.stop()


def test_async(server: LiveServer, hands: Hands) -> None:
    async def main() -> None:
        async with AsyncClient(server.url) as client:
            jobs = await asyncio.gather(*[client.submit("echo", n, labels={"a": "s"}) for n in range(20)])
            assert [await job.get_result(PATIENCE_S, type=int) for job in jobs] == list(range(20))
            assert len([job async for job in client.jobs(labels={"a": "s"})]) == 20
            talk = await client.submit("talk")
            assert [log.text async for log in talk.logs(follow=True)] == ["line 0\n", "line 1\n", "line 2\n"]
            assert [log.text async for log in talk.logs()] == ["line 0\n", "line 1\n", "line 2\n"]
            hang = await client.submit("hang")
            assert await asyncio.to_thread(hands.started.wait, 10)
            with pytest.raises(TimeoutError):
                await hang.wait(0.01)
            assert (await hang.abort(wait=PATIENCE_S)).confirmed is True
            again = await (await hang.refresh()).retry()
            assert (await again.abort(wait=PATIENCE_S)).state in {"aborted", "canceled"}
            script = await client.submit_script("true", delay=3600)
            assert (await script.edit(priority=2)).priority == 2
            many = await client.submit_many([{"script": "a"}, {"handler": "fail"}])
            assert [(await job.wait(PATIENCE_S)).state for job in many] == ["succeeded", "failed"]
            with pytest.raises(JobFailed):
                await many[1].get_result()
            assert [event.kind for event in await client.events(many[1])] == ["submitted", "started", "failed"]
            assert len(await client.attempts(many[1])) == 1
            assert (await client.explain(script)).state == "scheduled"
            assert await client.workers()
            assert (await client.stats())["workers"] >= 1
            with pytest.raises(NotFound):
                await client.drain("nobody")
            stream = client.follow(after=0)
            assert (await anext(stream)).seq >= 1
            await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
