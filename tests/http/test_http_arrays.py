"""Arrays over HTTP: submitted as JSON or as lines, and their results as lines, in order, from wherever one stopped."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.http.live import DEADLINE_S, Live, check_problem, eventually

NDJSON = {"content-type": "application/x-ndjson"}


def submit(live: Live, handler: str, inputs: Any, **fields: Any) -> dict[str, Any]:
    return live.submit(handler=handler, inputs=inputs, **fields)


def tell(live: Live, worker: str, lease: dict[str, Any], ends: list[dict[str, Any]]) -> None:
    results = [{"job": lease["job"], "attempt": lease["attempt"], "outcome": "succeeded", **end} for end in ends]
    answer = live.client.post(f"/v1/workers/{worker}/logs", json={"results": results})
    assert answer.status_code == 204, answer.text


def numbers(lease: dict[str, Any]) -> list[int]:
    return list(range(lease["first"], lease["first"] + len(lease["inputs"])))


def run_all(live: Live, handler: str, bad: set[int]) -> None:
    """Run every input there is; those in `bad` fail."""
    worker = live.worker(handler, arrays=True)
    while leases := live.claim(worker):
        told: list[dict[str, Any]] = []
        for index in numbers(leases[0]):
            failed: dict[str, Any] = {
                "outcome": "errored",
                "exit_code": 3,
                "stderr": "no\n",
                "error": {"type": "E", "message": "m"},
            }
            fine: dict[str, Any] = {
                "outcome": "succeeded",
                "result": {"n": index},
                "stdout": f"{index}\n",
                "duration_s": 0.25,
            }
            told.append({"index": index, **(failed if index in bad else fine)})
        tell(live, worker, leases[0], told)
        live.report(worker, leases[0])


def results(live: Live, job: str, **query: Any) -> list[dict[str, Any]]:
    answer = live.client.get(f"/v1/jobs/{job}/results", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_an_array_from_its_submission_to_its_results(live: Live) -> None:
    job = submit(live, "arr1", ["a", {"b": 1}, None, 4.5], parallel=2, halt="soon,fail=100%", data={"k": 1})
    assert job["array"] == {
        "inputs": 4, "done": 0, "failed": 0, "running": 0, "parallel": 2, "halt": "soon,fail=100%", "halted": None, "eta": None,
    }  # fmt: skip
    assert results(live, job["id"]) == []
    run_all(live, "arr1", {2})
    found = live.client.get(f"/v1/jobs/{job['id']}").json()
    assert (found["state"], found["array"]["done"], found["array"]["failed"]) == ("failed", 4, 1)
    lines = results(live, job["id"])
    assert [line["index"] for line in lines] == [0, 1, 2, 3]
    assert [line["input"] for line in lines] == ["a", {"b": 1}, None, 4.5]
    assert [list(line) for line in lines] == 4 * [
        [
            "index",
            "input",
            "state",
            "exit_code",
            "duration",
            "stdout",
            "stderr",
            "result",
            "error",
            "outcome",
            "attempt",
        ]
    ]
    assert (lines[1]["state"], lines[1]["result"], lines[1]["stdout"], lines[1]["duration"]) == (
        "succeeded", {"n": 1}, "1\n", 0.25,
    )  # fmt: skip
    assert (lines[2]["state"], lines[2]["exit_code"], lines[2]["stderr"], lines[2]["error"]["type"]) == (
        "failed",
        3,
        "no\n",
        "E",
    )
    tries = live.client.get(f"/v1/jobs/{job['id']}/attempts").json()["items"]
    assert sum(one["inputs"] for one in tries) == 4


def test_results_are_resumed_filtered_and_limited(live: Live) -> None:
    job = submit(live, "arr2", list(range(1200)))["id"]
    run_all(live, "arr2", {1, 700, 1199})
    assert [line["index"] for line in results(live, job)] == list(range(1200))
    assert [line["index"] for line in results(live, job, after=1000)] == list(range(1001, 1200))
    assert [line["index"] for line in results(live, job, after=10, limit=3)] == [11, 12, 13]
    assert [line["index"] for line in results(live, job, limit=1100)] == list(range(1100))
    assert [line["index"] for line in results(live, job, state="failed")] == [1, 700, 1199]
    assert [line["index"] for line in results(live, job, state="failed", after=1, limit=1)] == [700]
    assert results(live, job, after=1199) == results(live, job, after=5_000_000) == []
    again = live.client.post(f"/v1/jobs/{job}/retry")
    assert (again.status_code, again.json()["retry_of"], again.json()["array"]["done"]) == (201, job, 1197)
    run_all(live, "arr2", set())
    assert [line["index"] for line in results(live, again.json()["id"], follow=True)] == list(range(1200))


def test_follow_waits_for_each_line_in_its_order_and_a_lost_reader_goes_on_where_it_was(live: Live) -> None:
    job = submit(live, "arr3", list(range(6)), parallel=1)["id"]
    worker = live.worker("arr3", arrays=True)
    (lease,) = live.claim(worker)
    seen: list[int] = []

    def follow(after: int, most: int) -> None:
        with live.client.stream("GET", f"/v1/jobs/{job}/results", params={"after": after, "follow": True}) as answer:
            for line in answer.iter_lines():
                seen.append(json.loads(line)["index"])
                if len(seen) == most:
                    return

    reader = threading.Thread(target=follow, args=(-1, 1))
    reader.start()
    tell(live, worker, lease, [{"index": numbers(lease)[0]}])
    reader.join(DEADLINE_S)
    assert seen == [0]
    live.report(worker, lease, "interrupted")
    reader = threading.Thread(target=follow, args=(0, 99))
    reader.start()
    run_all(live, "arr3", set())
    reader.join(DEADLINE_S)
    assert seen == list(range(6))


def test_lines_are_inputs(live: Live) -> None:
    body = b'{"handler": "arr4", "parallel": 3}\n"a"\n\n{"b": [1, 2]}\r\n 3 \nnull'
    answer = live.client.post("/v1/jobs", content=body, headers=NDJSON)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["array"]["inputs"], answer.json()["array"]["parallel"]) == (4, 3)
    run_all(live, "arr4", set())
    assert [line["input"] for line in results(live, answer.json()["id"])] == ["a", {"b": [1, 2]}, 3, None]
    text = submit(live, "arr4", "one\ntwo\n")
    assert text["array"]["inputs"] == 2


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b'{"handler": "h"}\n1,2\n', 400, "malformed-json", None),
        (b'{"handler": "h"}\n1]\n[2\n', 400, "malformed-json", None),
        (b'{"handler": "h"}\n"a\n', 400, "malformed-json", None),
        (b'{"handler": "h"}\n', 422, "invalid", "inputs"),
        (b'{"handler": "h", "inputs": [1]}\n2\n', 422, "invalid", "inputs"),
        (b'{"handler": "h"}\n"\xff"\n', 422, "invalid", "inputs[0..0]"),
        (b"1\n2\n", 422, "invalid", "body"),
        (b"", 400, "malformed-json", None),
    ],
)
def test_lines_that_are_no_inputs_are_refused(
    live: Live, body: bytes, status: int, code: str, field: str | None
) -> None:
    before = live.client.get("/v1/jobs?limit=1").json()["items"]
    check_problem(live.client.post("/v1/jobs", content=body, headers=NDJSON), status, code, field)
    assert live.client.get("/v1/jobs?limit=1").json()["items"] == before


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": ""}, "inputs"),
        ({"inputs": {"a": 1}}, "inputs"),
        ({"inputs": 7}, "inputs"),
        ({"inputs": None}, "inputs"),
        ({"inputs": [1], "parallel": 0}, "parallel"),
        ({"inputs": [1], "parallel": 1.5}, "parallel"),
        ({"inputs": [1], "halt": "now"}, "halt"),
        ({"inputs": [1], "data": [1]}, "data"),
        ({"parallel": 1}, "parallel"),
        ({"halt": "now,fail=1"}, "halt"),
        ({"inputs": [1], "limits": {"memory": "1G"}}, "limits"),
        ({"inputs": [1], "env": {"A": "b"}}, "env"),
    ],
)
def test_bad_arrays_are_named_by_their_field(live: Live, fields: dict[str, Any], field: str) -> None:
    check_problem(live.client.post("/v1/jobs", json={"handler": "h", **fields}), 422, "invalid", field)


@pytest.mark.parametrize(
    ("query", "field"),
    [("after=x", "after"), ("after=-2", "after"), ("limit=0", "limit"), ("state=succeeded", "state"),
     ("follow=maybe", "follow"),
     ("state=failed&follow=1", "follow"), ("until=3", "until")],
)  # fmt: skip
def test_bad_queries_of_results(live: Live, query: str, field: str) -> None:
    job = submit(live, "never", [1])["id"]
    check_problem(live.client.get(f"/v1/jobs/{job}/results?{query}"), 422, "invalid", field)


def test_results_of_nobody_and_of_what_is_no_array(live: Live) -> None:
    job = live.submit(handler="never")["id"]
    for name in (job, "nobody"):
        for query in ("", "?follow=1", "?state=failed"):
            check_problem(live.client.get(f"/v1/jobs/{name}/results{query}"), 404, "not-found")


def test_inputs_are_counted_and_one_is_shown(live: Live) -> None:
    job = submit(live, "mapped", ["a", "b", "c", "d", "e"])["id"]
    run_all(live, "mapped", {1})
    found = live.client.get(f"/v1/jobs/{job}/inputs/map", params={"buckets": 2}).json()
    assert (found["inputs"], found["size"]) == (5, 3)
    assert {state: counts for state, counts in found["states"].items() if any(counts)} == {
        "succeeded": [2, 2],
        "failed": [1, 0],
    }
    one = live.client.get(f"/v1/jobs/{job}/inputs/1").json()
    assert (one["input"], one["state"], one["exit_code"], one["error"]["type"]) == ("b", "failed", 3, "E")
    assert [attempt["first"] <= 1 for attempt in one["attempts"]] == [True]
    again = live.client.post(f"/v1/jobs/{job}/retry").json()["id"]
    waits = live.client.get(f"/v1/jobs/{again}/inputs/1").json()
    assert (waits["state"], waits["outcome"], waits["result"], waits["attempts"]) == ("queued", None, None, [])
    assert live.client.get(f"/v1/jobs/{again}/inputs/0").json()["stands_of"] == job
    for path, status, code, field in (
        (f"{job}/inputs/5", 404, "not-found", None),
        (f"{job}/inputs/1e3", 422, "invalid", "index"),
        (f"{job}/inputs/map?buckets=0", 422, "invalid", "buckets"),
        (f"{job}/graph?limit=501", 422, "invalid", "limit"),
        ("no-such-job/inputs/map", 404, "not-found", None),
        (f"{live.submit()['id']}/inputs/map", 404, "not-found", None),
    ):
        check_problem(live.client.get(f"/v1/jobs/{path}"), status, code, field)


def test_an_aborted_array_ends_a_reader_that_follows(live: Live) -> None:
    job = submit(live, "arr5", list(range(40)))["id"]
    worker = live.worker("arr5", arrays=True)
    (lease,) = live.claim(worker)
    tell(live, worker, lease, [{"index": index} for index in numbers(lease)[1:3]])
    answer: list[list[dict[str, Any]]] = []
    reader = threading.Thread(target=lambda: answer.append(results(live, job, follow=True)))
    reader.start()
    eventually(lambda: ("logs", job) in live.service.signals._by_key)
    asked = live.client.post(f"/v1/jobs/{job}/abort")
    assert (asked.status_code, asked.json()["display_state"]) == (202, "aborting")
    assert reader.is_alive()
    live.report(worker, lease, "aborted")
    reader.join(DEADLINE_S)
    (lines,) = answer
    assert [line["index"] for line in lines] == numbers(lease)[1:3], "with the gap that will not be filled"
    assert live.client.get(f"/v1/jobs/{job}").json()["confirmed"] is True
