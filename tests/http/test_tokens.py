"""Tokens: how they come, what is kept of them, what is refused; workers' tokens; the trail; rates."""

from __future__ import annotations

import base64
import hashlib
import hmac
import inspect
import sqlite3
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rota.core.access import LOCAL
from rota.service import tokens as tokens_module
from rota.service.tokens import Tokens
from tests.http.guarded import Guarded
from tests.http.live import check_problem, eventually


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Guarded(tmp_path_factory.mktemp("tokens"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def admin(guarded: Guarded) -> httpx.Client:
    return guarded.as_(guarded.token("admin"))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_token_comes_as_bearer_or_as_the_password_of_basic(guarded: Guarded) -> None:
    token = guarded.token("user", owner="ana")
    for value in (f"Bearer {token}", f"bearer  {token}", basic("any", token), basic("", token), basic("ana", token)):
        assert httpx.get(guarded.url + "/v1/jobs", headers={"authorization": value}).status_code == 200, value
    with_url = guarded.url.replace("http://", f"http://any:{token}@")
    assert httpx.get(with_url + "/ana").json() == []
    refused = [
        token, f"Bearer{token}", f"Bearer {token}x", f"Bearer {token[:-1]}", f"Bearer {token.upper()}", "Bearer",
        basic(token, ""), basic(token, "x"), "Basic", "Basic !!!", "Basic Og==", f"Digest {token}", "",
        "Basic " + token,
    ]  # fmt: skip
    for value in refused:
        answer = httpx.get(guarded.url + "/v1/jobs", headers={"authorization": value})
        check_problem(answer, 401, "unauthorized", "Authorization")


@given(value=st.binary(max_size=200).filter(lambda b: not set(b) & {0, 10, 13}))
@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_rubbish_for_a_token_is_a_401(guarded: Guarded, value: bytes) -> None:
    for prefix in (b"", b"Bearer ", b"Basic "):
        head = b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: " + prefix + value
        status = guarded.raw(head.decode("latin-1"))[0]
        assert status in (400, 401)  # 400: no header that HTTP knows


@given(data=st.data())
@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_near_a_token_is_one(guarded: Guarded, admin: httpx.Client, data: st.DataObject) -> None:
    token = admin.headers["authorization"].removeprefix("Bearer ")
    at = data.draw(st.integers(0, len(token) - 1))
    put = data.draw(st.text("0123456789abcdef_", max_size=3))
    near = token[:at] + put + token[at + data.draw(st.integers(0, 3)) :]
    caller = guarded.run(guarded.service.tokens.find(near))
    assert (caller is not None) is (near == token)


def test_only_hashes_are_kept_and_compared_in_constant_time(
    guarded: Guarded, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = guarded.token("user", owner="ana", name="ci")
    assert len(token) == len("rota_") + 64
    hash_ = hashlib.sha256(token.encode()).hexdigest()
    with sqlite3.connect(guarded.socket_path.with_suffix("")) as con:
        dump = "\n".join(con.iterdump())
    con.close()
    assert token not in dump
    assert hash_ in dump
    for path in ("/v1/tokens", "/v1/audit"):
        text = admin.get(path).text
        assert token not in text
        assert hash_ not in text
    compared = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    class Hmac:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(tokens_module, "hmac", Hmac)
    assert guarded.run(guarded.service.tokens.find(token)) is not None
    assert compared == [(hash_, hash_)]
    # Nothing else in the module compares a hash as a whole.
    assert ".hash ==" not in inspect.getsource(tokens_module)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "root"}, "role"), ({}, "role"), ({"role": "user"}, "owner"), ({"role": "admin", "owner": "ana"}, "owner"),
        ({"role": "user", "owner": ""}, "owner"), ({"role": "user", "owner": "a\n"}, "owner"),
        ({"role": "user", "owner": "a", "queues": ["q"]}, "queues"), ({"role": "worker", "queues": [""]}, "queues[0] queue"),
        ({"role": "worker", "allow": ["scripts"]}, "allow"), ({"role": "user", "owner": "a", "allow": ["root"]}, "allow"),
        ({"role": "admin", "expires": "soon"}, "expires"), ({"role": "admin", "expires": 0}, "expires"),
        ({"role": "admin", "expires": "2026-01-01T00:00:00Z"}, "expires"),
        ({"role": "admin", "expires": "2126-13-01"}, "expires"),
        ({"role": "admin", "token": "mine"}, "token"), ({"role": "admin", "name": "a\nb"}, "name"),
    ],
)  # fmt: skip
def test_a_token_that_makes_no_sense_is_a_422(admin: httpx.Client, body: dict[str, Any], field: str) -> None:
    before = admin.get("/v1/tokens").json()
    check_problem(admin.post("/v1/tokens", json=body), 422, "invalid", field)
    assert admin.get("/v1/tokens").json() == before


def test_a_token_expires_and_its_streams_with_it(guarded: Guarded) -> None:
    client = guarded.as_(guarded.token("user", owner="ana", expires="1s"))
    with guarded.run_in_thread(lambda: client.get("/v1/events")) as asked:
        assert asked.result(30).status_code in (200, 401)  # 401: a slow machine
    assert client.get("/v1/jobs").status_code == 401


@pytest.mark.parametrize(
    ("expires", "end"),
    [("2126-01-01T12:00:00+02:00", "2126-01-01T10:00:00.000000Z"), ("2126-01-01 12:00", "2126-01-01T12:00:00.000000Z")],
)
def test_a_token_ends_at_a_time(admin: httpx.Client, expires: str, end: str) -> None:
    made = admin.post("/v1/tokens", json={"role": "admin", "expires": expires})
    assert made.status_code == 201 and made.json()["expires_at"] == end


def test_what_a_token_did_is_in_the_trail(guarded: Guarded, admin: httpx.Client) -> None:
    text = guarded.token("user", owner="ana", name="ci")
    client = guarded.as_(text)
    mine = client.post("/v1/jobs", json={"handler": "very-private", "data": "very-private", "delay": 60}).json()["id"]
    for _ in range(3):
        client.post("/v1/jobs", json={"handler": "very-private", "delay": 60})
    client.post(f"/v1/jobs/{mine}/abort")
    client.get("/v1/jobs")
    client.get("/metrics")
    id_ = admin.get("/v1/tokens").json()["items"][-1]["id"]
    lines = admin.get(f"/v1/audit?token={id_}").json()["items"]
    told = [(line["action"], line["target"], line["status"]) for line in lines]
    assert ("jobs.abort", mine, 200) in told
    assert ("server.metrics", "", 403) in told
    assert sum(line["n"] for line in lines if (line["action"], line["status"]) == ("jobs.submit", 201)) == 4
    assert {(line["role"], line["owner"], line["address"]) for line in lines} == {("user", "ana", "127.0.0.1")}
    assert "jobs.find" not in {action for action, *_ in told}
    whole = admin.get("/v1/audit?limit=1000").text
    assert "very-private" not in whole
    assert text not in whole
    newest = admin.get("/v1/audit?limit=1").json()
    assert admin.get(f"/v1/audit?limit=1&before={newest['next']}").json()["items"][0]["seq"] < newest["items"][0]["seq"]
    event = client.get(f"/v1/jobs/{mine}/events").json()["items"][0]
    assert (event["kind"], event["by"]) == ("submitted", f"token {id_} (ci)")


def test_the_trail_is_bounded(guarded: Guarded, admin: httpx.Client) -> None:
    for _ in range(4):
        guarded.token("worker")
    lines = admin.get("/v1/audit?limit=1000").json()["items"]
    guarded.run(guarded.service.store.write(lambda tx: tx.prune_audit(0, 2, 1)))
    after = admin.get("/v1/audit?limit=1000").json()["items"]
    assert lines[-1] not in after
    guarded.run(guarded.service.store.write(lambda tx: tx.prune_audit(0, 2, 1000)))
    assert len(admin.get("/v1/audit?limit=1000").json()["items"]) == 2
    guarded.run(guarded.service.store.write(lambda tx: tx.prune_audit(tx.now + 1, 1000, 1000)))
    assert admin.get("/v1/audit?limit=1000").json()["items"] == []


def claim(client: httpx.Client, worker: str) -> list[dict[str, Any]]:
    answer = client.post(f"/v1/workers/{worker}/claim", json={"free": 10})
    assert answer.status_code == 200, answer.text
    leases: list[dict[str, Any]] = answer.json()["leases"]
    return leases


def test_a_workers_token_serves_its_queues_and_its_workers_alone(guarded: Guarded, admin: httpx.Client) -> None:
    media = guarded.as_(guarded.token("worker", queues=["media", "mail"]))
    other = guarded.as_(guarded.token("worker"))
    hello = {"name": "w", "handlers": [{"name": "h"}], "slots": 10}
    jobs = {q: admin.post("/v1/jobs", json={"handler": "h", "queue": q}).json()["id"] for q in ("media", "mail", "pay")}
    for queues in (["pay"], ["media", "pay"]):
        check_problem(media.post("/v1/workers", json={**hello, "queues": queues}), 403, "forbidden")
    # It cannot say that another token has registered it, nor that it dies with the server.
    made = media.post("/v1/workers", json={**hello, "token": "x", "owned": True}).json()["worker"]
    shown = admin.get(f"/v1/workers/{made}").json()
    assert (sorted(shown["queues"]), shown["owned"]) == (["mail", "media"], False)
    assert {lease["job"] for lease in claim(media, made)} == {jobs["media"], jobs["mail"]}
    wide = other.post("/v1/workers", json=hello).json()["worker"]
    report = {"reports": [{"job": jobs["media"], "attempt": 1, "outcome": "succeeded"}]}
    held = {"held": [{"job": jobs["media"], "attempt": 1}]}
    for client, worker in ((media, wide), (other, made), (media, "none")):
        for verb, body in (
            ("claim", {"free": 1}), ("heartbeat", held), ("watch", {}), ("report", report),
            ("logs", {"logs": [{"job": jobs["media"], "attempt": 1, "n": 0, "stream": "stdout", "text": "x"}]}),
        ):  # fmt: skip
            answer = client.post(f"/v1/workers/{worker}/{verb}", json=body)
            check_problem(answer, 404, "not-found")
        assert client.delete(f"/v1/workers/{worker}").status_code == 404
    # Of a job that it does not hold it learns nothing, not even whether it is there.
    said = other.post(f"/v1/workers/{wide}/report", json=report).json()["settled"]
    assert said == [{"job": jobs["media"], "attempt": 1, "accepted": False}]
    assert admin.get(f"/v1/jobs/{jobs['media']}/logs").json()["items"] == []
    assert media.post(f"/v1/workers/{made}/report", json=report).json()["settled"][0]["accepted"]
    assert [lease["job"] for lease in claim(other, wide)] == [jobs["pay"]]
    assert media.delete(f"/v1/workers/{made}").status_code == 204


def test_a_pull_workers_token_has_workers_of_its_own(guarded: Guarded, admin: httpx.Client) -> None:
    first, second = (guarded.as_(guarded.token("worker")) for _ in range(2))
    narrow = guarded.as_(guarded.token("worker", queues=["other"]))
    admin.post("/add_task", json={"func_name": "f"})
    assert narrow.get("/get_task/narrow").status_code == 204  # tasks are of the queue `default`
    task = first.get("/get_task/one").json()
    assert task["func"] == "f"
    for path in ("/register_worker/one", "/scheduler/register_worker/one"):
        assert second.post(path).status_code == 403
    assert second.get("/get_task/one").status_code == 403
    assert second.put("/heartbeat/one").status_code == 404
    assert second.delete("/unregister_worker/one").status_code == 404
    second.post("/register_worker/two")
    for said in ({}, {"worker_id": "one"}, {"worker_id": "two"}, {"attempt": 1}):
        answer = second.post("/task_status", json={"task_id": task["task_id"], "status": "COMPLETED", **said})
        assert (answer.status_code, answer.json()["detail"]) == (404, f"there is no task {task['task_id']!r}")
    assert first.post("/task_status", json={"task_id": task["task_id"], "status": "COMPLETED"}).status_code == 200
    assert first.delete("/unregister_worker/one").status_code == 200
    assert second.post("/register_worker/one").status_code == 200  # the name is free again
    assert first.put("/heartbeat/one").status_code == 404


def test_a_revoked_worker_gets_no_job_that_it_waits_for(guarded: Guarded, admin: httpx.Client) -> None:
    worker = guarded.as_(guarded.token("worker"))
    id_ = admin.get("/v1/tokens").json()["items"][-1]["id"]
    hello = {"name": "w", "handlers": [{"name": "late"}], "slots": 1}
    made = worker.post("/v1/workers", json=hello).json()["worker"]
    body = {"free": 1, "wait": 60}
    with guarded.run_in_thread(lambda: worker.post(f"/v1/workers/{made}/claim", json=body)) as asked:
        eventually(lambda: guarded.service.signals._claimants)
        admin.delete(f"/v1/tokens/{id_}")
        check_problem(asked.result(30), 401, "unauthorized")
    job = admin.post("/v1/jobs", json={"handler": "late"}).json()["id"]
    assert worker.post(f"/v1/workers/{made}/claim", json=body).status_code == 401
    assert admin.get(f"/v1/jobs/{job}").json()["state"] == "queued"


def test_a_token_that_asks_too_often_waits(tmp_path: Any) -> None:
    server = Guarded(tmp_path, rate=2)
    try:
        hasty, calm = (server.as_(server.token("user", owner=owner)) for owner in ("ana", "bob"))
        answers = [hasty.get("/v1/jobs") for _ in range(12)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        check_problem(refused[0], 429, "too-many-requests")
        assert int(refused[0].headers["retry-after"]) >= 1
        assert calm.get("/v1/jobs").status_code == 200
        worker = server.as_(server.token("worker"))
        made = worker.post("/v1/workers", json={"name": "w"}).json()["worker"]
        assert [worker.post(f"/v1/workers/{made}/heartbeat", json={"held": []}).status_code for _ in range(9)] == [
            200
        ] * 9
    finally:
        server.stop()


def test_on_loopback_nothing_changes_until_there_is_a_token(tmp_path: Any) -> None:
    server = Guarded(tmp_path, anonymous=LOCAL)
    try:
        old = {"authorization": basic("user", "of a proxy that once was there")}
        assert httpx.get(server.url + "/v1/stats", headers=old).status_code == 200
        token = server.token("user", owner="ana")
        assert httpx.get(server.url + "/v1/stats", headers=old).status_code == 401  # what is said must be true now
        assert httpx.get(server.url + "/v1/stats").status_code == 200
        mine = server.as_(token)
        assert mine.get("/v1/stats").status_code == 403
        assert mine.post("/v1/jobs", json={"handler": "h"}).json()["owner"] == "ana"
    finally:
        server.stop()


def test_the_socket_beside_the_store_needs_no_token(guarded: Guarded) -> None:
    with guarded.beside() as client:
        assert client.get("/v1/stats").status_code == 200
        assert client.get("/v1/stats", headers={"authorization": "Bearer nonsense"}).status_code == 200


def test_a_token_that_another_server_made_is_known_at_once(tmp_path: Any) -> None:
    """And one that it revoked is no more, a second later at most; its streams end then."""
    server = Guarded(tmp_path)
    try:
        elsewhere = Tokens(server.service.store, secret=lambda: "e" * 64, zone=UTC)
        row, text = server.run(elsewhere.add(tokens_module.NewToken(role=tokens_module.Role.USER, owner="ana")))
        client = server.as_(text)
        assert client.get("/v1/jobs").status_code == 200
        with server.run_in_thread(lambda: client.get("/v1/events")) as asked:
            eventually(lambda: server.service.signals._by_key.get(("events", "")))
            server.run(elsewhere.revoke(row.id))
            assert asked.result(30).status_code == 200
        assert client.get("/v1/jobs").status_code == 401
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        ({"host": "evil.example"}, 421, "misdirected"), ({"origin": "http://evil.example"}, 403, "foreign-origin"),
        ({"sec-fetch-site": "cross-site"}, 403, "foreign-origin"), ({"content-type": "text/plain"}, 415, None),
    ],
)  # fmt: skip
def test_a_good_token_opens_no_door_for_a_page_from_elsewhere(
    admin: httpx.Client, header: dict[str, str], status: int, code: str | None
) -> None:
    """A browser that was given a token as a password sends it along, whoever's page asks."""
    answer = admin.post("/v1/jobs", content=b'{"handler":"h"}', headers={"content-type": "application/json"} | header)
    check_problem(answer, status, code or "unsupported-media-type")
