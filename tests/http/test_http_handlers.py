"""`/v1/handlers`, and submissions that do not fit what their handler takes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import rota
from rota.core.jobs import HandlerSpec
from tests.http.live import Live, check_problem

app = rota.App()


@app.handler(timeout="2m", retries=3)
def resize(path: str, width: int, *, sharp: bool = False):
    """Resize a picture.

    It takes a while.
    """


@app.handler
async def plain(a, b=1):
    pass


def register(live: Live, *specs: HandlerSpec) -> str:
    hello = {"name": "w", "handlers": msgspec.to_builtins([msgspec.json.decode(msgspec.json.encode(s)) for s in specs])}
    answer = live.client.post("/v1/workers", json=hello)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["worker"])


def specs(*names: str) -> list[HandlerSpec]:
    return [app.handlers[name].spec for name in names]


def submit(live: Live, **fields: Any) -> Any:
    return live.client.post("/v1/jobs", json=fields)


def refused(answer: Any, field: str, words: str) -> None:
    problem = check_problem(answer, 422, "invalid")
    assert problem["field"] == field
    assert words in problem["detail"]


def test_they_are_listed_with_what_they_take(live: Live) -> None:
    worker = register(live, *specs("resize", "plain"), HandlerSpec(name="bare"))
    found = {item["name"]: item for item in live.client.get("/v1/handlers").json()["items"]}
    shown = found["resize"]
    assert (shown["mode"], shown["doc"], shown["timeout"], shown["retries"], shown["workers"]) == (
        "process", "Resize a picture.", 120.0, 3, 1,
    )  # fmt: skip
    assert shown["schema"] == {
        "title": "resize",
        "description": "Resize a picture.\n\nIt takes a while.",
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "width": {"type": "integer"},
            "sharp": {"type": "boolean", "default": False},
        },
        "required": ["path", "width"],
        "additionalProperties": False,
        "x-by-position": ["path", "width"],
    }
    assert (found["plain"]["mode"], found["bare"]["schema"]) == ("async", None)
    (told,) = [w for w in live.client.get("/v1/workers").json()["items"] if w["id"] == worker]
    assert all("schema" not in handler for handler in told["handlers"]), "workers are read all the time"
    live.client.delete(f"/v1/workers/{worker}")
    found = {item["name"]: item for item in live.client.get("/v1/handlers").json()["items"]}
    assert found["resize"]["workers"] == 0 and found["resize"]["schema"] == shown["schema"]


def test_what_does_not_fit_is_refused_wherever_it_is_submitted(live: Live) -> None:
    worker = register(live, *specs("resize", "plain"))
    good = {"handler": "resize", "data": {"path": "a", "width": 80}}
    wrong = {"handler": "resize", "data": {"path": "a", "width": "80"}}
    assert submit(live, **good).status_code == 201
    refused(submit(live, **wrong), "data.width", "expected int, got str")
    refused(submit(live, handler="resize", args=["a"]), "data.width", "is missing")
    refused(submit(live, handler="plain", data={"a": 1, "c": 2}), "data.c", "is no argument of the handler")
    assert submit(live, handler="resize", args=["a", 80]).status_code == 201
    refused(live.client.post("/v1/jobs/bulk", json=[good, good, good, wrong]), "[3].data.width", "expected int")
    refused(live.client.post("/v1/schedules", json={"rule": "@daily", "job": wrong}), "job.data.width", "expected int")
    made = live.client.post("/v1/schedules", json={"rule": "@daily", "job": good, "name": "typed"}).json()["id"]
    refused(live.client.patch(f"/v1/schedules/{made}", json={"job": wrong}), "job.data.width", "expected int")
    assert live.client.patch(f"/v1/schedules/{made}", json={"rule": "@hourly"}).status_code == 200
    assert submit(live, handler="unknown to all", data=[1]).status_code == 201
    assert submit(live, handler="resize", inputs=["a", 1]).status_code == 201, "inputs are their own attempts' to fail"
    live.client.delete(f"/v1/workers/{worker}")
    refused(submit(live, **wrong), "data.width", "expected int, got str")


def test_while_two_versions_live_either_may_take_it(live: Live) -> None:
    old = rota.App()

    @old.handler
    def resize(path: str):
        pass

    before = register(live, old.handlers["resize"].spec)
    after = register(live, *specs("resize"))
    assert submit(live, handler="resize", data={"path": "a"}).status_code == 201
    assert submit(live, handler="resize", data={"path": "a", "width": 1}).status_code == 201
    refused(submit(live, handler="resize", data={"path": "a", "width": "x"}), "data.width", "expected int, got str")
    live.client.delete(f"/v1/workers/{before}")
    live.client.get("/v1/handlers")  # looks anew
    refused(submit(live, handler="resize", data={"path": "a"}), "data.width", "is missing")
    anything = register(live, HandlerSpec(name="resize"))
    assert submit(live, handler="resize", data=[1]).status_code == 201
    for worker in (after, anything):
        live.client.delete(f"/v1/workers/{worker}")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": 3}, "is no schema of arguments"),
        ([], "is no schema of arguments"),
        ({"title": "x" * 9000}, "is at most 8192 bytes"),
    ],
)
def test_a_schema_that_is_none_is_refused(live: Live, schema: Any, words: str) -> None:
    hello = {"name": "w", "handlers": [{"name": "ok"}, {"name": "odd", "schema": schema}]}
    refused(live.client.post("/v1/workers", json=hello), "handlers[1].schema", words)


def test_a_checkpoint_is_shown(live: Live) -> None:
    worker = register(live, HandlerSpec(name="keeper"))
    id_ = submit(live, handler="keeper").json()["id"]
    check_problem(live.client.get(f"/v1/jobs/{id_}/checkpoint"), 404, "not-found")
    assert live.client.get(f"/v1/jobs/{id_}").json()["checkpoint"] is None
    (lease,) = live.client.post(f"/v1/workers/{worker}/claim", json={"free": 1}).json()["leases"]
    assert "checkpoint" not in lease
    told = {"checkpoints": [{"job": id_, "attempt": 1, "value": {"page": 3}}]}
    assert live.client.post(f"/v1/workers/{worker}/logs", json=told).status_code == 204
    about = live.client.get(f"/v1/jobs/{id_}").json()["checkpoint"]
    assert (about["attempt"], about["size"]) == (1, 10) and "value" not in about
    assert live.client.get(f"/v1/jobs/{id_}/checkpoint").json() == {**about, "value": {"page": 3}}
    told["checkpoints"][0]["attempt"] = -1
    problem = check_problem(live.client.post(f"/v1/workers/{worker}/logs", json=told), 422, "invalid")
    assert problem["field"] == "checkpoints[0].attempt"


def test_what_comes_through_an_older_api_is_taken_as_its_document_says(live: Live) -> None:
    """Its `data` may be any JSON value, any `job_name` will do: where that does not fit, the job fails."""
    worker = register(live, *specs("resize"))
    try:
        refused(submit(live, handler="resize", data={"path": "a"}), "data.width", "is missing")
        for data in (None, [1], {"wrong": 1}):
            answer = live.client.post("/", json={"uid": "ana", "task": "resize", "data": data})
            assert (answer.status_code, set(answer.json())) == (200, {"id"}), answer.text
        answer = live.client.post("/job", json={"job_name": "resize", "time": "1h"})
        assert answer.status_code == 200, answer.text
    finally:
        live.client.delete(f"/v1/workers/{worker}")
