"""Many jobs at once: counted, stopped, run again, moved; by ids and by filters."""

from __future__ import annotations

from typing import Any

import pytest

from .live import Live, check_problem, eventually


def post(live: Live, path: str, body: dict[str, Any], **headers: str) -> Any:
    answer = live.client.post(f"/v1/jobs/{path}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def state(live: Live, job: str) -> str:
    found: str = live.client.get(f"/v1/jobs/{job}").json()["state"]
    return found


def failed_jobs(live: Live, queue: str, n: int) -> list[str]:
    worker = live.worker("bulk", queues=[queue])
    for _ in range(n):
        live.submit(handler="bulk", queue=queue)
    jobs = []
    for _ in range(n):
        (lease,) = live.claim(worker)
        live.report(worker, lease, "errored", error={"type": "E", "message": "no luck"})
        jobs.append(lease["job"])
    live.client.delete(f"/v1/workers/{worker}")
    return jobs


def test_jobs_are_stopped_by_their_ids_each_by_itself(live: Live) -> None:
    worker = live.worker("bulk", queues=["stop"])
    running = live.submit(handler="bulk", queue="stop")["id"]
    live.claim(worker)
    waiting = live.submit(handler="bulk", queue="stop", delay=1000)["id"]
    dependent = live.submit(handler="bulk", queue="stop", after=[waiting])["id"]
    ids = [running, waiting, "nobody", waiting]
    summary = post(live, "abort", {"ids": ids, "dry_run": True})
    assert (summary["dry_run"], summary["done"], summary["states"]) == (True, 2, {"running": 1, "scheduled": 1})
    assert state(live, waiting) == "scheduled"
    done = post(live, "abort", {"ids": ids})
    assert (done["done"], done["states"], done["next"]) == (2, {"running": 1, "scheduled": 1}, None)
    assert [(f["id"], f["error"]) for f in done["failed"]] == [("nobody", "not-found")]
    assert [state(live, job) for job in (waiting, dependent)] == ["canceled", "canceled"]
    assert live.client.get(f"/v1/jobs/{running}").json()["abort_requested_at"]
    again = post(live, "abort", {"ids": ids})
    assert (again["done"], again["states"]) == (1, {"running": 1})  # asked twice, it is still being stopped
    assert {f["id"]: (f["error"], f["state"]) for f in again["failed"]} == {
        waiting: ("conflict", "canceled"), "nobody": ("not-found", None),
    }  # fmt: skip


def test_a_filter_says_first_how_many_then_goes_on_by_its_cursor(live: Live) -> None:
    jobs = [live.submit(queue="flood", delay=1000 if n % 2 else 0)["id"] for n in range(7)]
    where = {"queue": "flood"}
    summary = post(live, "abort", {"filter": where, "dry_run": True})
    assert (summary["done"], summary["exact"], summary["states"]) == (7, True, {"queued": 4, "scheduled": 3})
    first = post(live, "abort", {"filter": where, "limit": 5})
    assert (first["done"], bool(first["next"])) == (5, True)
    rest = post(live, "abort", {"filter": where, "cursor": first["next"]})
    assert (rest["done"], rest["next"]) == (2, None)
    assert {state(live, job) for job in jobs} == {"canceled"}
    assert post(live, "abort", {"filter": where})["done"] == 0


def test_what_failed_runs_again_and_a_key_makes_it_once(live: Live) -> None:
    old = failed_jobs(live, "again", 3)
    body = {"filter": {"queue": "again", "error": "NO LUCK"}}
    summary = post(live, "retry", {**body, "dry_run": True})
    assert (summary["done"], summary["states"]) == (3, {"failed": 3})
    done = post(live, "retry", body, **{"idempotency-key": "k1"})
    assert (done["done"], set(done["made"])) == (3, set(old))
    for before, after in done["made"].items():
        assert live.client.get(f"/v1/jobs/{after}").json()["retry_of"] == before
    assert post(live, "retry", body, **{"idempotency-key": "k1"})["made"] == done["made"]
    assert set(post(live, "retry", {"ids": old[:1]})["made"].values()).isdisjoint(done["made"].values())
    waiting = next(iter(done["made"].values()))
    (refused,) = post(live, "retry", {"ids": [waiting]})["failed"]
    assert (refused["error"], refused["state"]) == ("conflict", "queued")


def test_what_waits_is_moved(live: Live) -> None:
    jobs = [live.submit(queue="from")["id"] for _ in range(3)]
    assert post(live, "move", {"ids": jobs[:1], "queue": "to", "priority": 7, "dry_run": True})["done"] == 1
    assert post(live, "move", {"filter": {"queue": "from"}, "queue": "to", "priority": 7, "delay": "1h"})["done"] == 3
    moved = live.client.get("/v1/jobs", params={"queue": "to"}).json()["items"]
    assert {(job["priority"], job["state"]) for job in moved} == {(7, "scheduled")}
    assert live.client.get("/v1/jobs/count", params={"queue": "from"}).json()["count"] == 0


def test_jobs_are_counted(live: Live) -> None:
    for n in range(5):
        live.submit(queue="counted", owner="ana" if n else "bob", labels={"n": str(n)})
    count = live.client.get("/v1/jobs/count", params={"queue": "counted"}).json()
    assert count == {"count": 5, "exact": True, "states": {"queued": 5}}
    count = live.client.get(
        "/v1/jobs/count", params={"queue": "counted", "owner": "ana", "state": "queued,failed"}
    ).json()
    assert count == {"count": 4, "exact": True, "states": {"queued": 4}}
    assert live.client.get("/v1/jobs/count", params={"label": "n=3"}).json()["count"] == 1


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("abort", {}, "ids"), ("abort", {"ids": ["a"], "filter": {}}, "ids"), ("abort", {"ids": ["a"] * 1001}, "ids"),
        ("abort", {"ids": [1]}, "ids[0]"), ("abort", {"filter": {"state": ["gone"]}}, "filter.state"),
        ("abort", {"filter": {"state": ["failed"]}}, "filter.state"), ("retry", {"filter": {"label": ["x"]}}, "filter.label"),
        ("retry", {"filter": {"error": ""}}, "filter.error"), ("retry", {"filter": {"after_time": "x"}}, "filter.after_time"),
        ("retry", {"filter": {}, "limit": 0}, "limit"), ("move", {"filter": {}}, "body"),
        ("move", {"ids": [], "priority": 10**9}, None), ("move", {"ids": ["a"], "colour": "red"}, "colour"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(live: Live, path: str, body: dict[str, Any], field: str | None) -> None:
    answer = live.client.post(f"/v1/jobs/{path}", json=body)
    if field is None:
        assert answer.json()["done"] == 0
    else:
        check_problem(answer, 422, "invalid", field)


def test_a_move_to_nowhere_is_refused(live: Live) -> None:
    job = live.submit(queue="stays")["id"]
    for change, field in (
        ({"priority": 10**9}, "priority"),
        ({"queue": ""}, "queue"),
        ({"delay": "x"}, "delay"),
    ):
        check_problem(live.client.post("/v1/jobs/move", json={"ids": [job], **change}), 422, "invalid", field)


@pytest.mark.parametrize("query", ["error=", "error=" + "x" * 501])
def test_a_text_to_look_for_has_a_size(live: Live, query: str) -> None:
    check_problem(live.client.get(f"/v1/jobs?{query}"), 422, "invalid", "error")


def test_a_call_of_a_hook_is_made_again(live: Live) -> None:
    job = live.submit(hook="https://example.org/h", delay=1000)["id"]
    live.client.post(f"/v1/jobs/{job}/abort")

    def calls() -> Any:
        return live.client.get(f"/v1/jobs/{job}/deliveries").json()["items"]

    eventually(lambda: calls()[0]["done_at"])
    (call,) = calls()
    answer = live.client.post(f"/v1/jobs/{job}/deliveries/{call['id']}/resend")
    assert answer.status_code == 200, answer.text
    eventually(lambda: len(calls()[0]["tries"]) == 2 and calls()[0]["done_at"])
    check_problem(live.client.post(f"/v1/jobs/{job}/deliveries/none/resend"), 404, "not-found")
    check_problem(live.client.post(f"/v1/jobs/none/deliveries/{call['id']}/resend"), 404, "not-found")
