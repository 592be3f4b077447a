"""Schedules that code declares, brought into both stores: made, changed, paused, kept in their places."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import rota
from rota.core.access import LOCAL
from rota.core.errors import Conflict, Invalid
from rota.core.schedules import Schedule
from rota.service.deploys import Deploy
from rota.service.schedules import NewSchedule, ScheduleEdit
from tests.conformance.work_queue.cluster import Cluster, run

Live = Callable[[Any], None]


@pytest.fixture(params=["direct", "postgres"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Live:
    return lambda test: run(test, tmp_path, request.param)


def declared(*rules: str, **more: Any) -> list[dict[str, Any]]:
    return [{"rule": rule, "name": f"s{n}", "job": {"handler": "h"}, **more} for n, rule in enumerate(rules)]


async def deploy(
    c: Cluster, schedules: list[dict[str, Any]], origin: str = "tasks:app", **how: Any
) -> dict[str, str] | None:
    body = {"origin": origin, "schedules": schedules, **how}
    done = await c.service.deploys.deploy(msgspec.convert(body, Deploy), LOCAL)
    return None if done.older else {each.name: each.what for each in done.schedules}


async def all_of(c: Cluster) -> dict[str, Schedule]:
    return {s.name: s for s in await c.service.schedules.find(LOCAL, None, "", 100)}


def test_they_are_made_kept_edited_paused_resumed_and_removed(live: Live) -> None:
    async def test(c: Cluster) -> None:
        first = declared("@hourly", "every 15m")
        assert await deploy(c, first, dry_run=True) == {"s0": "created", "s1": "created"}
        assert await all_of(c) == {}
        assert await deploy(c, first) == {"s0": "created", "s1": "created"}
        made = await all_of(c)
        c.now += 100
        assert await deploy(c, first) == {"s0": "kept", "s1": "kept"}
        assert await all_of(c) == made
        assert await deploy(c, declared("@hourly", "every 15m", overlap="skip")) == {"s0": "edited", "s1": "edited"}
        edited = await all_of(c)
        assert [edited[n].next_at for n in edited] == [made[n].next_at for n in made], "its place is kept"
        assert (edited["s0"].seen, edited["s0"].revision, edited["s0"].origin) == (made["s0"].seen, 2, "tasks:app")
        assert await deploy(c, declared("@daily", overlap="skip")) == {"s0": "edited", "s1": "paused"}
        changed = await all_of(c)
        assert changed["s0"].seen > made["s0"].seen and changed["s1"].next_at is None
        assert await deploy(c, first, anyway=True) == {"s0": "edited", "s1": "resumed"}
        assert (await all_of(c))["s1"].next_at is not None
        assert await deploy(c, declared("@weekly"), prune=True) == {"s0": "edited", "s1": "removed"}
        history = await c.service.schedules.history("s0", LOCAL, None, 9)
        assert [change.what for change in history][-2:] == ["deployed by tasks:app: overlap", "deployed by tasks:app"]

    live(test)


def test_an_older_set_undoes_nothing(live: Live) -> None:
    async def test(c: Cluster) -> None:
        old, new = declared("@hourly"), declared("@daily")
        await deploy(c, old)
        c.now += 1
        await deploy(c, new)
        c.now += 1
        assert await deploy(c, old) is None
        assert (await all_of(c))["s0"].rule == "@daily"
        assert await deploy(c, new) == {"s0": "kept"}
        c.now += 1
        assert await deploy(c, old, anyway=True) == {"s0": "edited"}
        c.now += 1
        assert await deploy(c, new) is None

    live(test)


def test_what_is_deployed_last_is_in_force_whatever_the_clock_says(live: Live) -> None:
    """Else a transaction that began earlier, and waited for another one's, would be the older one of the two."""

    async def test(c: Cluster) -> None:
        old, new = declared("@hourly"), declared("@daily")
        await deploy(c, old)
        c.now -= 5
        assert await deploy(c, new) == {"s0": "edited"}
        assert await deploy(c, old) is None
        assert await deploy(c, new) == {"s0": "kept"}

    live(test)


def test_deploys_at_once_make_each_schedule_once(live: Live) -> None:
    async def test(c: Cluster) -> None:
        same, other = declared("@hourly", "@daily"), declared("@weekly", "@daily")
        done = await asyncio.gather(*(deploy(c, same) for _ in range(4)))
        assert sorted(str(each and each["s0"]) for each in done) == ["created", "kept", "kept", "kept"]
        assert {name: s.revision for name, s in (await all_of(c)).items()} == {"s0": 1, "s1": 1}
        done = await asyncio.gather(*(deploy(c, [same, other][n % 2]) for n in range(6)))
        assert [each for each in done if each and "edited" in each.values()] == [{"s0": "edited", "s1": "kept"}]
        assert {name: (s.rule, s.revision) for name, s in (await all_of(c)).items()} == {
            "s0": ("@weekly", 2), "s1": ("@daily", 1),
        }  # fmt: skip
        assert (await deploy(c, same), await deploy(c, other)) == (None, {"s0": "kept", "s1": "kept"})

    live(test)


def test_what_people_do_stays(live: Live) -> None:
    async def test(c: Cluster) -> None:
        hand = NewSchedule(rule="@daily", job=rota_submission("h"), name="by hand")
        await c.service.schedules.add(hand, LOCAL)
        await deploy(c, declared("@hourly", "@daily"))
        await c.service.schedules.pause("s0", LOCAL)
        await c.service.schedules.edit("s1", ScheduleEdit(rule="@weekly"), LOCAL)
        assert await deploy(c, declared("@hourly", "@daily")) == {"s0": "kept", "s1": "kept"}
        assert (await all_of(c))["s1"].rule == "@weekly"
        c.now += 1
        await deploy(c, declared("@monthly", "@daily"))
        assert ((await all_of(c))["s0"].rule, (await all_of(c))["s0"].next_at) == ("@monthly", None), (
            "paused stays paused"
        )
        c.now += 1
        assert await deploy(c, []) == {"s1": "paused"}
        c.now += 1
        await deploy(c, declared("@hourly"))
        assert (await all_of(c))["s0"].next_at is None
        assert (await all_of(c))["by hand"].revision == 1
        before = await all_of(c)
        c.now += 1
        with pytest.raises(Conflict, match="'by hand' that tasks:app did not declare"):
            await deploy(c, [*declared("@yearly"), {"rule": "@daily", "name": "by hand", "job": {"handler": "h"}}])
        with pytest.raises(Conflict, match="'s1' that other:app did not declare"):
            await deploy(c, [{**declared("@daily")[0], "name": "s1"}], origin="other:app")
        with pytest.raises(Invalid, match=r"schedules\[1\]\.rule"):
            await deploy(c, declared("@yearly", "30 2 30 2 *"))
        assert await all_of(c) == before, "all or nothing"

    live(test)


def rota_submission(handler: str) -> Any:
    from rota.core.jobs import Submission

    return Submission(handler=handler)


def test_what_an_app_declares() -> None:
    app = rota.App()

    @app.schedule(
        "0 9 * * MON-FRI", tz="Europe/Berlin", name="long", data={"kind": "long"}, missed="all:3", owner="ana"
    )
    @app.schedule("every 15m")
    @app.handler
    def report(kind: str = "short") -> None:
        pass

    assert app.schedules() == [
        {"rule": "every 15m", "name": "report", "job": {"handler": "report"}},
        {
            "rule": "0 9 * * MON-FRI", "timezone": "Europe/Berlin", "name": "long", "missed": "all", "missed_limit": 3,
            "job": {"handler": "report", "data": {"kind": "long"}, "owner": "ana"},
        },
    ]  # fmt: skip
    app.schedule("@daily")(report)
    with pytest.raises(ValueError, match="two schedules named 'report'"):
        app.schedules()
    wrong = rota.App()
    wrong.schedule("@daily", data={"kind": 7})(wrong.handler(report))
    with pytest.raises(ValueError, match=r"schedule 'report': data\.kind: expected str, got int"):
        wrong.schedules()
    none = rota.App()
    none.schedule("@daily")(report)
    with pytest.raises(ValueError, match="is no handler"):
        none.schedules()
