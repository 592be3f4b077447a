from __future__ import annotations

import json

import pytest

from tests.http.live import Live, check_problem

NO_JOB = "01a1fe1a-0000-7000-8000-000000000000"


def test_submit_answers_with_the_whole_job_and_its_place(live: Live) -> None:
    answer = live.client.post(
        "/v1/jobs",
        json={"handler": "resize", "data": {"a": [1, 2.5, "ü", None]}, "args": [1], "owner": "ana", "queue": "q", "priority": 3,
              "labels": {"k": "v"}, "timeout": "2m", "retries": 2, "delay": "1h", "backoff": {"base": 2}},
    )  # fmt: skip
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (job["state"], job["data"], job["args"]) == ("scheduled", {"a": [1, 2.5, "ü", None]}, [1])
    assert (job["owner"], job["queue"], job["priority"], job["labels"]) == ("ana", "q", 3, {"k": "v"})
    assert (job["timeout"], job["max_failures"]) == (120.0, 3)
    assert live.client.get(answer.headers["location"]).json() == job


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "handler"),
        ({"handler": "a", "foo": 1}, "foo"),
        ({"handler": "a", "script": "b"}, "handler"),
        ({"handler": 7}, "handler"),
        ({"handler": ""}, "handler"),
        ({"handler": "x" * 201}, "handler"),
        ({"handler": "a", "priority": "high"}, "priority"),
        ({"handler": "a", "priority": 10**30}, "priority"),
        ({"handler": "a", "priority": 1.5}, "priority"),
        ({"handler": "a", "retries": -1}, "retries"),
        ({"handler": "a", "delay": "soon"}, "delay"),
        ({"handler": "a", "delay": True}, "delay"),
        ({"handler": "a", "delay": -1}, "delay"),
        ({"handler": "a", "run_at": "yesterday"}, "run_at"),
        ({"handler": "a", "run_at": "2001-01-01T00:00:00Z"}, "run_at"),
        ({"handler": "a", "run_at": "2100-01-01T00:00:00Z", "delay": 1}, "delay"),
        ({"handler": "a", "timeout": 0}, "timeout"),
        ({"handler": "a", "after": [NO_JOB]}, "after"),
        ({"handler": "a", "after": [1]}, "after[0]"),
        ({"handler": "a", "labels": {"a": 1}}, "labels[...]"),
        ({"handler": "a", "labels": {"": "x"}}, "labels"),
        ({"handler": "a", "args": {}}, "args"),
        ({"handler": "a", "backoff": {"bse": 1}}, "backoff.bse"),
        ({"handler": "a", "backoff": {"factor": 0}}, "backoff"),
        ({"handler": "a", "hook": "ftp://x"}, "hook"),
        ({"handler": "a", "variables": {}}, "variables"),
        ({"script": "echo {{a}}"}, "variables"),
        ({"script": "  "}, "script"),
        ([], "body"),
        ("text", "body"),
    ],
)
def test_bad_submissions_name_the_field_and_write_nothing(live: Live, body: object, field: str) -> None:
    before = live.client.get("/v1/stats").json()["jobs"]
    check_problem(live.client.post("/v1/jobs", json=body), 422, "invalid", field)
    assert live.client.get("/v1/stats").json()["jobs"] == before


def test_an_idempotency_key_gives_the_same_answer_once_and_for_all(live: Live) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = live.client.post("/v1/jobs", json={"handler": "a"}, headers=headers)
    again = live.client.post("/v1/jobs", json={"handler": "a"}, headers=headers)
    assert first.json() == again.json()
    assert again.status_code == 201
    other = live.client.post("/v1/jobs", json={"handler": "b"}, headers=headers)
    check_problem(other, 422, "idempotency-key-reused")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/bulk", f"/v1/jobs/{NO_JOB}/retry"])
def test_a_bad_idempotency_key_is_refused_on_every_submit(live: Live, path: str, key: str) -> None:
    body = {"/v1/jobs": {"handler": "a"}, "/v1/jobs/bulk": [{"handler": "a"}]}.get(path, {})
    answer = live.client.post(path, json=body, headers={b"Idempotency-Key": key.encode("latin-1")})
    check_problem(answer, 422, "invalid", "Idempotency-Key")


def test_bulk_takes_an_array_or_lines_and_local_refs(live: Live) -> None:
    jobs = [{"handler": "a", "ref": "one"}, {"handler": "b", "after": ["one"]}]
    array = live.client.post("/v1/jobs/bulk", json=jobs)
    assert array.status_code == 201
    first, second = array.json()["items"]
    assert array.json()["next"] is None
    assert (second["state"], second["after"]) == ("blocked", [first["id"]])
    lines = "\n".join(json.dumps(job) for job in jobs) + "\n"
    answer = live.client.post(
        "/v1/jobs/bulk", content=lines, headers={"content-type": "application/x-ndjson; charset=utf-8"}
    )
    assert [job["handler"] for job in answer.json()["items"]] == ["a", "b"]


def test_bulk_is_all_or_nothing_and_names_the_line(live: Live) -> None:
    before = live.client.get("/v1/stats").json()["jobs"]
    bad = [{"handler": "a"}, {"handler": "a", "delay": "x"}]
    check_problem(live.client.post("/v1/jobs/bulk", json=bad), 422, "invalid", "[1].delay")
    check_problem(live.client.post("/v1/jobs/bulk", json=[{"handler": "a", "x": 1}]), 422, "invalid", "[0].x")
    cycle = [{"handler": "a", "ref": "x", "after": ["y"]}, {"handler": "a", "ref": "y", "after": ["x"]}]
    check_problem(live.client.post("/v1/jobs/bulk", json=cycle), 422, "invalid", "[0].after")
    lines = b'{"handler":"a"}\n{"handler":\n'
    answer = live.client.post("/v1/jobs/bulk", content=lines, headers={"content-type": "application/x-ndjson"})
    check_problem(answer, 400, "malformed-json")
    assert live.client.get("/v1/stats").json()["jobs"] == before


def test_bulk_takes_ten_thousand_and_no_more(live: Live) -> None:
    lines = b'{"handler":"many"}\n' * 10_001
    headers = {"content-type": "application/x-ndjson"}
    problem = check_problem(live.client.post("/v1/jobs/bulk", content=lines, headers=headers), 413, "too-large")
    assert (problem["limit"], problem["allowed"]) == ("bulk", 10_000)
    answer = live.client.post("/v1/jobs/bulk", content=lines[: -len(b'{"handler":"many"}\n')], headers=headers)
    assert len(answer.json()["items"]) == 10_000


def test_pages_link_to_the_next_and_keep_the_filters(live: Live) -> None:
    made = [live.submit(handler="paged", labels={"n": "ä&b", "m": "x"}, owner="o o")["id"] for _ in range(5)]
    answer = live.client.get(
        "/v1/jobs", params={"label": ["n=ä&b", "m=x"], "owner": "o o", "state": "queued,failed", "limit": 2}
    )
    seen = []
    for _ in range(10):
        assert answer.status_code == 200, answer.text
        seen += [job["id"] for job in answer.json()["items"]]
        if answer.json()["next"] is None:
            assert "link" not in answer.headers
            break
        target, rel = answer.headers["link"].split("; ")
        assert rel == 'rel="next"'
        answer = live.client.get(target.strip("<>"))
    assert seen == made[::-1]


def test_listing_filters(live: Live) -> None:
    job = live.submit(handler="found", queue="qq", owner="oo")
    other = live.submit(handler="other")
    for params in (
        {"handler": "found"}, {"queue": "qq"}, {"owner": "oo"}, {"owner": "oo", "state": ["queued", "running"]},
        {"owner": "oo", "after_time": job["submitted_at"]}, {"owner": "oo", "before_time": "2100-01-01T00:00:00Z"},
    ):  # fmt: skip
        assert [j["id"] for j in live.client.get("/v1/jobs", params=params).json()["items"]] == [job["id"]]
    for params in ({"owner": "oo", "state": "failed"}, {"owner": "oo", "before_time": "2000-01-01"}):
        assert live.client.get("/v1/jobs", params=params).json() == {"items": [], "next": None}
    assert live.client.get("/v1/jobs", params={"limit": 1}).json()["items"][0]["id"] == other["id"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("limit=", "limit"), ("limit=1&limit=2", "limit"),
        ("state=done", "state"), ("state=", "state"), ("label=x", "label"), ("label==x", "label"), ("foo=1", "foo"),
        ("after_time=now", "after_time"), ("before_time=", "before_time"), ("owner=%00", "owner"), ("owner=%ff", "query"),
        ("&".join(["label=a=b"] * 300), "query"), ("cursor=%00", "cursor"),
    ],
)  # fmt: skip
def test_bad_filters_name_the_parameter(live: Live, query: str, field: str) -> None:
    check_problem(live.client.get(f"/v1/jobs?{query}"), 422, "invalid", field)


@pytest.mark.parametrize(
    "when", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1960-01-01", "2026-11-21T00:00:00-14:00"]
)
def test_far_times_are_times(live: Live, when: str) -> None:
    assert live.client.get("/v1/jobs", params={"after_time": when}).status_code == 200
    assert live.client.get("/v1/jobs", params={"before_time": when}).status_code == 200


@pytest.mark.parametrize("cursor", ["x", "'; drop table jobs", "é", "0" * 5000])
def test_an_invented_cursor_is_no_fault(live: Live, cursor: str) -> None:
    assert live.client.get("/v1/jobs", params={"cursor": cursor}).status_code in (200, 422)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("PATCH", ""), ("POST", "/abort"), ("POST", "/retry")]
    + [("GET", part) for part in ("/attempts", "/events", "/logs", "/logs?follow=1", "/explain", "/deliveries")],
)
@pytest.mark.parametrize("id_", [NO_JOB, "nonsense", "%00", "%0A", "%ff", "..%2f", "a" * 5000, "💥"])
def test_what_is_no_job_is_a_404(live: Live, method: str, path: str, id_: str) -> None:
    answer = live.client.request(method, f"/v1/jobs/{id_}{path}", json={} if method != "GET" else None)
    code = "no-such-route" if id_ == "..%2f" else "not-found"
    check_problem(answer, 404, code)


def test_the_life_of_a_job_through_all_its_views(live: Live) -> None:
    job = live.submit(handler="life", retries=1, backoff={"base": 0}, hook="http://127.0.0.1:9/hook")
    place = f"/v1/jobs/{job['id']}"
    assert "life" in live.client.get(f"{place}/explain").json()["summary"]
    worker = live.worker("life")
    (lease,) = live.claim(worker)
    assert lease == {**lease, "job": job["id"], "attempt": 1, "handler": "life"}
    assert live.client.get(place).json()["state"] == "running"
    error = {"type": "E", "message": "no"}
    assert live.report(worker, lease, "errored", error=error) == {
        **lease_key(lease),
        "accepted": True,
        "state": "queued",
    }
    (lease,) = live.claim(worker)
    assert live.report(worker, lease, result={"n": 1})["state"] == "succeeded"
    over = live.client.get(place).json()
    assert (over["state"], over["result"], over["attempt"], over["failures"]) == ("succeeded", {"n": 1}, 2, 1)
    tries = live.client.get(f"{place}/attempts").json()["items"]
    assert [(t["attempt"], t["outcome"]) for t in tries] == [(1, "errored"), (2, "succeeded")]
    assert tries[0]["error"] == error
    kinds = [event["kind"] for event in live.client.get(f"{place}/events").json()["items"]]
    assert kinds[0] == "submitted"
    assert kinds[-1] == "succeeded"
    page = live.client.get(f"{place}/events?limit=2")
    rest = live.client.get(page.headers["link"].split(">")[0].strip("<")).json()["items"]
    assert [event["kind"] for event in page.json()["items"] + rest][: len(kinds)] == kinds[: 2 + len(rest)]
    assert live.client.get(f"{place}/explain").json()["state"] == "succeeded"
    delivery = live.client.get(f"{place}/deliveries").json()["items"][0]
    assert delivery["url"] == "http://127.0.0.1:9/hook"


def lease_key(lease: dict[str, object]) -> dict[str, object]:
    return {"job": lease["job"], "attempt": lease["attempt"]}


def test_abort_cancels_what_waits_and_says_what_is_over(live: Live) -> None:
    job = live.submit(delay=3600)
    answer = live.client.post(f"/v1/jobs/{job['id']}/abort")
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
    problem = check_problem(live.client.post(f"/v1/jobs/{job['id']}/abort", json={}), 409, "conflict")
    assert problem["state"] == "canceled"


def test_abort_of_a_running_job_is_accepted_then_done(live: Live) -> None:
    job = live.submit(handler="stopped")
    worker = live.worker("stopped")
    (lease,) = live.claim(worker)
    place = f"/v1/jobs/{job['id']}"
    answer = live.client.post(f"{place}/abort")
    assert (answer.status_code, answer.json()["display_state"]) == (202, "aborting")
    orders = live.client.post(f"/v1/workers/{worker}/watch", json={"wait": 5}).json()
    assert orders["abort"][0]["job"] == job["id"]
    answer = live.client.post(f"{place}/abort?wait=0.05")
    assert answer.status_code == 202
    live.report(worker, lease, "aborted", proof={"processes": 2})
    over = live.client.get(f"{place}?wait=5").json()
    assert (over["state"], over["confirmed"]) == ("aborted", True)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/abort?wait=61", None, "wait"), ("/abort?wait=-1", None, "wait"), ("/abort?wait=nan", None, "wait"),
        ("/abort?now=1", None, "now"), ("/abort", {"x": 1}, "x"), ("/retry", {"x": 1}, "x"), ("/retry?x=1", None, "x"),
    ],
)  # fmt: skip
def test_bad_aborts_and_retries(live: Live, path: str, body: object, field: str) -> None:
    job = live.submit(delay=3600)
    check_problem(live.client.post(f"/v1/jobs/{job['id']}{path}", json=body), 422, "invalid", field)
    assert live.client.get(f"/v1/jobs/{job['id']}").json()["state"] == "scheduled"


def test_retry_is_a_new_job_that_points_to_the_old(live: Live) -> None:
    job = live.submit(delay=3600)
    check_problem(live.client.post(f"/v1/jobs/{job['id']}/retry"), 409, "conflict")
    live.client.post(f"/v1/jobs/{job['id']}/abort")
    headers = {"Idempotency-Key": "again"}
    answer = live.client.post(f"/v1/jobs/{job['id']}/retry", headers=headers)
    new = answer.json()
    assert (answer.status_code, new["retry_of"], new["state"]) == (201, job["id"], "queued")
    assert answer.headers["location"] == f"/v1/jobs/{new['id']}"
    assert live.client.post(f"/v1/jobs/{job['id']}/retry", headers=headers).json()["id"] == new["id"]


def test_edit_changes_what_has_not_started(live: Live) -> None:
    job = live.submit(handler="edited", delay=3600)
    place = f"/v1/jobs/{job['id']}"
    edited = live.client.patch(place, json={"priority": 9, "queue": "fast", "delay": 0}).json()
    assert (edited["priority"], edited["queue"], edited["state"]) == (9, "fast", "queued")
    worker = live.worker("edited")
    live.claim(worker)
    assert check_problem(live.client.patch(place, json={"priority": 1}), 409, "conflict")["state"] == "running"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"priority": "x"}, "priority"), ({"priority": 10**12}, "priority"), ({"priority": None}, "priority"),
        ({"owner": "x"}, "owner"), ({"queue": ""}, "queue"), ({"delay": "x"}, "delay"), ({"run_at": "x"}, "run_at"),
        ({"delay": 1, "run_at": "2100-01-01T00:00:00Z"}, "delay"), ([], "body"),
    ],
)  # fmt: skip
def test_bad_edits(live: Live, body: object, field: str) -> None:
    job = live.submit(delay=3600)
    check_problem(live.client.patch(f"/v1/jobs/{job['id']}", json=body), 422, "invalid", field)


def test_waiting_for_a_job_ends_with_it(live: Live) -> None:
    job = live.submit(delay=3600)
    assert live.client.get(f"/v1/jobs/{job['id']}?wait=0.02").json()["state"] == "scheduled"
    check_problem(live.client.get(f"/v1/jobs/{job['id']}?wait=1e9"), 422, "invalid", "wait")
    check_problem(live.client.get(f"/v1/jobs/{NO_JOB}?wait=1"), 404, "not-found")


def test_head_answers_like_get_without_a_body(live: Live) -> None:
    job = live.submit()
    for path in ("/v1/jobs", f"/v1/jobs/{job['id']}", "/v1/stats", "/healthz", "/docs", "/openapi.json", "/v1/events"):
        answer = live.client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_unknown_routes_and_methods(live: Live) -> None:
    for path in (
        "/v1/",
        "/v1/jobs/",
        "/v2/jobs",
        "/nope/nope",
        "/docs/",
        "/docs/assets/x.js",
        "/docs/assets/..%2fdocs.html",
    ):
        assert live.client.get(path).status_code == 404
        assert live.client.get(path).headers["content-type"] == "application/problem+json"
    answer = live.client.request("DELETE", "/v1/jobs")
    check_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert live.client.get("/v1/jobs/bulk").headers["allow"] == "POST"
    assert live.client.options("/v1/jobs").status_code == 405


def test_a_unique_key_is_refused_with_the_id_of_the_job_that_has_it_or_stands_for_the_next(live: Live) -> None:
    first = live.submit(unique_key="one")
    assert first["unique_key"] == "one"
    taken = live.client.post("/v1/jobs", json={"handler": "h", "unique_key": "one"})
    check_problem(taken, 409, "unique-key-taken")
    assert (taken.json()["job"], taken.json()["state"]) == (first["id"], "queued")
    again = live.client.post("/v1/jobs", json={"handler": "h", "unique_key": "one", "on_conflict": "existing"})
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    wrong = live.client.post("/v1/jobs", json={"handler": "h", "unique_key": "one", "on_conflict": "skip"})
    check_problem(wrong, 422, "invalid", field="on_conflict")


def test_a_dry_run_says_what_would_happen(live: Live) -> None:
    before = live.client.get("/v1/jobs?handler=dry").json()["items"]
    answer = live.client.post("/v1/jobs?dry_run=true", json={"handler": "dry", "delay": 60})
    assert answer.status_code == 200
    told = answer.json()
    assert told["dry_run"] is True
    (job,) = told["jobs"]
    assert (job["state"], job["runnable"], job["existing"]) == ("scheduled", False, None)
    assert [why["code"] for why in job["reasons"]] == ["waits-for-time", "no-worker"]
    bulk = [{"handler": "dry", "ref": "a"}, {"handler": "dry", "after": ["a"]}]
    answer = live.client.post("/v1/jobs/bulk?dry_run=1", json=bulk)
    assert (answer.status_code, [job["state"] for job in answer.json()["jobs"]]) == (200, ["queued", "blocked"])
    assert live.client.get("/v1/jobs?handler=dry").json()["items"] == before == []


def test_a_dry_run_is_refused_as_the_submission_would_be(live: Live) -> None:
    for body in ({"handler": "a:b"}, {"handler": "h", "after": ["nobody"]}, {"nonsense": 1}):
        real, dry = (live.client.post(f"/v1/jobs{query}", json=body) for query in ("", "?dry_run=true"))
        assert (dry.status_code, dry.json()) == (real.status_code, real.json())
    check_problem(live.client.post("/v1/jobs?dry_run=perhaps", json={"handler": "h"}), 422, "invalid")
    check_problem(
        live.client.post("/v1/jobs/bulk?dry_run=true", json=[{"handler": "h", "priority": 10**7}]), 422, "invalid"
    )
