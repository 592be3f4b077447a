"""A dry run says what would happen, refuses what would be refused, and leaves every row of every table as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from rota.core.access import LOCAL
from rota.core.errors import Invalid, KeyReused, KeyTaken, RotaError, TooLarge
from rota.core.jobs import Submission
from rota.core.times import SECOND
from rota.service.dry_runs import MOST_EXPLAINED
from tests.conformance.store.bench import KINDS, Bench
from tests.service.explain_scene import Scene


@pytest.fixture(params=["postgres", "sqlite-inline"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    bench = Bench(KINDS[request.param](tmp_path))
    yield Scene(bench)
    bench.close()


def codes(told: Any) -> list[str]:
    return [why.code for why in told.reasons]


def test_what_would_become_of_a_job(scene: Scene) -> None:
    (nobody,) = scene.dry({"handler": "h"}).jobs
    assert (nobody.state, nobody.runnable, codes(nobody)) == ("queued", False, ["no-worker"])
    w = scene.worker()
    (next_,) = scene.dry({"priority": 3, "owner": "ana", "queue": "q"}).jobs
    assert (next_.state, next_.runnable, codes(next_)) == ("queued", True, ["about-to-start"])
    assert (next_.owner, next_.queue, next_.priority, next_.existing) == ("ana", "q", 3, None)
    (later,) = scene.dry({"delay": 60}).jobs
    assert (later.state, later.run_at, codes(later)) == ("scheduled", "2025-06-15T15:07:40.000000Z", ["waits-for-time"])
    assert later.reasons[0].way_out is None, "there is no job that could be changed"
    scene.submit()
    scene.claim(w)
    scene.submit()
    (last,) = scene.dry({}).jobs
    assert codes(last) == ["workers-busy", "jobs-ahead"]
    assert last.reasons[1].facts["ahead"] == 1
    (array,) = scene.dry({"inputs": Raw(b"[1,2,3]")}).jobs
    assert (array.state, array.runnable) == ("queued", True)


def test_jobs_that_wait_for_each_other_are_called_by_their_names(scene: Scene) -> None:
    scene.worker()
    other = scene.submit()
    one, two, three = scene.dry({"ref": "load"}, {"after": ["load", other], "ref": "sum"}, {"after": ["sum"]}).jobs
    assert [each.state for each in (one, two, three)] == ["queued", "blocked", "blocked"]
    assert sorted(why.text for why in two.reasons) == [
        f"waits for job {other}, which is queued", "waits for job load, which is queued",
    ]  # fmt: skip
    assert {why.way_out for why in two.reasons} == {None, f"see what that job waits for: rota explain {other}"}
    assert three.reasons[0].facts["job"] == "sum"


def test_of_a_large_bulk_all_have_states_and_the_first_have_reasons(scene: Scene) -> None:
    told = scene.dry(*[{} for _ in range(MOST_EXPLAINED + 1)]).jobs
    assert len(told) == MOST_EXPLAINED + 1
    assert {each.state for each in told} == {"queued"}
    assert [each.summary is None for each in told] == [False] * MOST_EXPLAINED + [True]


def test_a_job_whose_parent_failed_would_be_canceled(scene: Scene) -> None:
    bad = scene.submit(delay=60)
    scene.run(scene.service.jobs.abort(bad))
    (told,) = scene.dry({"after": [bad]}).jobs
    assert (told.state, codes(told)) == ("canceled", ["over"])


def test_a_unique_key_that_is_taken(scene: Scene) -> None:
    first = scene.submit(unique_key="k", delay=60)
    with pytest.raises(KeyTaken, match=first):
        scene.dry({"unique_key": "k"})
    told = scene.dry({"unique_key": "k", "on_conflict": "existing"})
    assert (told.jobs[0].existing, told.jobs[0].state, told.cancels) == (first, "scheduled", [])
    told = scene.dry({"unique_key": "k", "on_conflict": "replace"})
    assert (told.jobs[0].existing, told.jobs[0].state, told.cancels) == (None, "queued", [first])
    assert scene.job(first).state == "scheduled"
    assert scene.dry({"unique_key": "new"}).jobs[0].existing is None
    assert scene.dry({"unique_key": "new"}).jobs[0].existing is None, "the first dry run has not taken it"


def test_an_idempotency_key_is_looked_at_and_not_kept(scene: Scene) -> None:
    assert scene.dry({}, key="a").jobs[0].existing is None
    made = scene.run(scene.service.jobs.submit(Submission(handler="h"), key="a")).id
    assert scene.dry({}, key="a").jobs[0].existing == made
    with pytest.raises(KeyReused):
        scene.dry({"priority": 1}, key="a")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"priority": 10_000_000}, Invalid), ({"delay": "nonsense"}, Invalid), ({"after": ["nobody"]}, Invalid),
        ({"inputs": Raw(b"[]")}, Invalid), ({"inputs": Raw(b"7")}, Invalid),
        ({"data": Raw(b'"' + b"x" * (1 << 20) + b'"')}, TooLarge),
        ({"script": "true"}, Invalid), ({"hook": "ftp://x"}, Invalid), ({"handler": "a:b"}, Invalid),
    ],
)  # fmt: skip
def test_what_would_be_refused_is(scene: Scene, fields: dict[str, Any], wrong: type[RotaError]) -> None:
    with pytest.raises(wrong) as dry:
        scene.dry(fields)
    with pytest.raises(wrong) as real:
        scene.run(scene.service.jobs.submit(Submission(**{"handler": "h", **fields})))
    assert str(dry.value) == str(real.value)


def test_a_cycle_is_refused_with_its_name(scene: Scene) -> None:
    with pytest.raises(Invalid, match="the jobs wait for each other"):
        scene.dry({"ref": "a", "after": ["b"]}, {"ref": "b", "after": ["a"]})


def test_nobody_is_woken(scene: Scene) -> None:
    w = scene.worker()
    scene.dry({})
    assert scene.claim(w) == []
    scene.bench.now += SECOND
    scene.submit()
    assert len(scene.claim(w)) == 1
    assert scene.dry({}, caller=LOCAL).jobs[0].reasons[0].code == "workers-busy"
