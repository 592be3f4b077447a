from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from tests.http.live import DEADLINE_S, LEASE_S, Live, check_problem, eventually


def test_a_worker_registers_is_seen_and_leaves(live: Live) -> None:
    hello = {
        "name": "alpha",
        "handlers": [{"name": "a", "mode": "async"}],
        "slots": 2,
        "queues": ["q"],
        "host": "h",
        "pid": 7,
    }
    answer = live.client.post("/v1/workers", json=hello)
    assert answer.status_code == 201
    welcome = answer.json()
    assert (welcome["lease_s"], welcome["heartbeat_s"]) == (LEASE_S, LEASE_S / 3)
    place = f"/v1/workers/{welcome['worker']}"
    seen = live.client.get(place).json()
    assert (seen["name"], seen["state"], seen["slots"], seen["queues"], seen["pid"]) == (
        "alpha",
        "present",
        2,
        ["q"],
        7,
    )
    assert seen["handlers"][0]["name"] == "a"
    assert seen in live.client.get("/v1/workers").json()["items"]
    assert live.client.post(f"{place}/heartbeat", json={"held": []}).json() == {}
    assert live.client.post(f"{place}/drain").status_code == 202
    assert live.client.post(f"{place}/heartbeat", json={"held": []}).json() == {"drain": True}
    assert live.client.post(f"{place}/watch", json={"wait": 5}).json() == {"drain": True}
    assert live.client.get(place).json()["state"] == "draining"
    answer = live.client.delete(place)
    assert (answer.status_code, answer.content) == (204, b"")
    assert live.client.get(place).json()["state"] == "gone"
    check_problem(live.client.post(f"{place}/heartbeat", json={"held": []}), 404, "not-found")


def test_what_a_worker_holds_comes_back_when_it_leaves(live: Live) -> None:
    job = live.submit(handler="back")
    worker = live.worker("back")
    live.claim(worker)
    live.client.delete(f"/v1/workers/{worker}")
    assert live.client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"


def test_a_claim_waits_for_a_job(live: Live) -> None:
    worker = live.worker("awaited")
    began = time.monotonic()
    assert live.claim(worker, wait=0.05) == []
    assert time.monotonic() - began >= 0.05
    body = json.dumps({"free": {"process": 1, "asynchronous": 0, "total": 1}, "wait": 10}).encode()
    with post(live, f"/v1/workers/{worker}/claim", body) as waiting:
        eventually(lambda: live.service.signals._claimants)
        job = live.submit(handler="awaited")
        assert json.loads(waiting.recv(65536).partition(b"\r\n\r\n")[2])["leases"][0]["job"] == job["id"]


def test_a_worker_with_one_kind_of_slot_says_how_many_are_free(live: Live) -> None:
    worker = live.worker("plain")
    jobs = [live.submit(handler="plain")["id"] for _ in range(3)]
    for free, count in ((0, 0), (2, 2), (2**70, 1)):
        answer = live.client.post(f"/v1/workers/{worker}/claim", json={"free": free})
        assert answer.status_code == 200, answer.text
        assert [lease["job"] for lease in answer.json()["leases"]] == [jobs.pop(0) for _ in range(count)]


def post(live: Live, path: str, body: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", live.port), timeout=DEADLINE_S)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_a_claimant_that_goes_away_takes_nothing(live: Live) -> None:
    worker = live.worker("gone")
    body = json.dumps({"free": {"process": 1, "asynchronous": 0, "total": 1}, "wait": 30}).encode()
    with post(live, f"/v1/workers/{worker}/claim", body):
        eventually(lambda: live.service.signals._claimants)
    eventually(lambda: not live.service.signals._claimants)
    job = live.submit(handler="gone")
    found = live.client.get(f"/v1/jobs/{job['id']}").json()
    assert (found["state"], found["attempt"]) == ("queued", 0)


def test_jobs_that_were_taken_for_a_client_that_is_gone_come_back_at_once(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client goes away between the claim's commit and its answer."""
    job = live.submit(handler="taken")
    worker = live.worker("taken")
    claim = live.service.work.claim
    body = json.dumps({"free": {"process": 1, "asynchronous": 0, "total": 1}, "wait": 30}).encode()
    taken = []

    async def slow_claim(*arguments: object) -> object:
        leases = await claim(*arguments)  # type: ignore[arg-type]
        taken.append(leases)
        try:
            await live.service.jobs.wait(job["id"], 10.0)  # until canceled
        finally:
            return leases  # noqa: B012  # a claim that is past its commit when it is canceled

    monkeypatch.setattr(live.service.work, "claim", slow_claim)
    with post(live, f"/v1/workers/{worker}/claim", body):
        eventually(lambda: taken)
    monkeypatch.undo()
    found = eventually(lambda: (j := live.client.get(f"/v1/jobs/{job['id']}").json()) and j["state"] == "queued" and j)
    assert (found["attempt"], found["failures"], found["crashes"]) == (1, 0, 0)


def test_a_watch_ends_with_orders_and_says_what_is_lost(live: Live) -> None:
    worker = live.worker("x")
    assert live.client.post(f"/v1/workers/{worker}/watch", json={}).json() == {}
    held = [{"job": "no-such-job", "attempt": 1}]
    assert live.client.post(f"/v1/workers/{worker}/heartbeat", json={"held": held}).json() == {"lost": held}


def test_stale_reports_change_nothing_and_are_told_so(live: Live) -> None:
    live.submit(handler="stale")
    worker = live.worker("stale")
    (lease,) = live.claim(worker)
    assert live.report(worker, {**lease, "attempt": 7})["accepted"] is False
    assert live.report("somebody-else", lease)["accepted"] is False
    assert live.report(worker, lease)["accepted"] is True
    assert live.report(worker, lease)["accepted"] is False


def test_output_and_progress_are_kept(live: Live) -> None:
    job = live.submit(handler="talks")
    worker = live.worker("talks")
    (lease,) = live.claim(worker)
    name = {"job": lease["job"], "attempt": 1}
    body = {
        "logs": [
            {**name, "n": 0, "stream": "stdout", "text": "one\0 é\n"},
            {**name, "n": 1, "stream": "stderr", "text": "two\n"},
        ],
        "progress": [{**name, "progress": {"fraction": 0.5, "message": "half"}}],
        "hooks": [],
    }
    for _ in range(2):  # a repeated call adds nothing
        answer = live.client.post(f"/v1/workers/{worker}/logs", json=body)
        assert (answer.status_code, answer.content) == (204, b"")
    place = f"/v1/jobs/{job['id']}"
    assert live.client.get(place).json()["progress"] == {"fraction": 0.5, "message": "half"}
    page = live.client.get(f"{place}/logs?limit=1")
    assert [(c["n"], c["stream"], c["text"]) for c in page.json()["items"]] == [(0, "stdout", "one\0 é\n")]
    assert page.json()["next"] == "1.0"
    rest = live.client.get(page.headers["link"].split(">")[0].strip("<")).json()
    assert [c["text"] for c in rest["items"]] == ["two\n"]
    assert live.client.get(f"{place}/logs?attempt=2").json()["items"] == []
    text = live.client.get(f"{place}/logs", headers={"accept": "text/plain"})
    assert (text.headers["content-type"], text.text) == ("text/plain; charset=utf-8", "one\0 é\ntwo\n")


A = {"job": "j", "attempt": 1}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("", {}, "name"), ("", {"name": "a", "x": 1}, "x"), ("", {"name": ""}, "name"),
        ("", {"name": "a", "slots": -1}, "slots"),
        ("", {"name": "a", "slots": "2"}, "slots"), ("", {"name": "a", "handlers": [{}]}, "handlers[0].name"),
        ("", {"name": "a", "handlers": [{"name": "b", "mode": "c"}]}, "handlers[0].mode"),
        ("/W/claim", {}, "free"), ("/W/claim", {"free": {}}, "free.process"),
        ("/W/claim", {"free": {"process": 0, "asynchronous": -1, "total": 1}}, "free.asynchronous"),
        ("/W/claim", {"free": "x"}, "free"),
        ("/W/claim", {"free": {"process": 1, "asynchronous": 1, "total": 1}, "wait": 61}, "wait"),
        ("/W/claim", {"free": -1}, "free"), ("/W/claim", {"free": 1.5}, "free"),
        ("/W/heartbeat", {}, "held"), ("/W/heartbeat", {"held": [{"job": 1}]}, "held[0].job"),
        ("/W/watch", {"wait": "x"}, "wait"), ("/W/drain", {"x": 1}, "x"),
        ("/W/report", {"reports": [{"job": "j", "attempt": 1, "outcome": "fine"}]}, "reports[0].outcome"),
        ("/W/report", {"reports": [{**A, "outcome": "snoozed", "retry_in_s": -1}]}, "reports[0].retry_in_s"),
        ("/W/report", {"reports": [{**A, "outcome": "snoozed", "retry_in_s": 1e300}]}, "reports[0].retry_in_s"),
        ("/W/report", {"reports": [{**A, "outcome": "errored", "exit_code": 2**70}]}, "reports[0].exit_code"),
        ("/W/logs", {"logs": [{"job": "j", "attempt": 2**70, "n": 0, "stream": "log", "text": ""}]}, "logs[0].attempt"),
        ("/W/logs", {"progress": [{"job": "j", "attempt": -1, "progress": {}}]}, "progress[0].attempt"),
        ("/W/logs", {"logs": [{"job": "j", "attempt": 1, "n": 0, "stream": "x", "text": ""}]}, "logs[0].stream"),
        ("/W/logs", {"results": [{**A, "outcome": "lost"}]}, "results[0].index"),
        ("/W/logs", {"results": [{**A, "index": -1, "outcome": "lost"}]}, "results[0].index"),
        ("/W/logs", {"results": [{**A, "index": 2**70, "outcome": "lost"}]}, "results[0].index"),
        ("/W/logs", {"results": [{"job": "j", "attempt": 2**70, "index": 0, "outcome": "lost"}]}, "results[0].attempt"),
        ("/W/logs", {"results": [{**A, "index": 0, "outcome": "fine"}]}, "results[0].outcome"),
        ("/W/logs", {"results": [{**A, "index": 0, "outcome": "lost", "duration_s": -1}]}, "results[0].duration_s"),
        ("/W/logs", {"results": [{**A, "index": 0, "outcome": "lost", "exit_code": 2**70}]}, "results[0].exit_code"),
        ("/W/logs", {"results": [{**A, "index": 0, "outcome": "snoozed", "retry_in_s": -1}]}, "results[0].retry_in_s"),
        ("/W/logs", {"results": [{**A, "index": 0, "outcome": "lost", "stdout": "x" * 2**21}]}, "results[0].stdout"),
        ("/W/logs", {"results": [{**A, "index": 0, "outcome": "lost", "result": "x" * 2**21}]}, "results[0].result"),
        ("/W/logs", {"x": 1}, "x"),
    ],
)  # fmt: skip
def test_bad_input_of_workers_names_the_field(live: Live, path: str, body: object, field: str) -> None:
    worker = live.worker("h")
    check_problem(live.client.post(f"/v1/workers{path.replace('W', worker)}", json=body), 422, "invalid", field)


@pytest.mark.parametrize("number", [2**31 - 1, -5, 2**40, 10**25])
def test_any_number_is_no_fault(live: Live, number: int) -> None:
    worker = live.worker("never")
    held = [{"job": "j", "attempt": number}]
    answers = [
        live.client.post(f"/v1/workers/{worker}/heartbeat", json={"held": held}),
        live.client.post(
            f"/v1/workers/{worker}/claim", json={"free": {"process": number, "asynchronous": number, "total": number}}
        ),
        live.client.post(f"/v1/workers/{worker}/report", json={"reports": [{**held[0], "outcome": "lost"}]}),
        live.client.post("/v1/workers", json={"name": "n", "slots": number, "pid": number, "max_jobs": number}),
        live.client.get(f"/v1/events?after={number}", headers={"accept": "x"}) if number < 0 else httpx.Response(200),
        live.client.get(f"/v1/jobs/x/logs?attempt={number}"),
    ]
    assert [answer.status_code for answer in answers if answer.status_code >= 500] == []


@pytest.mark.parametrize("verb", ["claim", "heartbeat", "watch"])
@pytest.mark.parametrize("id_", ["nobody", "%00", "💥"])
def test_an_unknown_worker_is_a_404(live: Live, id_: str, verb: str) -> None:
    bodies = {"claim": {"free": {"process": 1, "asynchronous": 0, "total": 1}}, "heartbeat": {"held": []}, "watch": {}}
    check_problem(live.client.post(f"/v1/workers/{id_}/{verb}", json=bodies[verb]), 404, "not-found")
    check_problem(live.client.get(f"/v1/workers/{id_}"), 404, "not-found")
    check_problem(live.client.post(f"/v1/workers/{id_}/drain"), 404, "not-found")
    assert live.client.delete(f"/v1/workers/{id_}").status_code == (404 if id_ == "%00" else 204)


def test_stats_and_health(live: Live) -> None:
    live.submit(handler="counted", queue="figures")
    stats = live.client.get("/v1/stats").json()
    assert stats["queues"]["figures"]["queued"] == 1
    assert stats["oldest_ready"]["figures"] >= 0
    assert stats["oldest"]["age"] >= stats["oldest_ready"]["figures"]
    assert live.client.get(f"/v1/jobs/{stats['oldest']['job']}").json()["state"] == "queued"
    assert 0 <= stats["slots_in_use"] <= stats["slots"]
    assert set(stats["rates"]) == {"submitted", "started", "succeeded", "failed", "aborted", "canceled"}
    assert stats["queue_rates"] == {queue: rate for queue, rate in stats["queue_rates"].items() if rate > 0}
    assert live.client.get("/healthz").json() == {"status": "alive"}
    assert live.client.get("/readyz").json() == {"status": "ready"}
