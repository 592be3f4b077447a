"""Unique keys, on both stores: one job of an owner has a key, however many want it at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rota.core.errors import Invalid, KeyTaken
from rota.core.jobs import Free, HandlerSpec, Job, Report, Submission, WorkerHello
from rota.core.states import Outcome, Reason, State
from rota.core.times import SECOND
from rota.service.schedules import NewSchedule
from rota.service.service import Service
from rota.store.protocol import Query
from rota.store.rows import Unique
from tests.conformance.store.bench import KINDS, Bench
from tests.service.several import several
from tests.service.test_hooks import Receiver, status
from tests.service.test_schedules import ANA, LOCAL


class Scene:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.service = Service(bench.store, sender=Receiver(lambda _: status(204)), rng=random.Random(1))
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=9)
        self.worker = self.run(self.service.work.register(hello)).worker

    def run(self, coroutine: Any) -> Any:
        return self.bench.run(coroutine)

    def submit(self, key: str | None = "k", **fields: Any) -> Job:
        fields = {"handler": "h", "unique_key": key, **fields}
        return self.run(self.service.jobs.submit(Submission(**fields)))  # type: ignore[no-any-return]

    def many(self, *fields: dict[str, Any]) -> list[Job]:
        return self.run(self.service.jobs.submit_many([Submission(**{"handler": "h", **each}) for each in fields]))  # type: ignore[no-any-return]

    def claim(self) -> list[str]:
        self.leases = self.run(self.service.work.claim(self.worker, Free(process=9, asynchronous=0, total=9)))
        return [lease.job for lease in self.leases]

    def end(self) -> None:
        for lease in self.leases:
            report = Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED)
            self.run(self.service.work.settle(self.worker, [report]))

    def get(self, job: Job) -> Job:
        return self.run(self.service.jobs.get(job.id))  # type: ignore[no-any-return]

    def jobs(self) -> list[Job]:
        return self.run(self.service.jobs.find(Query(limit=1000)))[0]  # type: ignore[no-any-return]


@pytest.fixture(params=["postgres", "sqlite-inline"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    bench = Bench(KINDS[request.param](tmp_path))
    yield Scene(bench)
    bench.close()


def test_a_key_is_taken_while_its_job_is_not_over(scene: Scene) -> None:
    first = scene.submit()
    assert first.unique_key == scene.get(first).unique_key == "k"
    with pytest.raises(KeyTaken, match=f"job {first.id}, which is queued, has the key 'k'") as taken:
        scene.submit()
    assert (taken.value.job, taken.value.state) == (first.id, "queued")
    scene.submit("other")
    scene.submit(owner="ana")  # hers is another key
    assert first.id in scene.claim()
    with pytest.raises(KeyTaken, match="which is running"):
        scene.submit()
    scene.end()
    assert scene.submit().id != first.id
    assert len(scene.jobs()) == 4


def test_a_key_with_a_period_is_taken_for_so_long_whatever_becomes_of_its_job(scene: Scene) -> None:
    first = scene.submit(unique_for="1h")
    scene.claim()
    scene.end()
    scene.bench.now += 3599 * SECOND
    with pytest.raises(KeyTaken):
        scene.submit()
    scene.bench.now += SECOND
    second = scene.submit(unique_for=60, delay="2h")
    assert second.id != first.id
    scene.bench.now += 60 * SECOND  # it still waits, and yet the key is free
    assert scene.submit().id not in (first.id, second.id)


def test_an_existing_job_stands_for_the_new_one_and_is_waited_for(scene: Scene) -> None:
    first = scene.submit(on_conflict="existing")
    again = scene.submit(on_conflict="existing", priority=5)
    assert (again.id, again.priority, first.existed, again.existed) == (first.id, 0, False, True)
    one, two, last = scene.many(
        {"ref": "a", "unique_key": "k", "on_conflict": "existing"},
        {"ref": "b", "unique_key": "new"},
        {"after": ["a", "b"]},
    )
    assert (one.id, one.existed, two.existed) == (first.id, True, False)
    assert (last.after, last.state) == ([first.id, two.id], State.BLOCKED)
    scene.claim()
    scene.end()
    assert scene.get(last).state is State.QUEUED
    assert len(scene.jobs()) == 3


def test_in_one_bulk_a_key_is_taken_once(scene: Scene) -> None:
    with pytest.raises(KeyTaken, match=r"^\[1\]\.unique_key"):
        scene.many({"unique_key": "k"}, {"unique_key": "k"})
    assert scene.jobs() == []
    one, two, last = scene.many(
        {"unique_key": "k"}, {"unique_key": "k", "on_conflict": "existing", "ref": "r"}, {"after": ["r"]}
    )
    assert (two.id, two.existed, last.after) == (one.id, True, [one.id])
    assert len(scene.jobs()) == 2


def test_what_waits_is_replaced_and_what_runs_is_not(scene: Scene) -> None:
    old = scene.submit(delay="1h")
    dependent = scene.submit(None, after=[old.id])
    new = scene.submit(on_conflict="replace")
    gone = scene.get(old)
    assert (gone.state, gone.reason) == (State.CANCELED, Reason.REPLACED)
    assert gone.error is not None
    assert gone.error.message == f"job {new.id}, with the same unique key, has taken its place"
    assert scene.get(dependent).state is State.CANCELED
    assert scene.claim() == [new.id]
    with pytest.raises(KeyTaken, match="which is running"):
        scene.submit(on_conflict="replace")
    scene.end()
    assert scene.submit(on_conflict="replace").state is State.QUEUED


def test_a_submission_that_fails_takes_no_key(scene: Scene) -> None:
    with pytest.raises(Invalid, match="after"):
        scene.submit(after=["nobody"])
    scene.submit()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"unique_key": ""}, "unique_key"),
        ({"unique_key": "x" * 201}, "unique_key"),
        ({"unique_key": "a\nb"}, "unique_key"),
        ({"unique_key": None, "unique_for": 3}, "unique_for"),
        ({"unique_key": None, "on_conflict": "replace"}, "on_conflict"),
        ({"unique_for": "soon"}, "unique_for"),
        ({"unique_for": 0}, "unique_for"),
        ({"unique_for": "400d"}, "unique_for"),
    ],
)
def test_bad_input_names_its_field(tmp_path: Path, fields: dict[str, Any], field: str) -> None:
    bench = Bench(KINDS["sqlite-inline"](tmp_path))
    with pytest.raises(Invalid) as wrong:
        Scene(bench).submit(**{"unique_key": "k", **fields})
    assert wrong.value.field == field
    bench.close()


def test_a_schedule_obeys_the_unique_key_of_its_job(scene: Scene) -> None:
    job = Submission(handler="h", owner="ana", unique_key="nightly")
    schedules = scene.service.schedules
    scene.run(schedules.add(NewSchedule(rule="every 1m", job=job, name="refuses"), LOCAL))
    stands = Submission(handler="h", owner="ana", unique_key="nightly", on_conflict="existing")
    scene.run(schedules.add(NewSchedule(rule="every 1m", job=stands, name="stands"), LOCAL))
    first = scene.submit("nightly", owner="ana")
    scene.bench.now += 61 * SECOND
    scene.run(scene.service.upkeep.round())
    (refused,) = scene.run(schedules.firings("refuses", ANA, None, 9))
    assert (refused.fate.value, refused.job, refused.why) == ("refused", None, f"job {first.id} has its unique key")
    (stood,) = scene.run(schedules.firings("stands", ANA, None, 9))
    assert (stood.fate.value, stood.job) == ("submitted", first.id)
    with pytest.raises(KeyTaken):
        scene.run(schedules.run("refuses", ANA))
    assert len(scene.jobs()) == 1


def test_pruning_forgets_keys_that_say_nothing_any_more(scene: Scene) -> None:
    scene.submit("over")
    scene.claim()
    scene.end()
    scene.submit("for an hour", unique_for="1h")
    scene.bench.now += 8 * 86400 * SECOND
    scene.submit("waits")
    scene.run(scene.service.upkeep.prune())
    wanted = [Unique("default", key, "j", None) for key in ("over", "for an hour", "waits")]
    assert [u.key for u in scene.bench.write(lambda tx: tx.take_uniques(wanted))] == ["waits"]


def test_of_many_that_want_a_key_at_once_one_gets_it() -> None:
    async def main() -> None:
        async with several(2) as services:

            async def one(n: int) -> Job | None:
                conflict: Any = ("reject", "existing", "replace")[n % 3]
                bulk = [
                    Submission(handler="h", unique_key=f"k{key}", on_conflict=conflict)
                    for key in random.sample(range(4), 3)
                ]
                try:
                    return (await services[n % 2].jobs.submit_many(bulk))[0]
                except KeyTaken:
                    return None

            await asyncio.gather(*(one(n) for n in range(60)))
            live, _ = await services[0].jobs.find(Query(states=[State.QUEUED], limit=1000))
            assert sorted(job.unique_key or "" for job in live) == ["k0", "k1", "k2", "k3"]

    asyncio.run(main())
