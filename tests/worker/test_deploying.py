"""A worker deploys what its apps declare: once it may, again when the server is back, and says so in one line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec import Raw, json

import rota
from rota.client.problems import ServerUnreachable
from rota.client.work_queue import DeployedSchedule, Deployment, HttpWorkQueue
from rota.core.errors import Conflict, Unavailable
from rota.wiring import deploying
from rota.worker.frames import Declared
from rota.worker.loading import declared_by
from tests.http.guarded import Guarded

HOURLY = Raw(json.encode({"rule": "@hourly", "name": "report", "job": {"handler": "report"}}))
APP = Declared("tasks:app", [HOURLY])
Line = tuple[str, str, dict[str, Any]]


class Lines:
    """Keeps what is logged: the level, the event, its fields."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    kept = Lines()
    monkeypatch.setattr(deploying, "_log", kept)
    return kept.lines


class Queue(HttpWorkQueue):
    """Answers with what is due next, or raises it; then it waits for ever."""

    def __init__(self, *answers: Deployment | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, bool]] = []

    async def deploy(self, origin: str, schedules: Any, *, anyway: bool = False) -> Deployment:
        self.asked.append((origin, anyway))
        if not self.answers:
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def deployed(**what: str) -> Deployment:
    return Deployment(schedules=[DeployedSchedule(name, done) for name, done in what.items()])


def test_it_says_what_has_changed_and_nothing_when_nothing_has(lines: list[Line]) -> None:
    queue = Queue(deployed(a="created", b="kept", c="paused"), deployed(a="kept"), Deployment(older=True))
    apps = [APP, Declared("other:app", [HOURLY]), Declared("old:app", [HOURLY])]
    asyncio.run(deploying.deploy(queue, apps, asyncio.Event(), anyway=True))
    assert queue.asked == [("tasks:app", True), ("other:app", True), ("old:app", True)]
    assert lines == [
        ("info", "schedules_deployed", {"origin": "tasks:app", "done": "a created, c paused"}),
        ("warning", "schedules_older", {"origin": "old:app"}),
    ]


def test_what_is_refused_or_wrong_is_one_line_each(lines: list[Line]) -> None:
    queue = Queue(Conflict("somebody has that name"), deployed(c="created"))
    apps = [Declared("a:app", [HOURLY]), Declared("b:app", wrong="no rule"), Declared("c:app", [HOURLY])]
    asyncio.run(deploying.deploy(queue, apps, asyncio.Event()))
    assert lines == [
        ("warning", "schedules_not_deployed", {"origin": "a:app", "error": "somebody has that name"}),
        ("warning", "schedules_not_deployed", {"origin": "b:app", "error": "no rule"}),
        ("info", "schedules_deployed", {"origin": "c:app", "done": "c created"}),
    ]


def test_a_server_that_is_away_is_waited_for_and_jobs_are_not_kept_waiting(lines: list[Line]) -> None:
    async def main() -> list[float]:
        queue = Queue(ServerUnreachable("away"), Unavailable("starting"), TimeoutError(), deployed(report="created"))
        tried, pauses = asyncio.Event(), []

        async def pause(seconds: float) -> None:
            assert tried.is_set(), "the worker goes on"
            pauses.append(seconds)

        await deploying.deploy(queue, [APP], tried, pause=pause)
        return pauses

    pauses = asyncio.run(main())
    assert [0.25 <= pauses[0] < 0.5, 0.5 <= pauses[1] < 1, 1 <= pauses[2] < 2] == [True] * 3
    assert [event for _, event, _ in lines] == ["schedules_deployed"]


def test_a_deployer_begins_anew_and_gives_up(lines: list[Line]) -> None:
    async def main() -> None:
        away: list[Deployment | Exception] = [ServerUnreachable("away")]
        queue = Queue(*away)
        deployer = deploying.Deployer(queue, on=True)
        await deployer.begin([APP])
        queue.answers = [deployed(report="created")]
        await deployer.begin([APP], anyway=True)
        assert queue.asked == [("tasks:app", False), ("tasks:app", True)]
        queue.answers = list(away)
        await deployer.begin([APP])
        await deployer.stop()
        await deploying.Deployer(queue, on=False).begin([APP])
        await deployer.begin([])
        assert (len(queue.asked), len(asyncio.all_tasks())) == (3, 1)

    asyncio.run(main())
    assert [event for _, event, _ in lines] == ["schedules_deployed"]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    server = Guarded(tmp_path)
    yield server
    server.stop()


def test_a_token_of_an_admin_may_and_one_of_a_worker_says_who_does(guarded: Guarded, lines: list[Line]) -> None:
    async def main(token: str) -> None:
        queue = HttpWorkQueue(guarded.url, token=token)
        try:
            await deploying.deploy(queue, [APP], asyncio.Event())
        finally:
            await queue.aclose()

    asyncio.run(main(guarded.token("worker")))
    error = "this is for admins, and the token is a worker's"
    assert lines == [("warning", "schedules_not_deployed", {"origin": "tasks:app", "error": error})]
    del lines[:]
    asyncio.run(main(admin := guarded.token("admin")))
    asyncio.run(main(admin))
    assert lines == [("info", "schedules_deployed", {"origin": "tasks:app", "done": "report created"})]
    assert [each["name"] for each in guarded.as_(admin).get("/v1/schedules").json()["items"]] == ["report"]


def test_what_apps_declare(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("declaring")
    module.good, module.none, module.wrong, module.odd = (rota.App() for _ in range(4))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "declaring", module)

    def report(kind: str = "short") -> None:
        pass

    for name, data in (("good", "long"), ("wrong", 7), ("odd", object())):
        app = getattr(module, name)
        app.schedule("@daily", data={"kind": data})(app.handler(report))
    found = declared_by(f"declaring:{name}" for name in ("good", "none", "wrong", "odd", "good"))
    assert found[0] == Declared("declaring:good", found[0].schedules)
    assert json.decode(found[0].schedules[0]) == {
        "rule": "@daily", "name": "report", "job": {"handler": "report", "data": {"kind": "long"}},
    }  # fmt: skip
    assert [(app.origin, app.schedules) for app in found[1:]] == [("declaring:wrong", []), ("declaring:odd", [])]
    assert "expected str, got int" in str(found[1].wrong) and "object" in str(found[2].wrong)
