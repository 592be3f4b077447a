"""Jobs that take several slots: who gets them, what they wait for, that none starves; and what handlers say of their jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from rota.core.errors import Invalid
from rota.core.jobs import Free, HandlerSpec, Job, Lease, Submission, WorkerHello
from rota.core.needs import needs_of, slots_of
from rota.core.states import Outcome
from rota.core.times import SECOND
from rota.worker.app import App
from rota.worker.holdings import Holdings
from tests.conformance.store.bench import KINDS, Bench
from tests.service.test_limits import Scene


@pytest.fixture(params=["postgres", "sqlite-inline"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    bench = Bench(KINDS[request.param](tmp_path))
    yield Scene(bench)
    bench.close()


def ids(leases: list[Lease]) -> list[str]:
    return [lease.job for lease in leases]


def test_a_job_is_given_out_when_as_many_slots_are_free_as_it_takes(scene: Scene) -> None:
    (big,) = scene.submit(slots=3)
    assert (big.slots, scene.run(scene.service.jobs.get(big.id)).slots) == (3, 3)
    assert slots_of(big.lane) == 3
    assert needs_of(big.lane) == frozenset()
    assert scene.claim(2) == []
    (lease,) = scene.claim(3)
    assert (lease.job, lease.slots) == (big.id, 3)
    (info,) = scene.run(scene.service.workers())
    assert (info.running, info.used, info.used_async) == (1, 3, 0)
    more = scene.submit(2, slots=2) + scene.submit(3)
    assert sorted(ids(scene.claim(5))) == sorted([more[0].id, more[1].id, more[2].id]), "two of two slots, one of one"
    scene.end(lease, outcome=Outcome.ERRORED)
    assert scene.run(scene.service.jobs.retry(big.id)).slots == 3


def test_limits_of_concurrency_count_it_as_one_job(scene: Scene) -> None:
    scene.limit(concurrency=2)
    scene.submit(3, slots=4)
    assert len(scene.claim(50)) == 2


def test_it_does_not_starve_behind_jobs_that_take_one_slot(scene: Scene) -> None:
    scene.worker = scene.register(slots=4)
    small = scene.submit(1)
    (big,) = scene.submit(slots=4)
    scene.bench.now += 1
    others = scene.submit(5)
    assert ids(scene.claim(4)) == [small[0].id], "what is free is kept for the one that comes first"
    assert scene.claim(3) == []
    scene.bench.now += 59 * SECOND
    scene.run(scene.service.work.heartbeat(scene.worker, []))
    assert scene.claim(3) == []
    scene.bench.now += 2 * SECOND
    assert ids(scene.claim(2)) == [others[0].id, others[1].id], "not for ever: what runs may take long"
    assert ids(scene.claim(4)) == [big.id], "as soon as they are free"


def test_a_worker_with_fewer_slots_never_gets_it_and_explain_says_so(scene: Scene) -> None:
    scene.worker = scene.register(slots=4)
    jobs = scene.submit(2)
    (big,) = scene.submit(slots=60, priority=5)
    assert len(scene.claim(4)) == 2, "it is in nobody's way"
    text = "takes 60 slots, and no live worker that offers handler 'h' has so many; the nearest, {}, has 50"
    nearest = next(info.row.id for info in scene.run(scene.service.workers()) if info.row.hello.slots == 50)
    assert scene.why(big) == [("too-few-slots", text.format(nearest))]
    assert scene.why(jobs[0])[0][0] == "running"
    able = scene.register(slots=60)
    assert ids(scene.claim(60, worker=able)) == [big.id]


def test_each_shard_takes_as_many(scene: Scene) -> None:
    (array,) = scene.submit(inputs=Raw(b"[1,2,3,4,5,6,7,8]"), slots=2)
    leases = scene.claim(5)
    assert (ids(leases), [lease.slots for lease in leases]) == ([array.id] * 2, [2, 2])


def test_a_claim_that_keeps_slots_free_lets_its_worker_ask_again(scene: Scene) -> None:
    async def main() -> None:
        service = scene.service
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=4)
        worker = (await service.work.register(hello)).worker
        waits = asyncio.create_task(service.work.claim(worker, Free(process=3, asynchronous=0, total=3), 50))
        await asyncio.sleep(0.05)
        job = await service.jobs.submit(Submission(handler="h", slots=4))
        assert await asyncio.wait_for(waits, 40) == []
        (lease,) = await service.work.claim(worker, Free(process=4, asynchronous=0, total=4), 50)
        assert lease.job == job.id

    scene.run(main())


def test_a_worker_counts_slots_not_jobs() -> None:
    held = Holdings(WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=4), 15)
    big = held.take(Lease(job="a", attempt=1, handler="h", slots=3), 0, 0)
    assert held.free().total == 1
    other = held.take(Lease(job="b", attempt=1, handler="h", slots=3), 0, 0)
    held.started(big)
    assert not held.has_slot(other)
    assert held.running() == 3
    held.finished(big)
    assert held.has_slot(other)
    assert held.free().process == 1
    held.forget(big.key)
    held.forget(other.key)
    assert held.free() == Free(process=4, asynchronous=0, total=4)


def test_what_a_handler_says_holds_for_its_jobs_that_say_nothing(scene: Scene) -> None:
    app = App()

    @app.handler(limit_key="{customer}", needs={"gpu": True}, slots=2)
    def train(customer: str, n: int = 0) -> None:
        """Do it."""

    spec = app.handlers["train"].spec
    assert (spec.limit_key, spec.needs, spec.slots) == ("{customer}", {"gpu": True}, 2)
    data = Raw(b'{"customer": "acme"}')

    def submit(**fields: Any) -> Job:
        return scene.run(scene.service.jobs.submit(Submission(handler="train", data=data, **fields)))  # type: ignore[no-any-return]

    before = submit()
    assert (before.limit_key, before.needs, before.slots) == (None, None, 1), "nobody knows the handler yet"
    scene.run(scene.service.work.register(WorkerHello(name="w", handlers=[spec], slots=4)))
    job = submit()
    assert (job.limit_key, job.needs, job.slots) == ("acme", {"gpu": True}, 2)
    own = submit(limit_key="x", needs={}, slots=1)
    assert (own.limit_key, own.needs, own.slots) == ("x", None, 1)
    array = submit(inputs=Raw(b"[1]"))
    assert (array.limit_key, array.slots) == (None, 2)
    with pytest.raises(Invalid) as wrong:
        scene.run(scene.service.jobs.submit(Submission(handler="train", data=Raw(b'{"n": 1}'))))
    assert wrong.value.field.startswith(("limit_key", "data"))
    with pytest.raises(ValueError, match="by itself"):
        app.handler(name="other", limit_key="{a")(len)
    bad = WorkerHello(name="w", handlers=[HandlerSpec(name="h", slots=0)])
    with pytest.raises(Invalid) as wrong:
        scene.run(scene.service.work.register(bad))
    assert wrong.value.field == "handlers[0].slots"


@pytest.mark.parametrize("slots", [0, -1, 1001])
def test_impossible_slots_are_refused(tmp_path: Path, slots: int) -> None:
    bench = Bench(KINDS["sqlite-inline"](tmp_path))
    with pytest.raises(Invalid) as wrong:
        Scene(bench).submit(slots=slots)
    assert wrong.value.field.endswith("slots")
    bench.close()
