"""Queues and limits over HTTP, from both clients, and from the command line."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rota.client import AsyncClient, Client
from rota.core.errors import Invalid, NotFound
from tests.http.live import Live, check_problem


def test_queues_are_listed_paused_limited_and_resumed(live: Live) -> None:
    live.submit(queue="mail", handler="nobody")
    paused = live.client.post("/v1/queues/mail/pause").json()
    assert (paused["paused"], paused["waiting"], paused["queued"], paused["running"]) == (True, 1, 1, 0)
    worker = live.worker("nobody")
    assert live.claim(worker) == []
    limited = live.client.patch("/v1/queues/mail", json={"concurrency": 2, "rate": "100/1m"}).json()
    assert (limited["concurrency"], limited["rate"]) == (2, {"n": 100, "per": 60.0, "burst": 100})
    listed = {queue["name"]: queue for queue in live.client.get("/v1/queues").json()["items"]}
    assert listed["mail"] == limited | {"paused": True}
    weighed = live.client.patch("/v1/queues/mail", json={"weight": 3}).json()
    assert weighed == listed["mail"] | {"weight": 3.0} and listed["mail"]["weight"] == 1.0
    for wrong in (0, 1001, "heavy"):
        check_problem(live.client.patch("/v1/queues/mail", json={"weight": wrong}), 422, "invalid", field="weight")
    assert live.client.post("/v1/queues/mail/resume").json()["paused"] is False
    assert len(live.claim(worker)) == 1
    (limit,) = live.client.get("/v1/limits").json()["items"]
    assert (limit["kind"], limit["name"], limit["running"], limit["next_at"]) == ("queue", "mail", 1, None)
    assert live.client.patch("/v1/queues/mail", json={"concurrency": None, "rate": None}).json()["rate"] is None
    assert live.client.get("/v1/limits").json()["items"] == []
    assert live.client.get("/v1/queues/nothing").json()["waiting"] == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "two"}, "concurrency"),
        ({"concurrency": 1.5}, "concurrency"),
        ({"rate": "fast"}, "rate"),
        ({"rate": {"n": 10**30, "per": 1}}, "rate"),
        ({"rate": {"n": 1}}, "rate.per"),
        ({"rate": {"n": 1, "per": "1m", "burst": -1}}, "rate"),
        ({"weight": 2}, "weight"),
    ],
)
def test_impossible_settings_are_refused_with_their_field(live: Live, body: dict[str, Any], field: str) -> None:
    problem = check_problem(live.client.put("/v1/limits/handler/h", json=body), 422, "invalid")
    assert problem["field"].startswith(field)
    assert live.client.get("/v1/limits/handler/h").status_code == 404
    check_problem(live.client.put("/v1/limits/owner/ana", json={}), 422, "invalid", field="kind")
    check_problem(live.client.delete("/v1/limits/handler/h"), 404, "not-found")


def test_both_clients_set_limits(live: Live) -> None:
    with Client(live.url) as client:
        client.limits.set("handler", "resize", concurrency=2, rate={"n": 10, "per": "1s", "burst": 3})
        (limit,) = client.limits.list()
        assert limit.rate is not None
        assert (limit.name, limit.concurrency, limit.rate.burst, limit.running) == ("resize", 2, 3, 0)
        with pytest.raises(Invalid):
            client.limits.set("handler", "resize", concurrency=-1)
        assert client.limits.set_weight("slow", 0.5).weight == 0.5
        assert client.limits.pause("slow").paused
        assert "slow" in [queue.name for queue in client.limits.queues()]
        assert not client.limits.resume("slow").paused
        client.limits.remove("handler", "resize")

    async def main() -> None:
        async with AsyncClient(live.url) as client:
            await client.limits.set("queue", "slow", rate="1/1h")
            assert [limit.name for limit in await client.limits.list()] == ["slow"]
            assert (await client.limits.set_weight("slow", None)).weight == 1.0
            assert (await client.limits.pause("slow")).paused
            assert not (await client.limits.resume("slow")).paused
            assert "slow" in [queue.name for queue in await client.limits.queues()]
            await client.limits.remove("queue", "slow")
            with pytest.raises(NotFound):
                await client.limits.remove("queue", "slow")

    asyncio.run(main())


def test_keys_have_limits_and_jobs_have_keys_and_slots(live: Live) -> None:
    key = "https://example.org/a?b=1"
    with Client(live.url) as client:
        client.limits.set("key", key, concurrency=1)
        client.limits.set("key", "customer-*", concurrency=2)
        shown = {limit.name: (limit.concurrency, limit.running) for limit in client.limits.list()}
        assert shown == {key: (1, 0), "customer-*": (2, None)}
        jobs = [client.submit("nobody", {"url": key}, limit_key="{url}", slots=2) for _ in range(2)]
        assert {(job.limit_key, job.slots) for job in jobs} == {(key, 2)}
        assert len(live.claim(live.worker("nobody", slots=4), 4)) == 1
        assert {limit.name: limit.running for limit in client.limits.list()} == {key: 1, "customer-*": None}
        client.limits.remove("key", key)
    for body, field in (
        ({"limit_key": "{customer}", "data": {}}, "limit_key"),
        ({"limit_key": "k" * 201}, "limit_key"),
        ({"limit_key": 7}, "limit_key"),
        ({"limit_key": "k", "inputs": [1]}, "limit_key"),
        ({"slots": 0}, "slots"),
        ({"slots": 1001}, "slots"),
        ({"slots": "two"}, "slots"),
    ):
        problem = check_problem(live.client.post("/v1/jobs", json={"handler": "h", **body}), 422, "invalid")
        assert problem["field"].startswith(field), body
