"""Each reason that `explain` gives, as it prints it; and where the time of a job went."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace

from rota.core.access import LOCAL, Caller, Role
from rota.core.jobs import Failure, HandlerSpec, Lease, Submission
from rota.core.lifetimes import Spent, in_words
from rota.core.retry import Backoff
from rota.core.states import Outcome
from rota.core.times import SECOND, rfc3339
from rota.service.limits import LimitSetting, QueueSetting
from rota.service.owners import OwnerEdit
from rota.service.schedules import NewSchedule
from tests.conformance.store.bench import KINDS, Bench
from tests.service.explain_scene import Scene
from tests.shape.test_reasons import codes

BOB = Caller(role=Role.USER, owner="bob", allow=frozenset(), token="t2", known=True)
OVEN = Failure(type="Oven", message="is cold")
NOW = "2025-06-15T15:06:40.000000"


@pytest.fixture(params=["sqlite-inline"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    bench = Bench(KINDS[request.param](tmp_path))
    yield Scene(bench)
    bench.close()


@pytest.fixture(params=["postgres", "sqlite-inline"])
def any_scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    bench = Bench(KINDS[request.param](tmp_path))
    yield Scene(bench)
    bench.close()


def only(leases: list[Lease]) -> Lease:
    (lease,) = leases
    return lease


# -- it waits for other jobs, or for its time


def test_waits_for_job(scene: Scene) -> None:
    w = scene.worker()
    other = scene.submit()
    job = scene.submit(after=[other])
    assert scene.lines(job) == [
        f"waits-for-job: waits for job {other}, which is queued | see what that job waits for: rota explain {other}"
    ]
    scene.claim(w)
    assert scene.lines(job)[0].startswith(f"waits-for-job: waits for job {other}, which is running since {NOW}Z")
    hidden = scene.submit(after=[other], owner="bob")
    assert scene.lines(hidden, BOB) == [f"waits-for-job: waits for job {other}, which is another owner's"]


def test_what_waits_for_a_job_is_told_that_nobody_could_run_it_then(scene: Scene) -> None:
    job = scene.submit(after=[scene.submit()])
    assert [why.code for why in scene.explain(job).reasons] == ["waits-for-job", "no-worker"]


def test_waits_for_time(scene: Scene) -> None:
    scene.worker()
    job = scene.submit(delay=90)
    assert scene.lines(job) == [
        "waits-for-time: is to run at 2025-06-15T15:08:10.000000Z, in 1 min 30 s"
        f' | run it now: PATCH /v1/jobs/{job} with {{"delay": 0}}'
    ]


def test_backs_off(scene: Scene) -> None:
    w = scene.worker()
    job = scene.submit("again", backoff=Backoff(base=60.0))
    scene.end(w, only(scene.claim(w)), Outcome.ERRORED, error=OVEN, retry_in_s=40.0)
    assert scene.lines(job) == [
        "backs-off: backs off after a failed attempt, and is tried again at 2025-06-15T15:07:20.000000Z, in 40 s;"
        f' the last attempt: Oven: is cold | run it now: PATCH /v1/jobs/{job} with {{"delay": 0}}'
    ]
    assert scene.explain(job).reasons[0].facts == {
        "run_at": "2025-06-15T15:07:20.000000Z", "in_s": 40.0, "failures": 1, "max_failures": 10, "crashes": 0,
    }  # fmt: skip


def test_snoozed(scene: Scene) -> None:
    w = scene.worker()
    job = scene.submit()
    scene.end(w, only(scene.claim(w)), Outcome.SNOOZED, retry_in_s=300.0)
    assert scene.lines(job) == [
        "snoozed: has put itself off until 2025-06-15T15:11:40.000000Z, in 5 min"
        f' | run it now: PATCH /v1/jobs/{job} with {{"delay": 0}}'
    ]


def test_waits_for_slot(scene: Scene) -> None:
    scene.worker()
    new = NewSchedule(name="nightly", rule="0 16 * * *", jitter=600, job=Submission(handler="h"))
    scene.run(scene.service.schedules.add(new, LOCAL))
    scene.let(3201)
    ((job, run_at),) = scene.bench.kind.sql("SELECT id, run_at FROM rota_jobs WHERE state = 'scheduled'")
    told = scene.explain(job).reasons[0]
    assert (told.code, told.facts["schedule"]) == ("waits-for-slot", "nightly")
    in_s = in_words((run_at - scene.bench.now) / SECOND)
    assert told.text == (
        f"is to run at {rfc3339(run_at)}, in {in_s}: schedule 'nightly' spreads its jobs behind the slot"
    )


# -- nobody takes it


def test_no_worker(scene: Scene) -> None:
    job = scene.submit("agian")
    scene.worker()
    assert scene.lines(job) == [
        "no-worker: no live worker offers handler 'agian'; the nearest is 'again'"
        " | start a worker that has it: rota worker --app MODULE:NAME"
    ]
    scene.worker("old", handlers=[HandlerSpec(name="agian")])
    scene.let(60)
    facts = scene.explain(job).reasons[0].facts
    assert facts == {"offered": [], "workers": 0, "nearest": None, "last_offered_at": f"{NOW}Z"}


def test_queue_not_served(scene: Scene) -> None:
    scene.worker(queues=["fast", "slow"])
    assert scene.lines(scene.submit(queue="else")) == [
        "queue-not-served: no live worker that offers handler 'h' takes jobs from queue 'else'"
        " | start a worker for it: rota worker --queue else"
    ]


def test_workers_draining(scene: Scene) -> None:
    w = scene.worker()
    scene.run(scene.service.work.drain(w))
    assert scene.lines(scene.submit()) == [
        "workers-draining: every worker that offers handler 'h' is draining | start another worker"
    ]


# -- somebody will


def test_workers_busy_and_jobs_ahead(scene: Scene) -> None:
    w = scene.worker(slots=2)
    for _ in range(3):
        scene.submit()
    job = scene.submit()
    scene.claim(w, 2)
    scene.bench.now += SECOND
    lines = scene.lines(job)
    assert lines[0] == (
        "workers-busy: all 2 slots of the 1 workers that can run it are in use"
        " | start another worker (rota worker), or give workers more --slots"
    )
    assert lines[1] == (
        "jobs-ahead: 1 job is ahead of it; the share of 'default': 100%, used 100% in the last hour"
        f' | raise its priority: PATCH /v1/jobs/{job} with {{"priority": 1}}'
    )
    told = scene.explain(job)
    assert (told.ahead, told.starts_in_s, told.starts_at) == (1, None, None), "nothing has ended yet"


def test_when_a_job_is_expected_to_start(any_scene: Scene) -> None:
    s = any_scene
    w = s.worker(slots=2)
    s.submit(owner="ana")
    (lease,) = s.claim(w)
    s.bench.now += 10 * SECOND
    s.end(w, lease)
    s.let(1, w)
    for _ in range(5):
        s.submit(owner="ana")
    s.claim(w, 2)
    job = s.submit(owner="ana", delay=0)
    told = s.explain(job)
    assert (told.ahead, told.starts_in_s, told.starts_at) == (3, 20.0, "2025-06-15T15:07:11.000000Z")
    assert told.reasons[1].text == (
        "3 jobs are ahead of it; the share of 'ana': 100%, used 100% in the last hour; expected to start in about 20 s"
    )
    s.submit(owner="bob")
    first = s.explain(s.submit("again", owner="bob"))
    assert first.reasons[1].text.startswith(
        "2 jobs are ahead of it; the share of 'bob': 50%, used 0% in the last hour;"
    )
    facts = first.reasons[1].facts
    assert {"ahead": 2, "share": 0.5, "used": 0.0, "active_owners": 2, "weight": 1.0}.items() <= facts.items()
    assert s.dry({"owner": "ana"}).jobs[0].ahead == 6


def expected(scene: Scene, *jobs: str) -> list[float | None]:
    return [scene.explain(job).starts_in_s for job in jobs]


def test_when_a_job_under_a_limit_is_expected_to_start(any_scene: Scene) -> None:
    s = any_scene
    w = s.worker(slots=50)
    s.submit()
    (lease,) = s.claim(w)
    s.bench.now += 10 * SECOND
    s.end(w, lease)
    for kind, name, limit in (
        ("handler", "h", LimitSetting(concurrency=2)),
        ("key", "acme", LimitSetting(concurrency=1)),
        ("queue", "mail", LimitSetting(rate="6/1m")),
        ("queue", "slow", LimitSetting(concurrency=1)),
    ):
        s.run(s.service.limits.set(kind, name, limit))
    first = [s.submit() for _ in range(5)]
    assert len(s.claim(w, 50)) == 2
    assert expected(s, *first[2:]) == [5.0, 10.0, 15.0], "two at once, ten seconds each"
    key = [s.submit("again", limit_key="acme") for _ in range(4)]
    assert len(s.claim(w, 50)) == 1
    assert expected(s, *key[1:]) == [10.0, 20.0, 30.0]
    assert s.explain(key[2]).reasons[0].code == "limit-key-full"
    mail = [s.submit("again", queue="mail") for _ in range(9)]
    assert len(s.claim(w, 50)) == 6
    assert expected(s, *mail[6:]) == [10.0, 20.0, 30.0], "one each ten seconds"
    slow = [s.submit("again", queue="slow", owner=owner) for owner in ("bob", "ana", "bob")]
    assert len(s.claim(w, 50)) == 1
    assert expected(s, *slow[1:]) == [10.0, 20.0], "owners take turns there too"
    s.run(s.service.owners.edit("eve", OwnerEdit(max_running=1), LOCAL))
    eve = [s.submit("again", owner="eve") for _ in range(3)]
    assert len(s.claim(w, 50)) == 1
    assert expected(s, *eve[1:]) == [10.0, 20.0]
    s.run(s.service.limits.pause("mail", LOCAL))
    assert expected(s, mail[8]) == [None], "nobody knows when a pause ends"


def test_queues_with_weights_take_turns_in_what_is_expected_too(scene: Scene) -> None:
    s = scene
    w = s.worker(slots=1)
    s.submit()
    (lease,) = s.claim(w)
    s.bench.now += 10 * SECOND
    s.end(w, lease)
    s.run(s.service.limits.set_queue("heavy", QueueSetting(weight=3.0)))
    for _ in range(30):
        s.submit(queue="heavy")
    s.submit()
    (lease,) = s.claim(w)
    light = [s.submit() for _ in range(4)]
    assert s.explain(light[-1]).ahead == 4 + 15, "three of the other queue for each of its own"


def test_about_to_start(scene: Scene) -> None:
    scene.worker()
    assert scene.lines(scene.submit()) == ["about-to-start: is next, and a worker is about to claim it"]


# -- it runs


def test_running_aborting_and_worker_silent(scene: Scene) -> None:
    w = scene.worker()
    job = scene.submit()
    scene.claim(w)
    running = f"running: runs on {w} since {NOW}Z (attempt 1) | stop it: rota abort {job}"
    assert scene.lines(job) == [running]
    scene.bench.now += 20 * SECOND
    silent = "worker-silent: its worker has been silent for 20 s, and its lease is over: the job is about to be taken from it"
    assert scene.lines(job) == [running, silent]
    scene.bench.now -= 20 * SECOND
    scene.run(scene.service.jobs.abort(job))
    asked = f"aborting: an abort was requested at {NOW}Z: "
    assert scene.lines(job) == [asked + "its process tree is being ended", running]
    scene.bench.now += 20 * SECOND
    assert scene.lines(job) == [
        asked + "its worker is silent; the abort is final when its lease has run out", running,
    ]  # fmt: skip


def test_an_array_and_what_keeps_its_inputs(scene: Scene) -> None:
    w = scene.worker(slots=2)
    job = scene.submit(inputs=Raw(b"[1,2]"), parallel=1)
    scene.claim(w, 1)
    running = f"running: runs since {NOW}Z: 0 of 2 inputs are over, 1 run now | stop it: rota abort {job}"
    assert scene.lines(job) == [running, "parallel-limit: no more than 1 of its inputs may run at once"]
    whole = scene.submit(inputs=Raw(b"[1]"))
    scene.claim(w, 1)
    assert scene.lines(whole)[1:] == ["no-input-ready: every other input is over, runs, or waits to be tried again"]


# -- it is over


def test_over(scene: Scene) -> None:
    w = scene.worker()
    good, bad = scene.submit(), scene.submit()
    for lease in scene.claim(w, 2):
        scene.end(w, lease, Outcome.SUCCEEDED if lease.job == good else Outcome.ERRORED, error=OVEN)
    assert scene.lines(good) == [f"over: is succeeded since {NOW}Z"]
    again = f"run it again, as a new job: rota retry {bad}"
    assert scene.lines(bad) == [f"over: is failed since {NOW}Z (error: Oven: is cold) | {again}"]


# -- where its time went


def test_time_of_a_job_that_waited_ran_and_failed(any_scene: Scene) -> None:
    s = any_scene
    w = s.worker()
    other = s.submit()
    lease = only(s.claim(w))
    job = s.submit("again", after=[other], delay=10, backoff=Backoff(base=60.0))
    s.bench.now += 3 * SECOND
    s.end(w, lease)
    s.let(7, w)
    s.bench.now += 4 * SECOND
    lease = only(s.claim(w))
    s.bench.now += 2 * SECOND
    s.end(w, lease, Outcome.ERRORED, error=OVEN, retry_in_s=5.0)
    s.let(5, w)
    lease = only(s.claim(w))
    s.bench.now += SECOND
    s.end(w, lease)
    s.let(100, w)
    told = s.explain(job).time
    assert [(span.part, span.begin_s, span.end_s, span.attempt) for span in told.spans] == [
        ("dependency", 0, 3, 0), ("scheduled", 3, 10, 0), ("queued", 10, 14, 0), ("ran", 14, 16, 1), ("backoff", 16, 21, 1),
        ("ran", 21, 22, 2),
    ]  # fmt: skip
    assert replace(told, spans=[]) == Spent(
        dependency_s=3.0, scheduled_s=7.0, queued_s=4.0, ran_s=3.0, backoff_s=5.0, total_s=22.0, attempts=2, retries=1,
        text="waited for other jobs 3 s, for its time 7 s, for a slot 4 s, ran 3 s, retried once (back-off 5 s)",
    )  # fmt: skip


def test_time_of_a_job_that_still_waits(scene: Scene) -> None:
    job = scene.submit()
    scene.bench.now += 90 * SECOND
    told = scene.explain(job).time
    assert (told.queued_s, told.total_s, told.attempts) == (90.0, 90.0, 0)
    assert told.text == "waited for a slot 1 min 30 s, ran 0 s"


def test_every_reason_is_tried_here_or_where_it_is_made() -> None:
    texts = "".join(path.read_text("utf-8") for path in Path(__file__).parents[1].rglob("test_*.py"))
    for code in codes():
        assert re.search(rf"[\"']{code}(:|[\"'])", texts), f"no test knows the reason {code}"
