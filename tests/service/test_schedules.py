"""Schedules, on both stores: what people do with them, and what becomes of their slots."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw, json

from rota.core.access import LOCAL, Caller, Role
from rota.core.errors import Conflict, Forbidden, Invalid, NotFound
from rota.core.jobs import Free, HandlerSpec, Held, Job, Report, Submission, WorkerHello
from rota.core.schedules import Fate, Missed, Overlap, Schedule
from rota.core.states import Outcome, State
from rota.core.times import SECOND, parse_time, rfc3339
from rota.service.schedules import NewSchedule, ScheduleEdit, Timing
from rota.service.service import Service
from rota.store.protocol import Query
from tests.conformance.store.bench import KINDS, Bench
from tests.service.test_hooks import Receiver, status

MINUTE = 60 * SECOND
BEGIN = parse_time("2026-03-01T12:00:30Z")
ANA = Caller(role=Role.USER, owner="ana", allow=frozenset(), token="t1", name="laptop", known=True)
BOB = Caller(role=Role.USER, owner="bob", allow=frozenset({"scripts"}), token="t2", known=True)


class Scene:
    """A service over a store of either kind; `at` goes on, and `look` is one round of upkeep."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.now = BEGIN
        self.elapsed = 0.0
        self.failed: list[tuple[str, Exception]] = []
        self.restart()

    def restart(self, seed: int = 1) -> None:
        self.service = self.another(seed)

    def another(self, seed: int) -> Service:
        return Service(
            self.bench.store, sender=Receiver(lambda _: status(204)), rng=random.Random(seed), monotonic=lambda: self.elapsed,
            failed=lambda step, error: self.failed.append((step, error)),
        )  # fmt: skip

    def run(self, coroutine: Any) -> Any:
        return self.bench.run(coroutine)

    def add(self, rule: str = "* * * * *", caller: Caller = LOCAL, **fields: Any) -> Schedule:
        job = fields.pop("job", Submission(handler="h"))
        return self.run(self.service.schedules.add(NewSchedule(rule=rule, job=job, **fields), caller))  # type: ignore[no-any-return]

    def get(self, which: str = "h") -> Schedule:
        return self.run(self.service.schedules.get(which, LOCAL))  # type: ignore[no-any-return]

    def edit(self, which: str = "h", caller: Caller = LOCAL, **fields: Any) -> Schedule:
        return self.run(self.service.schedules.edit(which, ScheduleEdit(**fields), caller))  # type: ignore[no-any-return]

    def do(self, what: str, which: str = "h", caller: Caller = LOCAL) -> Any:
        return self.run(getattr(self.service.schedules, what)(which, caller))

    def look(self, service: Service | None = None) -> None:
        while self.run((service or self.service).upkeep.round()) == 0.0:
            pass
        assert self.failed == []

    def let(self, seconds: float, *, step_s: float = 1.0) -> None:
        """Let time go on, with a look at every step."""
        while seconds > 0:
            step = min(step_s, seconds)
            self.sleep(step)
            seconds -= step
            self.look()

    def sleep(self, seconds: float) -> None:
        """Let time go on while no server is there."""
        self.bench.now += round(seconds * SECOND)
        self.elapsed += seconds

    def jobs(self) -> list[Job]:
        return self.run(self.service.jobs.find(Query(limit=1000)))[0][::-1]  # type: ignore[no-any-return]

    def fates(self, which: str = "h") -> list[tuple[str, str]]:
        found = self.run(self.service.schedules.firings(which, LOCAL, None, 1000))
        return [(rfc3339(f.slot)[11:19], f.fate.value) for f in reversed(found)]

    def worker(self) -> str:
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=9)
        return self.run(self.service.work.register(hello)).worker  # type: ignore[no-any-return]

    def claim(self, worker: str) -> list[str]:
        self.leases = self.run(self.service.work.claim(worker, Free(process=9, asynchronous=0, total=9)))
        return [lease.job for lease in self.leases]

    def beat(self, worker: str, *jobs: str) -> Any:
        return self.run(self.service.work.heartbeat(worker, [Held(job=job, attempt=1) for job in jobs]))

    def end(self, worker: str, job: str, outcome: Outcome = Outcome.SUCCEEDED) -> None:
        self.run(self.service.work.settle(worker, [Report(job=job, attempt=1, outcome=outcome)]))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    bench = Bench(KINDS["sqlite-inline"](tmp_path))
    yield Scene(bench)
    bench.close()


@pytest.fixture(params=["postgres", "sqlite-inline"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A scene on each store, for what rows are locked for."""
    bench = Bench(KINDS[request.param](tmp_path))
    yield Scene(bench)
    bench.close()


def test_a_slot_becomes_a_job_when_it_comes(scene: Scene) -> None:
    job = Submission(
        handler="h", data=Raw(b'{"a":1}'), owner="ana", queue="q", priority=3, labels={"k": "v"}, retries=2
    )
    made = scene.add("* * * * *", job=job, timezone="Europe/Berlin")
    assert (made.name, made.owner, made.revision, rfc3339(made.next_at or 0)[11:19]) == ("h", "ana", 1, "12:01:00")
    scene.let(29)
    assert scene.jobs() == []
    scene.let(1)
    (found,) = scene.jobs()
    assert (found.state, found.owner, found.queue, found.priority, found.max_failures) == (
        State.QUEUED,
        "ana",
        "q",
        3,
        3,
    )
    assert (found.labels, json.decode(found.data)) == ({"schedule": "h", "k": "v"}, {"a": 1})
    scene.let(120)
    assert scene.fates() == [(f"12:0{n}:00", "submitted") for n in (1, 2, 3)]
    assert [job.run_at for job in scene.jobs()] == [BEGIN + 30 * SECOND + n * MINUTE for n in range(3)]


def test_a_label_of_that_name_stays(scene: Scene) -> None:
    scene.add(job=Submission(handler="h", labels={"schedule": "mine"}))
    scene.let(30)
    assert scene.jobs()[0].labels == {"schedule": "mine"}


def test_jobs_that_are_alike_have_each_their_own_label_and_data(either: Scene) -> None:
    for name, data in (("a", b"[1]"), ("b", b"[2]"), ("c", b"[2]")):
        either.add(name=name, job=Submission(handler="h", data=Raw(data), labels={"x": "y"}))
    either.add(name="d", job=Submission(handler="h", queue="q", data=Raw(b"[2]")), jitter=30)
    either.let(30, step_s=30)
    found = {job.labels["schedule"]: job for job in either.jobs() if job.labels}
    assert {name: bytes(job.data) for name, job in found.items()} == {
        "a": b"[1]",
        "b": b"[2]",
        "c": b"[2]",
        "d": b"[2]",
    }
    assert {name: (job.labels or {}).get("x") for name, job in found.items()} == {
        "a": "y",
        "b": "y",
        "c": "y",
        "d": None,
    }
    assert len({job.id for job in found.values()}) == 4
    assert {name for name, job in found.items() if job.queue == "q"} == {"d"}
    assert {job.run_at for name, job in found.items() if name != "d"} == {BEGIN + 30 * SECOND}


def test_many_servers_fire_a_slot_once(either: Scene) -> None:
    scene = either
    for n in range(700):
        scene.add(name=f"s{n}")
    others = [scene.another(seed) for seed in (2, 3)]
    scene.sleep(30)

    async def all_at_once() -> None:
        import asyncio

        servers = [scene.service, *others]
        await asyncio.gather(*(server.upkeep.round() for server in servers for _ in range(3)))

    scene.run(all_at_once())
    assert scene.failed == []
    assert len(scene.jobs()) == 700
    assert len({job.labels["schedule"] for job in scene.jobs() if job.labels}) == 700


def test_one_that_is_over_fires_no_more(scene: Scene) -> None:
    scene.add("at 2026-03-01T12:02", name="once")
    scene.add("every 1m", name="bounded", starts_at="2026-03-01T12:01", ends_at="2026-03-01T12:03")
    scene.let(600, step_s=30)
    assert scene.fates("once") == [("12:02:00", "submitted")]
    assert scene.fates("bounded") == [(f"12:0{n}:00", "submitted") for n in (1, 2, 3)]
    assert scene.get("once").next_at is None


@pytest.mark.parametrize(
    ("missed", "outage_s", "expected"),
    [
        (Missed.SKIP, 300, [("12:01:00", "missed"), ("12:05:00", "submitted")]),  # half a minute late: that is in time
        (Missed.SKIP, 320 + 3600, [("12:01:00", "missed"), ("13:05:00", "submitted")]),
        (Missed.ONCE, 300, [("12:01:00", "missed"), ("12:05:00", "submitted")]),
        (Missed.ALL, 300, [("12:01:00", "missed"), *((f"12:0{n}:00", "submitted") for n in (3, 4, 5))]),
        (Missed.ALL, 100, [("12:01:00", "submitted"), ("12:02:00", "submitted")]),
    ],
)
def test_what_an_outage_missed(scene: Scene, missed: Missed, outage_s: int, expected: list[tuple[str, str]]) -> None:
    scene.add(missed=missed, missed_limit=3)
    scene.sleep(outage_s)
    scene.look()
    assert scene.fates() == expected


def test_a_slot_that_comes_seldom_is_skipped_when_it_is_late(scene: Scene) -> None:
    scene.add("0 13 * * *", name="skip", missed=Missed.SKIP)
    scene.add("0 13 * * *", name="once")
    scene.sleep(2 * 3600)
    scene.look()
    assert scene.fates("skip") == [("13:00:00", "missed")]
    assert scene.fates("once") == [("13:00:00", "submitted")]
    assert rfc3339(scene.get("skip").next_at or 0).startswith("2026-03-02T13:00")


def test_a_clock_that_is_set_back_fires_nothing_twice(either: Scene) -> None:
    scene = either
    scene.add()
    scene.add(name="q", overlap=Overlap.QUEUE)
    scene.let(150)
    before = scene.fates()
    scene.bench.now -= 10 * MINUTE
    scene.let(15 * 60, step_s=10)
    assert [slot for slot, _ in before] == ["12:01:00", "12:02:00", "12:03:00"]
    assert scene.fates() == [(f"11:{n}:00", "submitted") for n in range(54, 60)] + [
        (f"12:0{n}:00", "submitted") for n in range(9)
    ]
    assert len({slot for slot, _ in scene.fates("q")}) == len(scene.fates("q"))


def test_a_clock_that_was_ahead_for_a_while_is_forgotten(scene: Scene) -> None:
    scene.add("0 13 * * *")
    scene.bench.now += 40 * 86400 * SECOND
    scene.look()
    scene.bench.now -= 40 * 86400 * SECOND
    scene.look()
    assert rfc3339(scene.get().next_at or 0).startswith("2026-03-01T13:00")
    scene.let(3600, step_s=100)
    assert ("13:00:00", "submitted") in scene.fates()


def test_overlap_allow_and_skip(scene: Scene) -> None:
    scene.add(name="allow")
    scene.add(name="skip", overlap=Overlap.SKIP)
    scene.let(90)
    assert [fate for _, fate in scene.fates("allow")] == ["submitted", "submitted"]
    assert [fate for _, fate in scene.fates("skip")] == ["submitted", "skipped"]
    for job in scene.jobs():
        scene.run(scene.service.jobs.abort(job.id))
    scene.let(120)
    assert [fate for _, fate in scene.fates("skip")] == ["submitted", "skipped", "submitted", "skipped"]


def test_overlap_queue_holds_one_slot_until_the_job_is_over(either: Scene) -> None:
    scene = either
    scene.add(overlap=Overlap.QUEUE)
    scene.let(180)
    assert [fate for _, fate in scene.fates()] == ["submitted", "waiting", "skipped"]
    (first,) = scene.jobs()
    scene.run(scene.service.jobs.abort(first.id))
    scene.let(1)
    assert [fate for _, fate in scene.fates()] == ["submitted", "submitted", "skipped"]
    assert len(scene.jobs()) == 2
    assert scene.get().waiting is None
    scene.let(60)
    assert [fate for _, fate in scene.fates()] == ["submitted", "submitted", "skipped", "waiting"]
    scene.do("pause")
    assert [fate for _, fate in scene.fates()][-1] == "skipped"


def test_overlap_abort_stops_the_old_one_first(either: Scene) -> None:
    scene = either
    scene.add(overlap=Overlap.ABORT)
    scene.let(30)
    worker = scene.worker()
    (first,) = scene.claim(worker)
    for _ in range(12):
        scene.sleep(5)
        scene.beat(worker, first)
        scene.look()
    assert [fate for _, fate in scene.fates()] == ["submitted", "waiting"]
    orders = scene.beat(worker, first)
    assert [order.job for order in orders.abort] == [first]
    scene.end(worker, first, Outcome.ABORTED)
    scene.let(1)
    assert [fate for _, fate in scene.fates()] == ["submitted", "submitted"]
    states = [job.state for job in scene.jobs()]
    assert states == [State.ABORTED, State.QUEUED]
    scene.let(60)
    assert [job.state for job in scene.jobs()] == [State.ABORTED, State.CANCELED, State.QUEUED], "it had not started"
    assert [fate for _, fate in scene.fates()] == ["submitted"] * 3


def test_abort_prefers_the_newest_slot(scene: Scene) -> None:
    scene.add(overlap=Overlap.ABORT, missed=Missed.ALL)
    scene.let(30)
    worker = scene.worker()
    (first,) = scene.claim(worker)
    for _ in range(24):
        scene.sleep(5)
        scene.beat(worker, first)
        scene.look()
    assert [fate for _, fate in scene.fates()] == ["submitted", "skipped", "waiting"]
    scene.end(worker, first, Outcome.ABORTED)
    scene.look()
    assert [fate for _, fate in scene.fates()] == ["submitted", "skipped", "submitted"]


def test_a_pause_passes_over_its_slots(scene: Scene) -> None:
    scene.add()
    scene.let(60)
    paused = scene.do("pause")
    assert (paused.next_at, paused.paused_at is None) == (None, False)
    assert scene.do("pause").revision == paused.revision
    scene.let(300, step_s=30)
    assert scene.edit(missed=Missed.ALL).next_at is None
    scene.do("resume")
    scene.let(60)
    assert [slot for slot, _ in scene.fates()] == ["12:01:00", "12:07:00"]


def test_jitter_is_the_same_for_the_same_slot(scene: Scene) -> None:
    scene.add(jitter="20s")
    scene.let(30)
    (job,) = scene.jobs()
    assert job.state is State.SCHEDULED
    assert 0 < job.run_at - (BEGIN + 30 * SECOND) < 20 * SECOND
    scene.let(20)
    assert scene.jobs()[0].state is State.QUEUED


def test_run_now_is_beside_the_rule(either: Scene) -> None:
    scene = either
    scene.add(overlap=Overlap.SKIP)
    job = scene.run(scene.service.schedules.run("h", ANA_LIKE))
    assert (job.state, job.labels) == (State.QUEUED, {"schedule": "h"})
    scene.run(scene.service.schedules.run("h", LOCAL))
    scene.let(30)
    assert [fate for _, fate in scene.fates()] == ["submitted", "submitted", "skipped"]
    firings = scene.run(scene.service.schedules.firings("h", LOCAL, None, 9))
    assert [f.manual for f in firings] == [False, True, True]


ANA_LIKE = Caller(token="t3", name="x", known=True)


def test_changes_are_kept_with_who_made_them(either: Scene) -> None:
    scene = either
    scene.add(caller=ANA, name="n")
    scene.edit("n", ANA, rule="0 9 * * MON", timezone="Europe/Berlin")
    assert scene.edit("n", ANA, rule="0 9 * * MON").revision == 2, "nothing has changed"
    scene.do("pause", "n", ANA)
    scene.do("resume", "n")
    history = scene.run(scene.service.schedules.history("n", LOCAL, None, 9))
    assert [(c.revision, c.what, c.by) for c in history] == [
        (4, "resumed", None), (3, "paused", ANA.by), (2, "edited: rule, timezone", ANA.by), (1, "created", ANA.by),
    ]  # fmt: skip
    settings = json.decode(history[-1].settings)
    assert (settings["rule"], settings["timezone"], settings["owner"]) == ("* * * * *", "UTC", "ana")
    assert scene.run(scene.service.schedules.history("n", LOCAL, 3, 1))[0].revision == 2


def test_an_edit_takes_effect_at_once(scene: Scene) -> None:
    scene.add("0 0 * * *")
    scene.edit(rule="* * * * *", job=Submission(handler="i", data=Raw(b"7")))
    scene.let(30)
    assert [job.handler for job in scene.jobs()] == ["i"]
    scene.edit(name="other", ends_at="2026-03-01T12:02")
    scene.let(300, step_s=20)
    assert [slot for slot, _ in scene.fates("other")] == ["12:01:00", "12:02:00"]
    scene.edit("other", ends_at=None)
    scene.let(60)
    assert len(scene.fates("other")) == 3


def test_removed_is_gone_and_its_jobs_stay(either: Scene) -> None:
    scene = either
    scene.add()
    scene.let(30)
    scene.do("remove")
    scene.let(120)
    assert len(scene.jobs()) == 1
    with pytest.raises(NotFound):
        scene.get()
    scene.add()


def test_owners_see_theirs_alone(scene: Scene) -> None:
    mine = scene.add(caller=ANA, name="n")
    with pytest.raises(Conflict, match="already"):
        scene.add(caller=ANA, name="n")
    other = scene.add(caller=BOB, name="n")
    assert (mine.owner, other.owner) == ("ana", "bob")
    with pytest.raises(Conflict, match="by its id"):
        scene.get("n")
    assert scene.get(other.id).owner == "bob"
    assert scene.run(scene.service.schedules.get("n", BOB)).id == other.id
    for what in ("get", "pause", "resume", "run", "remove"):
        with pytest.raises(NotFound):
            scene.do(what, mine.id, BOB)
    assert [s.owner for s in scene.run(scene.service.schedules.find(BOB, None, "", 9))] == ["bob"]
    assert len(scene.run(scene.service.schedules.find(LOCAL, None, "", 9))) == 2
    for forbidden in (Submission(handler="h", owner="bob"), Submission(script="true"), Submission(image="i")):
        with pytest.raises(Forbidden):
            scene.add(caller=ANA, name="x", job=forbidden)
        with pytest.raises(Forbidden):
            scene.edit("n", ANA, job=forbidden)
    scene.add(caller=BOB, name="x", job=Submission(script="true"))
    with pytest.raises(Forbidden):
        scene.do("run", "x", Caller(role=Role.USER, owner="bob", allow=frozenset()))


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"rule": "0 0 30 2 *"}, "rule", "no 30 February"),
    ({"rule": "61 * * * *"}, "rule", "minute"),
    ({"rule": "sometimes"}, "rule", "is no rule"),
    ({"rule": "every 0.5s"}, "rule", "shortest"),
    ({"rule": "at 2020-01-01"}, "rule", "no slot to come"),
    ({"timezone": "Europe/Berlim"}, "timezone", "no time zone"),
    ({"rule": "0 0 1 1 *", "starts_at": "2026-03-02", "ends_at": "2026-04-01"}, "rule", "between start and end"),
    ({"starts_at": "2026-03-02", "ends_at": "2026-03-01"}, "ends_at", "before"),
    ({"starts_at": "2326-03-02"}, "starts_at", "100 years"),
    ({"starts_at": "soon"}, "starts_at", "is no time"),
    ({"jitter": "2d"}, "jitter", "a day"),
    ({"jitter": "-1"}, "jitter", "duration"),
    ({"missed_limit": 0}, "missed_limit", "between 1 and 1000"),
    ({"name": "a\nb"}, "name", "characters"),
    ({"job": Submission(script="true")}, "name", "required"),
    ({"job": Submission()}, "job.handler", "exactly one"),
    ({"job": Submission(handler="h", run_at="2026-04-01")}, "job.run_at", "schedule says"),
    ({"job": Submission(handler="h", delay=0)}, "job.delay", "schedule says"),
    ({"job": Submission(handler="h", after=["x"])}, "job.after", "wait"),
    ({"job": Submission(handler="h", ref="x")}, "job.ref", "bulk"),
    ({"job": Submission(handler="h", inputs=Raw(b"[1]"))}, "job.inputs", "array"),
    ({"job": Submission(handler="h", priority=1 << 40)}, "job.priority", "between"),
]


def test_bad_input_names_its_field(scene: Scene) -> None:
    for fields, field, text in BAD:
        with pytest.raises(Invalid, match=text) as caught:
            scene.add(**{"rule": "* * * * *", **fields})
        assert caught.value.field == field, fields
    assert scene.run(scene.service.schedules.find(LOCAL, None, "", 9)) == []


def test_a_preview_marks_what_the_clock_does(scene: Scene) -> None:
    timing = Timing(rule="30 2 * * *", timezone="Europe/Berlin", starts_at="2026-03-28")
    slots = scene.run(scene.service.schedules.preview_rule(timing, 3))
    assert [(slot.local, slot.clock) for slot in slots] == [
        ("2026-03-28T02:30:00+01:00", None), ("2026-03-29T03:00:00+02:00", "skipped"), ("2026-03-30T02:30:00+02:00", None),
    ]  # fmt: skip
    made = scene.add("0 9 * * *", ends_at="2026-03-03T09:00")
    scene.do("pause")
    assert [rfc3339(s.at)[:13] for s in scene.run(scene.service.schedules.preview(made.id, 9, LOCAL))] == [
        "2026-03-02T09", "2026-03-03T09",
    ]  # fmt: skip
    with pytest.raises(Invalid):
        scene.run(scene.service.schedules.preview_rule(Timing(rule="0 0 31 4 *"), 3))
    assert len(scene.run(scene.service.schedules.preview_rule(Timing(rule="every 90d"), 100))) == 100


def test_a_job_that_cannot_be_made_is_refused_and_the_rest_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.add(name="bad", job=Submission(handler="h", priority=900_000))
    scene.add(name="good")
    monkeypatch.setattr("rota.service.admission.MAX_PRIORITY", 10)
    scene.let(30)
    (firing,) = scene.run(scene.service.schedules.firings("bad", LOCAL, None, 9))
    assert (firing.fate, firing.job, firing.why) == (Fate.REFUSED, None, "job.priority: is between -10 and 10")
    assert len(scene.jobs()) == 1
    assert scene.get("bad").next_at == scene.get("good").next_at


def test_new_rules_of_a_zone_move_the_next_slot(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.add("0 15 * * *", timezone="Europe/Berlin")
    scene.look()
    old = scene.get()
    assert rfc3339(old.next_at or 0)[11:19] == "14:00:00"
    import zoneinfo

    from rota.core import calendars

    monkeypatch.setattr(calendars, "ZoneInfo", type("Changed", (), {
        "__new__": lambda _, name: zoneinfo.ZoneInfo("Europe/Athens"), "clear_cache": staticmethod(lambda: None),
    }))  # fmt: skip
    scene.let(10)
    assert scene.get() == old, "it is looked at once an hour"
    scene.elapsed += 3600
    scene.bench.now += SECOND
    scene.look()
    moved = scene.get()
    assert (rfc3339(moved.next_at or 0)[11:19], moved.zone_mark == old.zone_mark) == ("13:00:00", False)


def test_old_firings_are_pruned(either: Scene) -> None:
    scene = either
    scene.add("every 1h")
    scene.let(10 * 3600, step_s=1800)
    assert len(scene.fates()) == 10
    scene.do("pause")
    scene.sleep(8 * 86400)
    scene.look()
    assert scene.fates() == []
