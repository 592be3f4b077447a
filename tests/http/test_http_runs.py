"""`/v1/runs`: what is answered, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from rota.cli.main import main

from .live import Live, check_problem

GRAPH: dict[str, Any] = {
    "name": "nightly",
    "labels": {"k": "v"},
    "jobs": [
        {"ref": "a", "handler": "nobody-has-it"},
        {"ref": "b", "handler": "nobody-has-it", "after": [{"job": "a", "on": "failed"}]},
        {"ref": "c", "handler": "nobody-has-it", "after": ["a", {"job": "b", "on": "any"}], "join": {"at_least": 2}},
    ],
}


def test_a_run_is_submitted_shown_aborted_and_run_again(live: Live) -> None:
    http = live.client
    answer = http.post("/v1/runs", json=GRAPH, headers={"idempotency-key": "k1"})
    run = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/runs/{run['id']}")
    assert http.post("/v1/runs", json=GRAPH, headers={"idempotency-key": "k1"}).json() == run
    check_problem(
        http.post("/v1/runs", json={**GRAPH, "name": "other"}, headers={"idempotency-key": "k1"}),
        422,
        "idempotency-key-reused",
    )
    assert (run["state"], run["size"], run["name"], run["labels"]) == ("running", 3, "nightly", {"k": "v"})
    assert {state: n for state, n in run["counts"].items() if n} == {"queued": 1, "blocked": 2}
    third = http.get(f"/v1/jobs/{run['jobs']['c']}").json()
    assert third["after"] == [run["jobs"]["a"], run["jobs"]["b"]]
    assert (third["after_on"], third["join"]) == ({run["jobs"]["b"]: "any"}, {"at_least": 2})
    assert (third["run"], third["ref"]) == (run["id"], "c")
    shown = http.get(f"/v1/runs/{run['id']}").json()
    assert shown == {name: value for name, value in run.items() if name != "jobs"}
    assert [each["id"] for each in http.get("/v1/runs", params={"name": "nightly", "limit": 1}).json()["items"]] == [
        run["id"]
    ]
    jobs = http.get("/v1/jobs", params={"run": run["id"]}).json()["items"]
    assert [job["ref"] for job in jobs] == ["c", "b", "a"]
    graph = http.get(f"/v1/runs/{run['id']}/graph", params={"limit": 2}).json()
    assert ([node["ref"] for node in graph["nodes"]], graph["next"]) == (["a", "b"], run["jobs"]["b"])
    assert graph["edges"] == [{"from": run["jobs"]["a"], "to": run["jobs"]["b"], "on": "failed"}]
    around = http.get(f"/v1/jobs/{run['jobs']['b']}/graph").json()
    assert ([node["ref"] for node in around["nodes"]], len(around["edges"]), around["cut"]) == (
        ["b", "a", "c"],
        2,
        False,
    )
    assert http.post(f"/v1/runs/{run['id']}/abort", params={"wait": 30}).status_code in (200, 202)
    over = http.get(f"/v1/runs/{run['id']}", params={"wait": 30}).json()
    assert (over["state"], over["counts"]["canceled"]) == ("canceled", 3)
    check_problem(http.post(f"/v1/runs/{run['id']}/abort"), 409, "conflict")
    again = http.post(f"/v1/runs/{run['id']}/retry")
    assert (again.status_code, again.json()["retry_of"], again.json()["size"]) == (201, run["id"], 3)
    check_problem(http.post(f"/v1/runs/{again.json()['id']}/retry"), 409, "conflict")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "jobs"),
        ({"jobs": []}, "jobs"),
        ({"jobs": [{"handler": "h"}]}, "jobs[0].ref"),
        ({"jobs": [{"handler": "h", "ref": "a", "owner": "x"}]}, "jobs[0].owner"),
        ({"jobs": [{"ref": "a"}]}, "jobs[0].handler"),
        ({"jobs": [{"handler": "h", "ref": "a", "after": ["a"]}]}, "jobs[0].after"),
        ({"jobs": [{"handler": "h", "ref": "a", "after": [{"job": "a", "on": "won"}]}]}, "jobs[0].after[0].on"),
        ({"jobs": [{"handler": "h", "ref": "a", "after": [{"on": "any"}]}]}, "jobs[0].after[0].job"),
        ({"jobs": [{"handler": "h", "ref": "a", "after": [7]}]}, "jobs[0].after[0]"),
        ({"jobs": [{"handler": "h", "ref": "a", "join": "some"}]}, "jobs[0].join"),
        ({"jobs": [{"handler": "h", "ref": "a", "join": {"at_least": 1}}]}, "jobs[0].join.at_least"),
        ({"jobs": [{"handler": "h", "ref": "a", "join": {"most": 1}}]}, "jobs[0].join.most"),
        ({"jobs": [{"handler": "h", "ref": "a"}], "name": ""}, "name"),
        ({"jobs": [{"handler": "h", "ref": "a"}], "hook": "no"}, "hook"),
        ({"jobs": [{"handler": "h", "ref": "a"}], "labels": {"": "x"}}, "labels"),
        ({"jobs": [{"handler": "h", "ref": "a"}], "color": 1}, "color"),
    ],
)
def test_what_makes_no_sense_is_a_422_that_names_it(live: Live, body: dict[str, Any], field: str) -> None:
    check_problem(live.client.post("/v1/runs", json=body), 422, "invalid", field)


def test_what_is_not_there_and_what_cannot_be_asked(live: Live) -> None:
    http = live.client
    for path in ("", "/graph"):
        check_problem(http.get(f"/v1/runs/run-nobody{path}"), 404, "not-found")
    for path in ("abort", "retry"):
        check_problem(http.post(f"/v1/runs/run-nobody/{path}"), 404, "not-found")
    for query, field in (({"state": "blocked"}, "state"), ({"limit": 0}, "limit"), ({"x": 1}, "x")):
        check_problem(http.get("/v1/runs", params=query), 422, "invalid", field)
    check_problem(http.get("/v1/runs/r/graph", params={"limit": 1001}), 422, "invalid", "limit")


def test_a_dry_run_says_what_would_become_of_the_jobs_and_writes_nothing(live: Live) -> None:
    graph = {**GRAPH, "name": "rehearsed"}
    answer = live.client.post("/v1/runs?dry_run=true", json=graph)
    told = answer.json()
    assert (answer.status_code, told["dry_run"]) == (200, True)
    assert [(job["ref"], job["state"]) for job in told["jobs"]] == [("a", "queued"), ("b", "blocked"), ("c", "blocked")]
    assert told["jobs"][0]["runnable"] is False
    assert told["jobs"][1]["summary"] == "waits for job a to fail; it is queued"
    assert live.client.get("/v1/runs", params={"name": "rehearsed"}).json()["items"] == []
    circle = {"jobs": [{"ref": "a", "handler": "h", "after": ["b"]}, {"ref": "b", "handler": "h", "after": ["a"]}]}
    check_problem(live.client.post("/v1/runs?dry_run=true", json=circle), 422, "invalid")
    done = CliRunner().invoke(main, ["run", "submit", "-", "--dry-run", "--server", live.url], input=json.dumps(graph))
    assert "a would be queued (queue default, owner default, priority 0)" in done.output
    assert live.client.get("/v1/runs", params={"name": "rehearsed"}).json()["items"] == []
