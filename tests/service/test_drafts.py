"""A list of submissions is drafted as each of them would be alone, and shown so."""

from __future__ import annotations

from datetime import UTC
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from rota.core.errors import Invalid, TooLarge
from rota.core.ids import Ids
from rota.core.jobs import After, HandlerSpec, Submission
from rota.core.wire import job_view, job_views
from rota.service.admission import MAX_AFTER, MAX_DATA, draft, draft_all
from rota.service.graphs import Draft
from rota.service.handlers import Known, KnownHandler

NOW = 1_800_000_000_000_000
SPEC = HandlerSpec(name="keyed", limit_key="c-{customer}", needs={"gpu": True}, slots=2)
KNOWN: Known = {"keyed": KnownHandler(SPEC, NOW, 1, [])}
SHAPES: list[dict[str, Any]] = [
    {"handler": "a"},
    {"handler": "a", "args": Raw(b"[1]")},
    {"handler": "b", "owner": "ann", "queue": "mail", "priority": 5, "labels": {"x": "y"}, "retries": 2, "delay": "5m"},
    {"handler": "a", "after": ["other"]},
    {"handler": "a", "after": ["other", After("third", "any")]},
    {"handler": "a", "after": ["other", "third"], "join": "any"},
    {"handler": "a", "after": ["third", "fourth", "fifth"], "join": "any"},
    {"handler": "a", "after": ["other"], "data": Raw(b'{"$result":"other"}')},
    {"handler": "a", "unique_key": "k", "on_conflict": "existing"},
    {"handler": "keyed"},
    {"handler": "a", "limit_key": "acme"},
    {"handler": "a", "inputs": Raw(b"[1,2]")},
    {"script": "echo {{n}}", "variables": {"n": "1"}},
    {"command": "true", "inputs": Raw(b"[1]"), "data": Raw(b"null")},
    {"image": "busybox", "env": {"A": "b"}},
]
DATA = [Raw(b'{"customer":"acme","n":1}'), Raw(b'{"customer":"bolt"}')]


def of(shape: int, data: int, ref: str | None = None) -> Submission:
    return Submission(**{"data": DATA[data], **SHAPES[shape], "ref": ref})


def without_id(entry: Draft) -> Draft:
    job = replace(entry.job, id="")
    return replace(entry, job=job, wish=entry.wish and replace(entry.wish, job=job))


@given(
    st.lists(st.tuples(st.integers(0, len(SHAPES) - 1), st.integers(0, 1), st.integers(1, 3)), max_size=8), st.randoms()
)
def test_a_list_is_drafted_as_each_alone(picked: list[tuple[int, int, int]], chance: Random) -> None:
    ids = Ids(chance.getrandbits)
    submissions = [
        of(shape, (data + n) % 2, f"ref{at}" if often == 3 else None)
        for at, (shape, data, often) in enumerate(picked)
        for n in range(often)
    ]
    together = draft_all(submissions, ids, NOW, UTC, lists="jobs", known=KNOWN)
    alone = [draft(each, "", ids, NOW, UTC, known=KNOWN) for each in submissions]
    assert [without_id(entry) for entry in together] == [without_id(entry) for entry in alone]
    assert len({entry.job.id for entry in together}) == len(together)
    jobs = [entry.job for entry in together]
    assert job_views(jobs) == [job_view(job) for job in jobs]


def test_what_differs_in_its_data_alone_is_checked_by_its_data() -> None:
    fine = Submission(handler="a", data=DATA[0])
    large = Submission(handler="a", data=Raw(msgspec.json.encode("x" * MAX_DATA)))
    with pytest.raises(TooLarge, match=r"jobs\[2\]\.data"):
        draft_all([fine, fine, large], Ids(Random(1).getrandbits), NOW, UTC, lists="jobs")
    for wrong, told in (
        ({"ref": "\n"}, "ref"),
        ({"after": ["x", After("x", "any")]}, r"after\[1\]"),
        ({"after": ["x"] * (MAX_AFTER + 1)}, "after"),
    ):
        with pytest.raises((Invalid, TooLarge), match=rf"jobs\[1\]\.{told}"):
            draft_all(
                [fine, Submission(handler="a", data=DATA[1], **wrong)],
                Ids(Random(1).getrandbits),
                NOW,
                UTC,
                lists="jobs",
            )
    first = Submission(handler="a", data=DATA[0], after=["x", "y"], join="any")
    with pytest.raises(Invalid, match=r"jobs\[1\]\.join"):
        draft_all([first, replace(first, after=[])], Ids(Random(1).getrandbits), NOW, UTC, lists="jobs")
    refers = Submission(handler="a", data=Raw(b'{"$result":"nobody"}'))
    with pytest.raises(Invalid, match=r"jobs\[1\]\.data"):
        draft_all([fine, refers], Ids(Random(1).getrandbits), NOW, UTC, lists="jobs")
