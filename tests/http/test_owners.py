"""Two owners on one server: nothing of the one is there for the other, by any road."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.http.guarded import Guarded
from tests.http.live import check_problem, eventually
from tests.http.test_http_streams import frames

SECRET = "of-bob-alone"
FORM = {"content-type": "application/x-www-form-urlencoded"}


class Two:
    """A server, an admin, two owners and a worker."""

    def __init__(self, server: Guarded) -> None:
        self.server = server
        self.admin = server.as_(server.token("admin"))
        self.ana = server.as_(server.token("user", owner="ana"))
        self.bob = server.as_(server.token("user", owner="bob", allow=["scripts", "images"]))
        self.worker = server.as_(server.token("worker"))

    def submit(self, client: httpx.Client, **fields: Any) -> dict[str, Any]:
        answer = client.post("/v1/jobs", json={"handler": SECRET, "delay": 3600, **fields})
        assert answer.status_code == 201, answer.text
        job: dict[str, Any] = answer.json()
        return job


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    server = Guarded(tmp_path_factory.mktemp("owners"))
    yield Two(server)
    server.stop()


def test_the_owner_of_a_submission_is_the_tokens(two: Two) -> None:
    assert two.submit(two.ana)["owner"] == "ana"
    assert two.submit(two.ana, owner="ana")["owner"] == "ana"
    assert two.submit(two.admin)["owner"] == "default"
    assert two.submit(two.admin, owner="bob")["owner"] == "bob"
    for owner in ("bob", "default"):
        check_problem(two.ana.post("/v1/jobs", json={"handler": "h", "owner": owner}), 403, "forbidden")
        bulk = [{"handler": "h"}, {"handler": "h", "owner": owner}]
        check_problem(two.ana.post("/v1/jobs/bulk", json=bulk), 403, "forbidden")
    made = two.ana.post("/v1/jobs/bulk", json=[{"handler": "h"}, {"handler": "h", "owner": "ana"}]).json()["items"]
    assert [job["owner"] for job in made] == ["ana", "ana"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/jobs/{}", None), ("GET", "/v1/jobs/{}?wait=5", None), ("PATCH", "/v1/jobs/{}", {"priority": 1}),
        ("GET", "/v1/jobs/{}/attempts", None), ("GET", "/v1/jobs/{}/events", None), ("GET", "/v1/jobs/{}/logs", None),
        ("GET", "/v1/jobs/{}/logs?follow=true", None), ("GET", "/v1/jobs/{}/results", None),
        ("GET", "/v1/jobs/{}/results?follow=true", None), ("GET", "/v1/jobs/{}/explain", None),
        ("GET", "/v1/jobs/{}/deliveries", None), ("POST", "/v1/jobs/{}/abort", {}), ("POST", "/v1/jobs/{}/abort?wait=5", {}),
        ("POST", "/v1/jobs/{}/retry", {}), ("GET", "/job/{}", None), ("DELETE", "/job/{}", None),
        ("DELETE", "/job?job_id={}", None), ("POST", "/cancel_task/{}", {}), ("POST", "/scheduler/cancel_task/{}", {}),
        ("GET", "/schedule/status?taskId={}", None), ("DELETE", "/?uid=ana&id={}", None),
    ],
)  # fmt: skip
def test_anothers_job_is_as_one_that_is_not_there(two: Two, method: str, path: str, body: Any) -> None:
    """The same answer, to the letter, but for the id that was asked for."""
    theirs = [
        two.submit(two.bob)["id"],
        two.submit(two.bob, inputs=[1, 2])["id"],
        two.bob.post("/add_task", json={"func_name": SECRET}).json()["task_id"],
        two.bob.post("/job", json={"job_name": SECRET, "time": "1h"}).json()["message"].split()[4],
        two.bob.post("/schedule/create", json={"inputList": ["1"], "templateFunction": f"echo {SECRET}"}).json()["id"],
        two.bob.post("/", json={"uid": "bob", "task": SECRET, "data": 1}).json()["id"],
        two.submit(two.admin, owner="bob", hook="http://bob.example/")["id"],
    ]
    before = [two.admin.get(f"/v1/jobs/{id_}").json() for id_ in theirs]
    missing = theirs[0][:-1] + ("0" if theirs[0][-1] != "0" else "1")
    answers = {}
    for id_ in (*theirs, missing):
        answer = two.ana.request(method, path.format(id_), json=body)
        assert answer.status_code in (400, 404)
        assert SECRET not in answer.text
        answers[id_] = (answer.status_code, answer.text.replace(id_, "ID"), sorted(answer.headers))
    assert {repr(answer) for answer in answers.values()} == {repr(answers[missing])}
    assert [two.admin.get(f"/v1/jobs/{id_}").json() for id_ in theirs] == before


def test_listings_show_ones_own(two: Two) -> None:
    mine, theirs = two.submit(two.ana), two.submit(two.bob)
    for query in ("", "?state=scheduled", "?handler=" + SECRET, "?queue=default", "?owner=ana"):
        found = two.ana.get("/v1/jobs" + query).json()["items"]
        assert mine["id"] in [job["id"] for job in found], query
        assert {job["owner"] for job in found} == {"ana"}
    check_problem(two.ana.get("/v1/jobs?owner=bob"), 403, "forbidden")
    everything = {job["id"] for job in two.admin.get("/v1/jobs?limit=1000").json()["items"]}
    assert {mine["id"], theirs["id"]} <= everything


def test_the_older_apis_show_ones_own(two: Two) -> None:
    two.bob.post("/job", json={"job_name": SECRET, "time": "1h"})
    mine = two.ana.post("/job", json={"job_name": "MINE", "time": "1h"}).json()["message"].split()[4]
    groups = two.ana.get("/jobs").json()
    assert mine in groups["scheduled"]
    assert SECRET not in json.dumps(groups)
    two.bob.post("/", json={"uid": "bob", "task": SECRET, "data": 1})
    task = two.ana.post("/", json={"uid": "ana", "task": "mine", "data": 1})
    assert [one["id"] for one in two.ana.get("/ana").json()] == [task.json()["id"]]
    for path in ("/bob", "/users/bob", "/nobody-at-all"):
        assert two.ana.get(path).status_code == 403
    assert two.ana.post("/", json={"uid": "bob", "task": "x", "data": 1}).status_code == 403
    assert two.ana.request("DELETE", "/", json={"uid": "bob", "id": "x"}).status_code == 403
    assert two.ana.get("/status").status_code == 403  # it counts everybody's


def test_one_waits_for_ones_own_jobs_alone(two: Two) -> None:
    theirs = two.submit(two.bob)["id"]
    for body in ({"handler": "h", "after": [theirs]}, {"handler": "h", "after": ["none"]}):
        check_problem(two.ana.post("/v1/jobs", json=body), 422, "invalid", "after")
    bulk = [{"handler": "h", "ref": "a"}, {"handler": "h", "after": ["a", theirs]}]
    check_problem(two.ana.post("/v1/jobs/bulk", json=bulk), 422, "invalid", "[1].after")
    task = two.bob.post("/add_task", json={"func_name": "f"}).json()["task_id"]
    assert two.ana.post("/add_task", json={"func_name": "g", "dependencies": [task]}).status_code == 400
    # What an admin has tied together does not tell the one about the other.
    tied = two.submit(two.admin, owner="ana", after=[theirs])["id"]
    explained = two.ana.get(f"/v1/jobs/{tied}/explain").json()
    assert explained["summary"].endswith("which is another owner's")
    assert "scheduled" not in json.dumps(explained["reasons"])


def test_a_key_is_its_owners_alone(two: Two) -> None:
    headers = {"idempotency-key": "the-same"}
    body = {"handler": "h", "delay": 3600}
    anas = two.ana.post("/v1/jobs", json=body, headers=headers).json()
    bobs = two.bob.post("/v1/jobs", json=body, headers=headers).json()
    admins = two.admin.post("/v1/jobs", json=body, headers=headers).json()
    assert len({anas["id"], bobs["id"], admins["id"]}) == 3
    assert two.ana.post("/v1/jobs", json=body, headers=headers).json() == anas
    another = two.server.as_(two.server.token("user", owner="ana"))  # a token that takes the place of the first
    assert another.post("/v1/jobs", json=body, headers=headers).json() == anas
    # No name of an owner leads into another's keys.
    sly = two.server.as_(two.server.token("user", owner="an"))
    assert sly.post("/v1/jobs", json=body, headers={"idempotency-key": "athe-same"}).json()["id"] != anas["id"]
    for client, job in ((two.ana, anas), (two.bob, bobs)):
        client.post(f"/v1/jobs/{job['id']}/abort")
    retried = two.ana.post(f"/v1/jobs/{anas['id']}/retry", headers={"idempotency-key": "again"}).json()
    assert retried["owner"] == "ana"
    assert two.bob.post(f"/v1/jobs/{anas['id']}/retry", headers={"idempotency-key": "again"}).status_code == 404


def test_the_stream_of_events_tells_ones_own(two: Two) -> None:
    check_problem(two.ana.get("/v1/events?owner=bob"), 403, "forbidden")
    theirs = two.submit(two.bob)
    with two.ana.stream("GET", "/v1/events?after=0") as answer:
        seen = frames(answer)
        next(seen)
        mine = two.submit(two.ana)
        for frame in seen:
            assert frame.body["owner"] == "ana"
            if frame.body["job"] == mine["id"]:
                assert frame.body["by"].startswith("token ")
                break
    with two.ana.stream("GET", f"/v1/events?after=0&job={theirs['id']}") as answer:
        seen = frames(answer)
        assert next(seen) == {"retry": "1000"}
        eventually(lambda: two.server.service.signals._by_key.get(("events", "")))


@pytest.mark.parametrize("path", ["/v1/events", "/v1/jobs/{}/logs?follow=true", "/v1/jobs/{}?wait=60"])
def test_a_revoked_token_ends_what_it_has_open(two: Two, path: str) -> None:
    text = two.server.token("user", owner="ana")
    client = two.server.as_(text)
    job = two.submit(client)["id"]
    id_ = next(t["id"] for t in reversed(two.admin.get("/v1/tokens").json()["items"]) if t["owner"] == "ana")
    kind = {"/v1/events": ("events", "")}.get(path, ("over" if "wait" in path else "logs", job))
    before = len(two.server.service.signals._by_key.get(kind, ()))
    with two.server.run_in_thread(lambda: client.get(path.format(job))) as asked:
        eventually(lambda: len(two.server.service.signals._by_key.get(kind, ())) > before)
        assert two.admin.delete(f"/v1/tokens/{id_}").json()["revoked_at"]
        answer = asked.result(30)
    assert answer.status_code == (401 if "wait" in path else 200)
    assert client.get("/v1/jobs").status_code == 401
    assert two.admin.delete(f"/v1/tokens/{id_}").status_code == 200
    check_problem(two.admin.delete("/v1/tokens/none"), 404, "not-found")


def test_scripts_and_images_need_a_permission(two: Two) -> None:
    for body in ({"script": "true"}, {"image": "busybox"}, {"command": "true {}", "inputs": [1]}):
        problem = check_problem(two.ana.post("/v1/jobs", json=body), 403, "forbidden")
        assert "not allowed to this token" in problem["detail"]
        check_problem(two.ana.post("/v1/jobs/bulk", json=[{"handler": "h"}, body]), 403, "forbidden")
        assert two.bob.post("/v1/jobs", json=body).status_code == 201
    secret = {"script": "true", "secrets": ["KEY"]}
    check_problem(two.bob.post("/v1/jobs", json=secret), 403, "forbidden")
    assert two.admin.post("/v1/jobs", json=secret).status_code == 201
    task = {"inputList": ["1"], "templateFunction": "true"}
    assert two.ana.post("/schedule/create", json=task).status_code == 403
    assert two.ana.post("/job", content=b"job_name=busybox&time=1h", headers=FORM).status_code == 403
    # What the owner may not submit it may not run again either.
    old = two.submit(two.admin, owner="ana", handler=None, script="true")["id"]
    two.ana.post(f"/v1/jobs/{old}/abort")
    check_problem(two.ana.post(f"/v1/jobs/{old}/retry"), 403, "forbidden")
    assert two.admin.post(f"/v1/jobs/{old}/retry").status_code == 201
