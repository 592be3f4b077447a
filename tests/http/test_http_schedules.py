"""`/v1/schedules` over HTTP: what it answers, and in which words it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.live import Live, check_problem, eventually

DAILY = {"rule": "0 9 * * *", "timezone": "Europe/Berlin", "job": {"handler": "noop"}}


def made(live: Live, **fields: Any) -> dict[str, Any]:
    answer = live.client.post("/v1/schedules", json={**DAILY, **fields})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/schedules/{answer.json()['id']}"
    shown: dict[str, Any] = answer.json()
    return shown


def test_a_schedule_is_found_by_its_id_and_by_its_name(live: Live) -> None:
    shown = made(live, name="report 1", jitter="1m", starts_at="2030-01-01T00:00")
    assert shown["job"] == {"handler": "noop", "owner": "default"}
    assert (shown["jitter"], shown["starts_at"]) == (60.0, "2029-12-31T23:00:00.000000Z")
    assert (shown["next_at"], shown["paused_at"]) == ("2030-01-01T08:00:00.000000Z", None)
    assert (shown["missed"], shown["missed_limit"], shown["overlap"], shown["revision"]) == ("once", 100, "allow", 1)
    for which in (shown["id"], "report%201"):
        assert live.client.get(f"/v1/schedules/{which}").json() == shown
    check_problem(live.client.get("/v1/schedules/none"), 404, "not-found")
    check_problem(live.client.post("/v1/schedules", json={**DAILY, "name": "report 1"}), 409, "conflict")


def test_they_are_listed_a_page_at_a_time(live: Live) -> None:
    names = [made(live, name=f"listed {n}", job={"handler": "noop", "owner": "lister"})["name"] for n in range(3)]
    first = live.client.get("/v1/schedules?owner=lister&limit=2")
    assert [s["name"] for s in first.json()["items"]] == names[:2]
    rest = live.client.get(first.links["next"]["url"])
    assert [s["name"] for s in rest.json()["items"]] == names[2:]
    assert rest.json()["next"] is None


def test_it_is_changed_paused_run_and_removed(live: Live) -> None:
    made(live, name="life")
    edited = live.client.patch("/v1/schedules/life", json={"rule": "30 9 * * *", "job": {"handler": "noop", "data": 7}})
    assert (edited.json()["rule"], edited.json()["job"]["data"], edited.json()["revision"]) == ("30 9 * * *", 7, 2)
    assert live.client.post("/v1/schedules/life/pause").json()["next_at"] is None
    assert live.client.post("/v1/schedules/life/resume", json={}).json()["next_at"] is not None
    run = live.client.post("/v1/schedules/life/run")
    assert run.status_code == 201
    assert run.json()["labels"] == {"schedule": "life"}
    assert live.client.get(run.headers["location"]).json()["data"] == 7
    (firing,) = live.client.get("/v1/schedules/life/firings").json()["items"]
    assert (firing["fate"], firing["job"], firing["manual"]) == ("submitted", run.json()["id"], True)
    history = live.client.get("/v1/schedules/life/history?limit=2")
    assert [change["what"] for change in history.json()["items"]] == ["resumed", "paused"]
    older = live.client.get(history.links["next"]["url"]).json()["items"]
    assert [change["what"] for change in older] == ["edited: job, rule", "created"]
    assert older[1]["settings"]["rule"] == "0 9 * * *"
    assert live.client.delete("/v1/schedules/life").status_code == 204
    check_problem(live.client.get("/v1/schedules/life"), 404, "not-found")


def test_a_preview_needs_no_schedule(live: Live) -> None:
    timing = {"rule": "30 2 * * *", "timezone": "Europe/Berlin", "starts_at": "2030-03-30"}
    slots = live.client.post("/v1/schedules/preview?n=2", json=timing).json()["items"]
    assert slots == [
        {"at": "2030-03-30T01:30:00.000000Z", "local": "2030-03-30T02:30:00+01:00", "offset": 3600, "clock": None},
        {"at": "2030-03-31T01:00:00.000000Z", "local": "2030-03-31T03:00:00+02:00", "offset": 7200, "clock": "skipped"},
    ]
    made(live, name="seen", starts_at="2030-01-01", ends_at="2030-01-02")
    assert len(live.client.get("/v1/schedules/seen/preview?n=5").json()["items"]) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rule": "0 0 30 2 *"}, "rule"),
        ({"rule": "0 0 * * *", "timezone": "Mars/Olympus"}, "timezone"),
        ({"missed": "perhaps"}, "missed"),
        ({"job": {"handler": "noop", "delay": "1m"}}, "job.delay"),
        ({"job": {"handler": "noop", "data": 1, "priority": "x"}}, "job.priority"),
        ({"job": {}, "name": "n"}, "job.handler"),
        ({"name": "a/b"}, "name"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_is_a_422_that_names_the_field(live: Live, body: dict[str, Any], field: str) -> None:
    answer = live.client.post("/v1/schedules", json={**DAILY, **body})
    problem = check_problem(answer, 422, "invalid")
    assert problem["field"] == field, answer.text


def test_a_slot_fires_on_a_server(live: Live) -> None:
    made(live, name="soon", rule="every 1s")
    found = eventually(lambda: live.client.get("/v1/schedules/soon/firings").json()["items"])
    assert found[-1]["fate"] == "submitted"
    assert live.client.delete("/v1/schedules/soon").status_code == 204
