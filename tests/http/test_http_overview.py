"""What a page shows of the whole: sums over time, groups of errors, the timeline; and who may see of it what."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from .guarded import Guarded
from .live import Live, check_problem


@pytest.fixture(scope="module")
def busy(live: Live) -> Live:
    """A server on which some jobs failed, one is running, one array too."""
    worker = live.worker("boom", "slow", arrays=True)
    for n in range(3):
        live.submit(handler="boom", data={"n": n})
        (lease,) = live.claim(worker)
        live.report(worker, lease, "errored", error={"type": "KeyError", "message": f"no row {n} in 'table{n}'"})
    live.submit(handler="boom", retries=2, backoff={"base": 1000}, queue="other")
    (lease,) = live.claim(worker)
    live.report(worker, lease, "timed_out", error={"type": "TimedOut", "message": "over 3 s"})
    live.submit(handler="boom")
    (lease,) = live.claim(worker)
    live.report(worker, lease)
    live.submit(handler="slow")
    live.claim(worker)
    return live


def get(live: Live, path: str, **query: Any) -> Any:
    answer = live.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_failures_that_are_alike_are_one_group(busy: Live) -> None:
    found = get(busy, "/v1/errors")
    assert [(g["type"], g["message"], g["count"]) for g in found["items"]] == [
        ("KeyError", "no row <n> in <text>", 3),
        ("TimedOut", "over <n> s", 1),
    ]
    first = found["items"][0]
    assert first["example"] == "no row 2 in 'table2'"
    assert len(first["jobs"]) == 3
    assert first["first_at"] < first["last_at"]
    assert (found["cut"], found["looked_at"]) == (False, 4)
    assert [g["count"] for g in get(busy, "/v1/errors", queue="other")["items"]] == [1]
    assert get(busy, "/v1/errors", handler="slow")["items"] == []
    assert get(busy, "/v1/errors", to=first["first_at"])["items"] == []


def test_the_timeline_has_every_attempt_on_a_row_of_its_own(busy: Live) -> None:
    found = get(busy, "/v1/timeline")
    bars = found["items"]
    assert sorted(str(bar["outcome"]) for bar in bars) == [
        "None",
        "errored",
        "errored",
        "errored",
        "succeeded",
        "timed_out",
    ]
    assert [bar["end"] for bar in bars if bar["outcome"] is None] == [None]
    assert {bar["row"] for bar in bars} == {0}
    assert bars == sorted(bars, key=lambda bar: bar["start"])
    assert bars[0]["error"] == "KeyError: no row 0 in 'table0'"
    assert not found["cut"]
    some = get(busy, "/v1/timeline", limit=2)
    assert [some["cut"], len(some["items"])] == [True, 2]
    assert get(busy, "/v1/timeline", worker="nobody")["items"] == []
    assert len(get(busy, "/v1/timeline", worker=bars[0]["worker"], queue="other")["items"]) == 1
    assert get(busy, "/v1/timeline", to="2020-01-01T00:00:00Z")["items"] == []


def test_the_sums_of_the_last_hour_have_what_was_just_done(busy: Live) -> None:
    busy.run(busy.service.counting.flush())
    found = get(busy, "/v1/stats/series")
    assert found["step"] == 60
    assert len(found["at"]) == len(found["submitted"]) in (60, 61)
    assert (sum(found["submitted"]), sum(found["started"]), sum(found["failed"]), sum(found["succeeded"])) == (
        6,
        6,
        3,
        1,
    )
    assert sum(get(busy, "/v1/stats/series", queue="other", step="5m")["started"]) == 1


def test_the_overview_is_all_of_one_moment(busy: Live) -> None:
    found = get(busy, "/v1/overview")
    assert [job["handler"] for job in found["running"]] == ["slow"]
    stats = get(busy, "/v1/stats")
    assert found["stats"]["jobs"] == stats["jobs"]
    assert set(found["stats"]) == set(stats)
    assert [(one["name"], one["running"], one["slots"]) for one in found["workers"]] == [("w", 1, 4)]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/stats/series?from=yesterday", "from"), ("/v1/stats/series?step=7", "step"), ("/v1/stats/series?step=x", "step"),
        ("/v1/stats/series?step=0.5s", "step"), ("/v1/stats/series?from=2026-01-02&to=2026-01-01", "from"),
        ("/v1/stats/series?from=0001-01-01&step=1m", "step"), ("/v1/stats/series?begin=1", "begin"),
        ("/v1/errors?to=1", "to"), ("/v1/errors?from=9999-01-01", "from"), ("/v1/timeline?limit=0", "limit"),
        ("/v1/timeline?limit=5001", "limit"), ("/v1/timeline?from=x", "from"), ("/v1/timeline?nothing=1", "nothing"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(live: Live, path: str, field: str) -> None:
    check_problem(live.client.get(path), 422, "invalid", field)


def test_a_user_sees_only_its_own(tmp_path: Any) -> None:
    server = Guarded(tmp_path)
    try:
        with server.as_(server.token("admin")) as admin, server.as_(server.token("user", owner="ana")) as ana:
            hello = {"name": "w", "handlers": [{"name": "h"}], "slots": 4}
            worker = admin.post("/v1/workers", json=hello).json()["worker"]
            for owner in ("ana", "bob"):
                admin.post("/v1/jobs", json={"handler": "h", "owner": owner})
            free = {"process": 2, "asynchronous": 0, "total": 2}
            for lease in admin.post(f"/v1/workers/{worker}/claim", json={"free": free}).json()["leases"]:
                report = {
                    "job": lease["job"],
                    "attempt": 1,
                    "outcome": "errored",
                    "error": {"type": "E", "message": "m"},
                }
                admin.post(f"/v1/workers/{worker}/report", json={"reports": [report]})
            for path in ("/v1/errors", "/v1/timeline"):
                assert len(admin.get(path).json()["items"]) == (1 if "errors" in path else 2)
                assert len(ana.get(path).json()["items"]) == 1
                check_problem(ana.get(path, params={"owner": "bob"}), 403, "forbidden")
            assert ana.get("/v1/errors").json()["items"][0]["count"] == 1
            assert {bar["owner"] for bar in ana.get("/v1/timeline").json()["items"]} == {"ana"}
            assert ana.get("/v1/jobs/count").json() == {"count": 1, "exact": True, "states": {"failed": 1}}
            for owner in ("ana", "bob"):
                admin.post("/v1/jobs", json={"handler": "h", "owner": owner})
            admin.post(f"/v1/workers/{worker}/claim", json={"free": free})
            with ThreadPoolExecutor(4) as threads:  # what is shared is shared with those who may see the same
                asked = [threads.submit(client.get, "/v1/overview") for client in (admin, ana, ana, admin)]
                found = [each.result().json() for each in asked]
            assert [sorted(job["owner"] for job in one["running"]) for one in found] == [
                ["ana", "bob"], ["ana"], ["ana"], ["ana", "bob"],
            ]  # fmt: skip
            assert [(one["stats"] is None, one["workers"] is None) for one in found[:2]] == [
                (False, False),
                (True, True),
            ]
            other = admin.get("/v1/jobs", params={"owner": "bob"}).json()["items"][0]["id"]
            answer = ana.post("/v1/jobs/retry", json={"ids": [other]}).json()
            assert [answer["done"], answer["failed"][0]["error"]] == [0, "not-found"]
            check_problem(ana.post("/v1/jobs/abort", json={"filter": {"owner": "bob"}}), 403, "forbidden")
            assert ana.post("/v1/jobs/retry", json={"filter": {"state": ["failed"]}}).json()["done"] == 1
    finally:
        server.stop()
