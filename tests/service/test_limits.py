"""Pauses, limits of what runs at once, rates: on both stores, and exact with many servers."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from rota.core.access import LOCAL
from rota.core.errors import Invalid, NotFound
from rota.core.jobs import Free, HandlerSpec, Job, Lease, Report, Submission, WorkerHello
from rota.core.limits import Rate, parse_rate, rate_of
from rota.core.states import Outcome
from rota.core.times import SECOND
from rota.service.limits import LimitSetting, QueueSetting, RateSetting
from rota.service.service import Service
from rota.worker.app import App
from tests.conformance.store.bench import KINDS, Bench
from tests.service.several import race, several
from tests.service.test_hooks import Receiver, status


class Scene:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.service = Service(bench.store, sender=Receiver(lambda _: status(204)), rng=random.Random(1), lease_s=15)
        self.worker = self.register()

    def run(self, coroutine: Any) -> Any:
        return self.bench.run(coroutine)

    def register(self, *handlers: str, **hello: Any) -> str:
        specs = [HandlerSpec(name=name) for name in handlers or ("h", "g")]
        hello = {"name": "w", "handlers": specs, "slots": 50, "arrays": True, "scripts": True, **hello}
        return self.run(self.service.work.register(WorkerHello(**hello))).worker  # type: ignore[no-any-return]

    def submit(self, n: int = 1, **fields: Any) -> list[Job]:
        fields = {"handler": "h", **fields}
        return self.run(self.service.jobs.submit_many([Submission(**fields)] * n))  # type: ignore[no-any-return]

    def claim(self, n: int = 50, worker: str | None = None) -> list[Lease]:
        free = Free(process=n, asynchronous=0, total=n)
        return self.run(self.service.work.claim(worker or self.worker, free))  # type: ignore[no-any-return]

    def end(self, *leases: Lease, outcome: Outcome = Outcome.SUCCEEDED) -> None:
        reports = [Report(job=lease.job, attempt=lease.attempt, outcome=outcome) for lease in leases]
        self.run(self.service.work.settle(self.worker, reports))

    def limit(self, kind: str = "queue", name: str = "default", **setting: Any) -> None:
        self.run(self.service.limits.set(kind, name, LimitSetting(**setting)))

    def why(self, job: Job) -> list[tuple[str, str]]:
        return [(why.code, why.text) for why in self.run(self.service.jobs.explain(job.id)).reasons]


@pytest.fixture(params=["postgres", "sqlite-inline"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    bench = Bench(KINDS[request.param](tmp_path))
    yield Scene(bench)
    bench.close()


def test_a_paused_queue_starts_nothing_and_goes_on_where_it_was(scene: Scene) -> None:
    (job,) = scene.submit(queue="mail")
    paused = scene.run(scene.service.limits.pause("mail", LOCAL))
    again = scene.run(scene.service.limits.pause("mail", LOCAL))
    assert paused.paused_at == again.paused_at == scene.bench.now
    scene.submit(queue="other")
    assert [lease.queue for lease in scene.claim()] == ["other"]
    assert scene.why(job)[0] == ("queue-paused", "queue 'mail' is paused since 2025-06-15T15:06:40.000000Z")
    assert scene.run(scene.service.limits.resume("mail", LOCAL)).paused_at is None
    assert [lease.job for lease in scene.claim()] == [job.id]


@pytest.mark.parametrize(("kind", "name"), [("queue", "default"), ("handler", "h")])
def test_no_more_run_at_once_than_the_limit_says(scene: Scene, kind: str, name: str) -> None:
    scene.limit(kind, name, concurrency=3)
    jobs = scene.submit(10)
    (other,) = scene.submit(handler="g", queue="q")
    leases = scene.claim()
    assert sorted(lease.job for lease in leases) == sorted([*(job.id for job in jobs[:3]), other.id])
    assert scene.claim() == []
    code = {"queue": "queue-full", "handler": "handler-full"}[kind]
    assert scene.why(jobs[3])[0] == (code, f"{kind} '{name}' is full: 3 of 3 in use")
    mine = [lease for lease in leases if lease.handler == "h"]
    scene.end(mine[0])
    scene.end(mine[1], outcome=Outcome.ERRORED)
    assert len(scene.claim()) == 2
    scene.limit(kind, name, concurrency=1)  # nothing that runs is stopped
    assert scene.claim() == []
    scene.limit(kind, name, concurrency=None)
    assert len(scene.claim()) == 5
    with pytest.raises(NotFound):
        scene.run(scene.service.limits.get(kind, name))


def test_what_runs_when_a_limit_is_set_counts(scene: Scene) -> None:
    scene.submit(4)
    assert len(scene.claim(2)) == 2
    scene.limit(concurrency=3)
    (use,) = scene.run(scene.service.limits.list())
    assert use.running == 2
    assert len(scene.claim()) == 1


def test_both_limits_hold_of_a_queue_and_of_a_handler(scene: Scene) -> None:
    scene.limit("queue", "q", concurrency=4)
    scene.limit("handler", "h", concurrency=3)
    scene.submit(5, queue="q")
    scene.submit(5, queue="other")
    scene.submit(5, queue="q", handler="g")
    leases = scene.claim()
    assert sum(lease.handler == "h" for lease in leases) == 3
    assert sum(lease.queue == "q" for lease in leases) == 4


def test_each_shard_of_an_array_counts(scene: Scene) -> None:
    scene.limit("handler", "h", concurrency=2)
    (array,) = scene.submit(inputs=Raw(b"[1,2,3,4,5,6,7,8,9]"))
    scene.submit(3)
    leases = scene.claim()
    assert len(leases) == 2
    assert leases[0].job == array.id or leases[1].job == array.id
    (use,) = scene.run(scene.service.limits.list())
    assert use.running == 2


def test_a_lost_worker_gives_its_places_back(scene: Scene) -> None:
    scene.limit(concurrency=2)
    scene.submit(5)
    lost = scene.register()
    assert len(scene.claim(worker=lost)) == 2
    assert scene.claim() == []
    scene.run(scene.service.work.release(lost, Outcome.LOST, "gone", at_once=True))
    assert len(scene.claim()) == 2


def test_a_rate_lets_a_burst_start_and_then_one_after_another(scene: Scene) -> None:
    scene.limit(rate="6/1m")
    scene.limit(rate=RateSetting(n=6, per="1m", burst=2))
    jobs = scene.submit(5)
    assert len(scene.claim()) == 2
    assert scene.claim() == []
    assert scene.why(jobs[2])[0] == (
        "rate-limited",
        "queue 'default' starts at most 6/60s: the next one in about 10 s",
    )
    scene.bench.now += 10 * SECOND - 1
    assert scene.claim() == []
    scene.bench.now += 1
    assert len(scene.claim()) == 1
    scene.bench.now += 600 * SECOND
    scene.worker = scene.register()
    assert len(scene.claim()) == 2  # a long pause gives no more than a burst


def test_who_waits_for_a_place_is_woken_when_one_is_free(scene: Scene) -> None:
    async def main() -> None:
        service = scene.service
        await service.limits.set("queue", "default", LimitSetting(concurrency=1))
        await service.jobs.submit_many([Submission(handler="h"), Submission(handler="g")])
        one, other = [
            (await service.work.register(WorkerHello(name="w", handlers=[HandlerSpec(name=name)], slots=1))).worker
            for name in ("h", "g")
        ]
        free = Free(process=1, asynchronous=0, total=1)
        (lease,) = await service.work.claim(one, free)
        await service.upkeep.round()
        waits = asyncio.create_task(service.work.claim(other, free, 50))
        await asyncio.sleep(0.1)
        assert not waits.done()
        await service.work.settle(one, [Report(job=lease.job, attempt=1, outcome=Outcome.SUCCEEDED)])
        assert [lease.handler for lease in await asyncio.wait_for(waits, 20)] == ["g"]

    scene.run(main())


def test_a_handlers_code_declares_limits_and_an_admin_stands_above_it(scene: Scene) -> None:
    app = App()

    @app.handler(limit=2, rate="6/1m")
    def h() -> None:
        """Do it."""

    spec = app.handlers["h"].spec
    hello = WorkerHello(name="w", handlers=[spec], slots=9)
    scene.run(scene.service.work.register(hello))
    (use,) = scene.run(scene.service.limits.list())
    assert (use.limit.concurrency, str(use.limit.rate), use.limit.declared) == (2, "6/60s", True)
    scene.submit(5)
    assert len(scene.claim()) == 2
    scene.register("h")  # a worker whose code says nothing of it
    assert scene.run(scene.service.limits.list()) == []
    scene.limit("handler", "h", concurrency=3)
    scene.run(scene.service.work.register(hello))
    (use,) = scene.run(scene.service.limits.list())
    assert (use.limit.concurrency, use.limit.rate) == (3, None)
    bad = WorkerHello(name="w", handlers=[HandlerSpec(name="h", rate="often")])
    with pytest.raises(Invalid) as wrong:
        scene.run(scene.service.work.register(bad))
    assert wrong.value.field == "handlers[0].rate"
    with pytest.raises(ValueError, match="no rate"):
        app.handler(name="other", rate="often")(len)


def test_needs_are_met_by_labels_of_the_same_value(scene: Scene) -> None:
    (gpu,) = scene.submit(needs={"gpu": True, "cores": 8})
    (script,) = scene.submit(handler=None, script="true", needs={"region": "eu"})
    (array,) = scene.submit(inputs=Raw(b"[1]"), needs={"gpu": "true"})
    (plain,) = scene.submit(priority=-1)
    assert (gpu.needs, scene.run(scene.service.jobs.get(gpu.id)).needs) == ({"gpu": True, "cores": 8},) * 2
    assert [lease.job for lease in scene.claim()] == [plain.id]
    text = f"no live worker that offers handler 'h' has cores=8, gpu=true; the nearest, {scene.worker}, lacks cores=8, gpu=true"
    assert scene.why(gpu) == [("needs-unmet", text)]
    near = scene.register(labels={"gpu": "true", "region": "us"})
    assert [lease.job for lease in scene.claim(worker=near)] == [array.id]
    assert scene.why(gpu)[0][1].endswith(f"the nearest, {near}, lacks cores=8")
    able = scene.register(labels={"gpu": True, "cores": 8.0, "region": "eu", "more": 1})
    leases = scene.claim(worker=able)
    assert {lease.job for lease in leases} == {gpu.id, script.id}
    scene.run(scene.service.work.settle(able, [Report(job=gpu.id, attempt=1, outcome=Outcome.SUCCEEDED)]))
    again = scene.run(scene.service.jobs.retry(gpu.id))
    assert again.needs == gpu.needs
    assert scene.claim() == []


def test_a_job_with_needs_wakes_who_meets_them(scene: Scene) -> None:
    async def main() -> None:
        service = scene.service
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=1, labels={"gpu": True})
        able = (await service.work.register(hello)).worker
        waits = asyncio.create_task(service.work.claim(able, Free(process=1, asynchronous=0, total=1), 50))
        await asyncio.sleep(0.05)
        job = await service.jobs.submit(Submission(handler="h", needs={"gpu": "true"}))
        assert [lease.job for lease in await asyncio.wait_for(waits, 20)] == [job.id]

    scene.run(main())


@pytest.mark.parametrize(
    "needs",
    [
        {str(n): 1 for n in range(17)},
        {"": 1},
        {"a=b": 1},
        {"a\tb": 1},
        {"a": "x" * 201},
        {"a": "b\nc"},
    ],
)
def test_impossible_needs_are_refused(tmp_path: Path, needs: dict[str, Any]) -> None:
    bench = Bench(KINDS["sqlite-inline"](tmp_path))
    scene = Scene(bench)
    for attempt in (lambda: scene.submit(needs=needs), lambda: scene.register(labels=needs)):
        with pytest.raises(Invalid, match=r"needs|labels"):
            attempt()
    bench.close()


@pytest.mark.parametrize(
    ("kind", "setting", "field"),
    [
        ("owner", {"concurrency": 1}, "kind"),
        ("queue", {"concurrency": 0}, "concurrency"),
        ("queue", {"concurrency": 10**7}, "concurrency"),
        ("queue", {"rate": "many"}, "rate"),
        ("queue", {"rate": "0/1m"}, "rate"),
        ("queue", {"rate": "1/soon"}, "rate"),
        ("queue", {"rate": "1/0s"}, "rate"),
        ("queue", {"rate": "1/900d"}, "rate"),
        ("queue", {"rate": RateSetting(n=-1, per=1)}, "rate"),
        ("queue", {"rate": RateSetting(n=1, per=1, burst=0)}, "rate"),
    ],
)
def test_impossible_values_name_their_field(tmp_path: Path, kind: str, setting: dict[str, Any], field: str) -> None:
    bench = Bench(KINDS["sqlite-inline"](tmp_path))
    with pytest.raises(Invalid) as wrong:
        Scene(bench).limit(kind, **setting)
    assert wrong.value.field == field
    bench.close()


@pytest.mark.parametrize("seed", range(20))
def test_a_bucket_never_lets_through_more_than_its_burst_and_its_rate(seed: int) -> None:
    rng = random.Random(seed)
    rate = rate_of(rng.randint(1, 50), rng.choice([0.1, 1, 7, 60]), rng.choice([None, 1, 5]))
    now, full_at, starts = 0, None, 0
    for _ in range(200):
        now += rng.randrange(2 * rate.interval)
        n = min(rng.randint(0, 9), rate.room(full_at, now))
        full_at = rate.spend(full_at, now, n)
        starts += n
        assert starts <= rate.burst + now // rate.interval
        if rate.room(full_at, now) == 0:
            at = rate.next_at(full_at, now)
            assert rate.room(full_at, at - 1) == 0 < rate.room(full_at, at)
    assert parse_rate("100/1m") == (100, 60.0)
    assert parse_rate("10/s") == (10, 1.0)
    assert str(Rate(100, 60 * SECOND, 5)) == "100/60s"


def test_many_servers_never_start_one_too_many() -> None:
    """Claims race on PostgreSQL, workers are lost on the way; the jobs themselves say how many ran at once."""

    async def main() -> None:
        most = 0

        def see(running: Sequence[Job]) -> None:
            nonlocal most
            most = max(most, len(running))

        async with several() as services:
            await services[0].limits.set("handler", "h", LimitSetting(concurrency=3))
            await race(services, [Submission(handler="h", retries=50)] * 60, 5, see)
        assert most == 3

    asyncio.run(main())


def test_queues_take_turns_by_their_weights(scene: Scene) -> None:
    info = scene.run(scene.service.limits.set_queue("a", QueueSetting(weight=3.0)))
    assert (info.weight, info.paused_at) == (3.0, None)
    scene.submit(40, queue="b", owner="ben")
    scene.submit(40, queue="a", owner="ana")
    counts: Counter[str] = Counter()
    for room in (20, 1, 1, 1, 1, 4, 4, 8):
        counts.update(lease.queue for lease in scene.claim(room))
    assert counts.total() == 40 and abs(counts["a"] - 30) <= 2
    scene.run(scene.service.limits.pause("a", LOCAL))
    assert scene.run(scene.service.limits.resume("a", LOCAL)).weight == 3.0
    scene.run(scene.service.limits.set_queue("a", QueueSetting(weight=None)))
    assert [lease.queue for lease in scene.claim(3)] == ["b"] * 3  # by age
    with pytest.raises(Invalid, match=r"weight: is 0\.001 to 1000"):
        scene.run(scene.service.limits.set_queue("a", QueueSetting(weight=0.0, concurrency=1)))
    with pytest.raises(Invalid, match="concurrency: is 1 to"):
        scene.run(scene.service.limits.set_queue("a", QueueSetting(weight=2.0, concurrency=0)))
    assert scene.run(scene.service.limits.queue("a")).weight == 1.0, "what is refused sets nothing"
