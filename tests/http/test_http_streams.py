from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rota.http import operations
from tests.http.live import DEADLINE_S, Live, check_problem, eventually


class Frame(dict[str, str]):
    """The fields of one server-sent event."""

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self["data"])
        return body


def frames(answer: httpx.Response) -> Iterator[Frame]:
    frame = Frame()
    for line in answer.iter_lines():
        if line.startswith(":"):
            frame["comment"] = line
        elif line:
            name, _, value = line.partition(": ")
            frame[name] = value
        elif frame:
            yield frame
            frame = Frame()


def test_events_come_live_and_resume_where_they_stopped(live: Live) -> None:
    with live.client.stream("GET", "/v1/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        stream = frames(answer)
        assert next(stream) == {"retry": "1000"}
        eventually(lambda: live.service.signals._by_key.get(("events", "")))
        job = live.submit()
        first = next(stream)
        assert (first["event"], first.body["job"], first.body["kind"]) == ("submitted", job["id"], "submitted")
        assert first["id"] == str(first.body["seq"])
    live.client.post(f"/v1/jobs/{job['id']}/abort")
    later = live.submit()
    with live.client.stream("GET", "/v1/events?after=0", headers={"Last-Event-ID": first["id"]}) as answer:
        stream = frames(answer)
        next(stream)
        missed = [next(stream), next(stream)]
    assert [(f["event"], f.body["job"]) for f in missed] == [("canceled", job["id"]), ("submitted", later["id"])]
    assert int(missed[0]["id"]) > int(first["id"])


def test_events_of_one_owner_or_job(live: Live) -> None:
    mine = live.submit(owner="me")
    live.submit(owner="you")
    live.client.post(f"/v1/jobs/{mine['id']}/abort")
    for query in ("owner=me", f"job={mine['id']}"):
        with live.client.stream("GET", f"/v1/events?after=0&{query}") as answer:
            stream = frames(answer)
            next(stream)
            assert [next(stream)["event"], next(stream)["event"]] == ["submitted", "canceled"]


def test_a_quiet_stream_shows_that_it_lives(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rota.service.feed.TICK_S", 0.02)
    with live.client.stream("GET", "/v1/events?owner=nobody") as answer:
        stream = frames(answer)
        next(stream)
        assert "comment" in next(stream)


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ("after=x", {}, "after"), ("after=-1", {}, "after"), ("after=99999999999999999999", {}, "after"), ("x=1", {}, "x"),
        ("", {"Last-Event-ID": "x"}, "Last-Event-ID"), ("", {"Last-Event-ID": "9" * 30}, "Last-Event-ID"),
    ],
)  # fmt: skip
def test_a_bad_place_to_resume(live: Live, query: str, headers: dict[str, str], field: str) -> None:
    check_problem(live.client.get(f"/v1/events?{query}", headers=headers), 422, "invalid", field)


def test_following_a_log_ends_with_the_job(live: Live) -> None:
    job = live.submit(handler="logs")
    worker = live.worker("logs")
    (lease,) = live.claim(worker)
    say(live, worker, lease, 0, "one\n")
    with live.client.stream("GET", f"/v1/jobs/{job['id']}/logs?follow=1") as answer:
        stream = frames(answer)
        next(stream)
        first = next(stream)
        assert (first["id"], first["event"], first.body["text"]) == ("1.0", "log", "one\n")
        say(live, worker, lease, 1, "two\n")
        assert next(stream).body["text"] == "two\n"
        live.report(worker, lease)
        end = next(stream)
        assert (end["event"], end.body) == ("end", {"state": "succeeded"})
        assert list(stream) == []
    resumed = {"accept": "text/event-stream", "Last-Event-ID": "1.0"}
    answer = live.client.get(f"/v1/jobs/{job['id']}/logs", headers=resumed)
    assert [frame.get("id") for frame in frames(answer)] == [None, "1.1", None]
    text = live.client.get(f"/v1/jobs/{job['id']}/logs?follow=true", headers={"accept": "text/plain"})
    assert text.text == "one\ntwo\n"


def say(live: Live, worker: str, lease: dict[str, Any], n: int, text: str) -> None:
    chunk = {"job": lease["job"], "attempt": lease["attempt"], "n": n, "stream": "stdout", "text": text}
    assert live.client.post(f"/v1/workers/{worker}/logs", json={"logs": [chunk]}).status_code == 204


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=x", "after"),
        ("after=1", "after"),
        ("attempt=0", "attempt"),
        ("limit=0", "limit"),
        ("follow=maybe", "follow"),
    ],
)
def test_bad_log_queries(live: Live, query: str, field: str) -> None:
    job = live.submit()
    check_problem(live.client.get(f"/v1/jobs/{job['id']}/logs?{query}"), 422, "invalid", field)


def test_a_client_that_reads_nothing_is_let_go(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "STALL_S", 0.1)
    lines = b'{"handler":"noise","script":null}\n' * 10_000
    for _ in range(2):
        assert live.client.post(
            "/v1/jobs/bulk", content=lines, headers={"content-type": "application/x-ndjson"}
        ).is_success
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", live.port))
        deaf.sendall(b"GET /v1/events?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connections = live.server._servers[0][0].server_state.connections
        mine = deaf.getsockname()
        eventually(lambda: any(c.client == mine for c in list(connections)))
        eventually(lambda: not any(c.client == mine for c in list(connections)))


def test_streams_and_waits_end_when_the_server_stops(fresh: Live) -> None:
    job = fresh.submit(handler="slow", delay=3600)
    worker = fresh.worker("w")
    seen: dict[str, Any] = {}

    def ask(name: str, method: str, path: str, body: object = None) -> threading.Thread:
        def run() -> None:
            with httpx.Client(base_url=fresh.url, timeout=DEADLINE_S, verify=False) as client:
                seen[name] = client.request(method, path, json=body)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    free = {"process": 1, "asynchronous": 0, "total": 1}
    threads = [
        ask("claim", "POST", f"/v1/workers/{worker}/claim", {"free": free, "wait": 60}),
        ask("watch", "POST", f"/v1/workers/{worker}/watch", {"wait": 60}),
        ask("job", "GET", f"/v1/jobs/{job['id']}?wait=60"),
        ask("events", "GET", "/v1/events"),
        ask("logs", "GET", f"/v1/jobs/{job['id']}/logs?follow=1"),
    ]
    waiting = {("orders", worker), ("over", job["id"]), ("events", ""), ("logs", job["id"])}
    eventually(lambda: waiting <= set(fresh.service.signals._by_key) and fresh.service.signals._claimants)
    fresh.begin_stop()
    for thread in threads:
        thread.join(30)  # they wait for a minute
        assert not thread.is_alive()
    assert {name: answer.status_code for name, answer in seen.items()} == dict.fromkeys(
        ("claim", "watch", "job", "events", "logs"), 200
    )
    assert seen["claim"].json() == {"leases": []}
    assert seen["watch"].json() == {}
    assert seen["job"].json()["state"] == "scheduled"


def told(stream: Iterator[Frame]) -> Frame:
    """Return the next event; on a busy machine signs of life may come before it."""
    return next(frame for frame in stream if "event" in frame)


def test_what_happens_within_a_while_comes_together_of_each_job_the_last(live: Live) -> None:
    with live.client.stream("GET", "/v1/events?every=0.4&owner=coalesced") as answer:
        stream = frames(answer)
        next(stream)
        eventually(lambda: live.service.signals._by_key.get(("events", "")))
        first = live.submit(owner="coalesced", delay=1000)
        assert told(stream).body["job"] == first["id"]
        jobs = [live.submit(owner="coalesced", delay=1000)["id"] for _ in range(3)]
        for job in jobs:
            live.client.post(f"/v1/jobs/{job}/abort")
        last: dict[str, str] = {}
        while len(last) < 3 or set(last.values()) != {"canceled"}:
            event = told(stream)
            last[event.body["job"]] = event["event"]
        assert set(last) == set(jobs)


def test_a_flood_is_told_as_one_reset(live: Live) -> None:
    with live.client.stream("GET", "/v1/events?every=0.4&owner=flood") as answer:
        stream = frames(answer)
        next(stream)
        eventually(lambda: live.service.signals._by_key.get(("events", "")))
        jobs = [{"handler": "h", "owner": "flood", "delay": 1000}] * 1000
        assert live.client.post("/v1/jobs/bulk", json=jobs).status_code == 201
        first_told = told(stream)
        assert (first_told["event"], first_told.body) == ("reset", {"why": "burst"})
        event, later = first_told, set()
        while event["event"] == "reset":  # the rest of the flood may be another one, and take the next event along
            later.add(live.submit(owner="flood", delay=1000)["id"])
            event = told(stream)
        assert event.body["job"] in later


def test_who_resumes_after_an_event_that_is_no_more_is_told_so(live: Live) -> None:
    job = live.submit(owner="pruned")
    with live.client.stream("GET", "/v1/events?after=1000000000") as answer:
        stream = frames(answer)
        next(stream)
        first_told = told(stream)
        assert (first_told["event"], first_told.body) == ("reset", {"why": "pruned"})
    with live.client.stream("GET", f"/v1/events?after=0&job={job['id']}") as answer:
        stream = frames(answer)
        next(stream)
        assert told(stream)["event"] == "submitted"


def test_readers_with_the_same_place_share_what_is_sent(live: Live) -> None:
    with live.client.stream("GET", "/v1/events") as one, live.client.stream("GET", "/v1/events") as two:
        streams = [frames(one), frames(two)]
        for stream in streams:
            next(stream)
        eventually(lambda: live.service.signals._by_key.get(("events", "")))
        jobs = [live.submit()["id"] for _ in range(3)]
        for stream in streams:
            assert [told(stream).body["job"] for _ in range(3)] == jobs
    eventually(lambda: not live.service.signals._by_key.get(("events", "")))  # nobody follows: nothing is read
