"""The reckoning finds what it looks for: one true story, and one lie at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.check import Story, judge
from tests.chaos.ledger import Ran
from tests.chaos.load import Record


def story() -> tuple[Story, list[Record]]:
    """A job that was lost once and then succeeded, one that waited for it, an array of one input, one that was aborted."""
    rows = [
        job("a", "succeeded", 2, [2, "second"]),
        job("b", "succeeded", 1, [1, "after"]),
        job("c", "succeeded", 1, None),
        job("d", "aborted", 1, None, confirmed=True),
    ]
    ran = [
        Ran("a", 1, "", "first", 10.0, 11.0, ended=False),
        Ran("a", 2, "", "second", 15.0, 16.0, ended=True),
        Ran("b", 1, "", "after", 17.0, 18.0, ended=True),
        Ran("c", 1, "0", "input", 10.0, 11.0, ended=True),
        Ran("d", 1, "", "stopped", 10.0, 11.0, ended=False),
    ]
    tries = {
        "a": [attempt("a", 1, "lost", 14.0), attempt("a", 2, "succeeded", 16.1)],
        "b": [attempt("b", 1, "succeeded", 18.1)],
        "c": [attempt("c", 1, "succeeded", 11.1)],
        "d": [attempt("d", 1, "aborted", 11.1)],
    }
    events = {
        "a": ["submitted", "started", "lost", "queued", "started", "succeeded"],
        "b": ["submitted", "released", "started", "succeeded"],
        "c": ["submitted", "started", "succeeded"],
        "d": ["submitted", "started", "abort_requested", "aborted"],
    }
    told = Story(
        jobs={row["id"]: row for row in rows},
        attempts=tries,
        events={name: [event(kind) for kind in kinds] for name, kinds in events.items()},
        results={"c": [{"n": 0, "body": json.dumps({"result": [1, "input"]})}]},
        arrays={"c": {"inputs": 1, "done": 1}},
        labels={n: [row["id"]] for n, row in enumerate(rows)},
        counts=[],
        shards=0,
        deadlocks=0,
        offset=0.0,
        ran={name: [entry for entry in ran if entry.job == name] for name in "abcd"},
    )
    kinds = {"a": "parent", "b": "dependent", "c": "array", "d": "aborted"}
    records = [
        Record(n, kinds[row["id"]], 9.0, 0 if row["id"] == "b" else None, row["id"], 9.5, row["id"] == "d", seen(row))
        for n, row in enumerate(rows)
    ]
    return told, records


def job(name: str, state: str, attempt: int, result: Any, confirmed: bool | None = None) -> dict[str, Any]:
    return {
        "id": name, "state": state, "attempt": attempt, "result": json.dumps(result) if result else None,
        "kind": "handler", "reason": None, "confirmed": confirmed,
    }  # fmt: skip


def seen(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"result": json.loads(row["result"]) if row["result"] else None}


def attempt(name: str, number: int, outcome: str, finished: float) -> dict[str, Any]:
    return {"job": name, "attempt": number, "worker": "w", "outcome": outcome, "finished_at": finished * 1e6}


def event(kind: str) -> dict[str, Any]:
    return {"kind": kind, "state": kind if kind in ("succeeded", "aborted") else "running"}


def test_a_true_story_has_no_violation() -> None:
    assert judge(*story(), []) == []


def gone(told: Story, _records: list[Record]) -> None:
    del told.jobs["a"], told.attempts["a"], told.events["a"], told.ran["a"]


def unfinished(told: Story, _records: list[Record]) -> None:
    told.jobs["a"]["state"] = "running"


def doubled(told: Story, _records: list[Record]) -> None:
    told.labels[0].append("x")


def changed(_told: Story, records: list[Record]) -> None:
    assert records[0].seen is not None
    records[0].seen["state"] = "failed"


def abort_forgotten(_told: Story, records: list[Record]) -> None:
    records[0].abort_acked = True


def no_reason(told: Story, _records: list[Record]) -> None:
    del told.attempts["a"][0]


def after_success(told: Story, _records: list[Record]) -> None:
    told.attempts["a"][0]["outcome"] = "succeeded"


def ran_twice(told: Story, _records: list[Record]) -> None:
    told.ran["b"].append(Ran("b", 1, "", "again", 17.5, 17.9, ended=True))


def side_by_side(told: Story, _records: list[Record]) -> None:
    told.attempts["a"][0]["finished_at"] = 30e6
    told.ran["a"][0] = Ran("a", 1, "", "first", 10.0, 15.5, ended=False)


def survivor(told: Story, _records: list[Record]) -> None:
    told.ran["d"][0] = Ran("d", 1, "", "stopped", 10.0, 13.0, ended=False)


def late_report(told: Story, records: list[Record]) -> None:
    told.jobs["a"] = job("a", "succeeded", 2, [1, "first"])
    records[0].seen = seen(told.jobs["a"])


def result_of_nothing(told: Story, _records: list[Record]) -> None:
    told.results["c"][0]["body"] = json.dumps({"result": [1, "other"]})


def leased(told: Story, _records: list[Record]) -> None:
    told.shards = 1


def early(told: Story, _records: list[Record]) -> None:
    told.ran["b"][0] = Ran("b", 1, "", "after", 15.5, 18.0, ended=True)


def two_ends(told: Story, _records: list[Record]) -> None:
    told.events["a"].append(event("succeeded"))


def miscounted(told: Story, _records: list[Record]) -> None:
    told.counts.append({"queue": "default", "lane": "work", "state": "queued", "n": 1, "really": 0})


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (gone, "is not there"), (unfinished, "is running, not over"), (doubled, "became 2 jobs"), (changed, "was shown as"),
        (abort_forgotten, "its abort was accepted"), (no_reason, "on record are [2]"), (after_success, "ran again after"),
        (ran_twice, "ran 2 times"), (side_by_side, "side by side"), (survivor, "ran on for"), (late_report, "never came to"),
        (result_of_nothing, "of nothing"), (leased, "1 shards"), (early, "started before"), (two_ends, "its events are"),
        (miscounted, "counter default/work/queued"),
    ],
)  # fmt: skip
def test_a_lie_is_found(lie: Callable[[Story, list[Record]], None], found: str) -> None:
    told, records = story()
    lie(told, records)
    assert any(found in what for what in judge(told, records, [])), judge(told, records, [])
