"""Schedules through both clients, against the real server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from rota.client import AsyncClient, Client
from rota.core.errors import Conflict, Invalid, NotFound
from tests.client.live import LiveServer

START = datetime(2030, 3, 30, tzinfo=UTC)


def test_a_schedule_through_the_blocking_client(client: Client) -> None:
    made = client.schedules.create(
        "30 2 * * *", "echo", {"a": 1}, name="sdk", timezone="Europe/Berlin", overlap="queue", jitter=timedelta(seconds=5),
        starts_at=START, ends_at=None, owner="ana", priority=4, labels={"k": "v"},
    )  # fmt: skip
    assert (made.name, made.owner, made.overlap, made.jitter, made.starts_at) == ("sdk", "ana", "queue", 5.0, START)
    assert made.job["data"] == {"a": 1}
    assert client.schedules.get("sdk") == made
    assert [s.id for s in client.schedules.list("ana")] == [made.id]
    slots = client.schedules.preview("sdk", 2)
    assert [(slot.local.hour, slot.clock) for slot in slots] == [(2, None), (3, "skipped")]
    assert client.schedules.edit("sdk", rule="0 3 * * *", starts_at=None, data=7, handler="echo").starts_at is None
    assert client.schedules.pause(made.id).paused_at is not None
    assert client.schedules.resume("sdk").next_at is not None
    job = client.schedules.run("sdk")
    assert job.wait(60).result == 7
    (firing,) = client.schedules.firings("sdk")
    assert (firing.fate, firing.job, firing.manual) == ("submitted", job.id, True)
    client.schedules.remove("sdk")
    with pytest.raises(NotFound):
        client.schedules.get("sdk")


def test_what_is_refused(client: Client) -> None:
    with pytest.raises(Invalid, match="30 February"):
        client.schedules.create("0 0 30 2 *", "echo")
    with pytest.raises(TypeError, match="no argument 'zone'"):
        client.schedules.create("* * * * *", "echo", zone="UTC")  # type: ignore[call-arg]
    client.schedules.create("@daily", script="true", name="twice")
    with pytest.raises(Conflict, match="already"):
        client.schedules.create("@daily", "echo", name="twice")
    client.schedules.remove("twice")


def test_the_same_awaited(server: LiveServer) -> None:
    async def main() -> None:
        async with AsyncClient(server.url) as client:
            made = await client.schedules.create("every 1h", "echo", 3, name="async")
            assert (await client.schedules.get(made.id)).rule == "every 1h"
            assert made.id in [s.id for s in await client.schedules.list()]
            assert (await client.schedules.edit("async", overlap="skip")).overlap == "skip"
            assert (await client.schedules.pause("async")).next_at is None
            assert (await client.schedules.resume("async")).next_at is not None
            job = await client.schedules.run("async")
            assert (await job.wait(60)).result == 3
            assert len(await client.schedules.preview("async", 4)) == 4
            assert len(await client.schedules.firings("async")) == 1
            await client.schedules.remove("async")
            slots = await client.schedules.preview_rule("0 9 * * *", 2, timezone="Asia/Tokyo", starts_at=START)
            assert [slot.local.hour for slot in slots] == [9, 9]

    asyncio.run(main())
