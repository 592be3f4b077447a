"""Limits of keys: on both stores, exact with many servers, and no claim goes over jobs of a key that is full."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from rota.core.errors import Invalid, NotFound
from rota.core.fairness import TurnName
from rota.core.jobs import Job, Lease, Submission
from rota.core.keys import KeyLimits, fill_key
from rota.core.limits import Limit
from rota.core.states import Outcome, State
from rota.core.times import SECOND
from rota.service import keys
from rota.service.jobs import Edit
from rota.service.limits import LimitSetting, RateSetting
from rota.service.service import Service
from rota.store.protocol import Query
from tests.conformance.store.bench import KINDS, Bench
from tests.service.several import race, several
from tests.service.test_hooks import Receiver, status
from tests.service.test_limits import Scene


@pytest.fixture(params=["postgres", "sqlite-inline"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    bench = Bench(KINDS[request.param](tmp_path))
    yield Scene(bench)
    bench.close()


def upkeep(scene: Scene) -> None:
    scene.run(scene.service.upkeep.round())


def ready(scene: Scene, room: int = 20) -> list[str]:
    """Return what a claim would look at, in no order."""
    lanes = scene.bench.read(lambda tx: tx.ready_lanes())
    asked = [(queue, lane, 99) for queue, lane in lanes]
    _, turns = scene.bench.read(lambda tx: tx.turns(asked, room))
    return [job for turn in turns for _, job in turn.heads]


def keys_of(scene: Scene, leases: list[Lease]) -> Counter[str | None]:
    return Counter(scene.run(scene.service.jobs.get(lease.job)).limit_key for lease in leases)


def test_no_more_of_a_key_run_at_once_than_its_limit_says(scene: Scene) -> None:
    scene.limit("key", "acme", concurrency=2)
    mine = scene.submit(6, limit_key="acme")
    others = scene.submit(2, limit_key="other") + scene.submit(2)
    leases = scene.claim()
    assert keys_of(scene, leases) == {"acme": 2, "other": 2, None: 2}
    assert {lease.job for lease in leases} == {mine[0].id, mine[1].id, *(job.id for job in others)}
    assert scene.claim() == []
    assert scene.why(mine[2])[0] == (
        "limit-key-full",
        f"limit key acme: 2 of 2 in use, by {mine[0].id}, {mine[1].id}",
    )
    (use,) = scene.run(scene.service.limits.list())
    assert (use.limit.pool, use.running) == (("key", "acme"), 2)
    assert ready(scene) == [], "they are held, out of the way of claims"
    scene.end(next(lease for lease in leases if lease.job == mine[0].id))
    upkeep(scene)
    assert ready(scene) == [mine[2].id], "one lease ended: one is ready"
    assert [lease.job for lease in scene.claim()] == [mine[2].id]
    scene.limit("key", "acme", concurrency=4)
    upkeep(scene)
    assert [lease.job for lease in scene.claim()] == [mine[3].id, mine[4].id]
    scene.limit("key", "acme", concurrency=None)
    upkeep(scene)
    assert [lease.job for lease in scene.claim()] == [mine[5].id]
    with pytest.raises(NotFound):
        scene.run(scene.service.limits.remove("key", "acme"))


def test_when_a_limit_is_raised_or_goes_all_are_ready_that_may_start(scene: Scene) -> None:
    scene.limit("key", "acme", concurrency=1)
    scene.submit(700, limit_key="acme")
    assert (len(scene.claim()), scene.claim(), ready(scene)) == (1, [], [])

    def n_ready() -> int:
        for _ in range(4):  # no time passes
            upkeep(scene)
        return scene.bench.read(lambda tx: tx.ready_of_key("acme", "default", "h", 999))  # type: ignore[no-any-return]

    scene.limit("key", "acme", concurrency=31)
    assert n_ready() == 30
    scene.run(scene.service.limits.remove("key", "acme"))
    assert n_ready() == 699, "some at a time, one after the other"


def test_one_claim_counts_what_it_starts_itself_of_several_lanes_and_owners(scene: Scene) -> None:
    scene.limit("key", "k", concurrency=3)
    for owner in ("ana", "bo"):
        for handler in ("h", "g"):
            scene.submit(3, limit_key="k", owner=owner, handler=handler)
    scene.submit(4, owner="ana")
    leases = scene.claim()
    assert keys_of(scene, leases) == {"k": 3, None: 4}
    assert scene.claim() == []
    assert {lease.owner for lease in leases if lease.owner == "bo"}, "a key is shared fairly, too"


def test_the_next_of_a_key_is_whose_turn_it_is_not_the_oldest(scene: Scene) -> None:
    scene.limit("key", "k", concurrency=1)
    scene.submit(5, limit_key="k", owner="ana")
    scene.submit(1, limit_key="k", owner="bo", queue="default")
    (lease,) = scene.claim()
    assert lease.owner == "ana"
    assert scene.claim() == []
    scene.end(lease)
    upkeep(scene)
    (lease,) = scene.claim()
    assert lease.owner == "bo"


def test_a_claim_does_not_go_over_a_key_that_is_full(scene: Scene) -> None:
    scene.limit("key", "k", concurrency=1)
    scene.submit(300, limit_key="k")
    (behind,) = scene.submit(1)
    found = [lease for _ in range(3) for lease in scene.claim(2)]
    assert behind.id in {lease.job for lease in found}
    assert keys_of(scene, found)["k"] <= 1
    upkeep(scene)
    assert ready(scene) == []
    missing = scene.bench.read(lambda tx: tx.missing_turns(TurnName("", 0, "", ""), 5))
    assert missing == ([], None), "what is held needs no row of turns, and is not gone over for one"
    counts = {row.state: row.n for row in scene.bench.read(lambda tx: tx.counts()) if row.n}
    assert counts[State.QUEUED] == 299, "it counts as queued"


def test_a_claim_holds_some_of_very_many_jobs_and_upkeep_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_MOST_HELD", 30)
    scene.limit("key", "k", concurrency=1)
    scene.submit(300, limit_key="k")
    (behind,) = scene.submit(1)
    (first,) = scene.claim(2)
    assert scene.claim(2) == [], "it does not hold all of them first"
    asked = [("default", "h", 99)]
    _, (turn,) = scene.bench.read(lambda tx: tx.turns(asked, 999))
    assert len(turn.heads) == 300 - 3 * 30, "one is running"
    rounds = 0
    while scene.run(scene.service.upkeep.round()) == 0:
        rounds += 1
    assert 300 / 30 - 3 <= rounds <= 300 / 30
    assert ready(scene) == [behind.id]
    assert [lease.job for lease in scene.claim(2)] == [behind.id]
    scene.end(first)
    upkeep(scene)
    assert len(scene.claim(2)) == 1


def test_keys_with_one_beginning_have_each_their_own_limit(scene: Scene) -> None:
    scene.limit("key", "c-*", concurrency=1)
    scene.limit("key", "c-big*", concurrency=2)
    scene.limit("key", "c-big-own", concurrency=3)
    for key in ("c-a", "c-b", "c-big-x", "c-big-own", "d"):
        scene.submit(4, limit_key=key)
    assert keys_of(scene, scene.claim()) == {"c-a": 1, "c-b": 1, "c-big-x": 2, "c-big-own": 3, "d": 4}
    assert scene.run(scene.service.limits.get("key", "c-a")).running == 1
    limits = KeyLimits([Limit(kind="key", name="*", concurrency=9)])
    assert limits.of("x") == Limit(kind="key", name="x", concurrency=9)


def test_a_key_with_a_rate_lets_a_burst_start_and_then_one_after_another(scene: Scene) -> None:
    scene.limit("key", "k", rate=RateSetting(n=6, per="1m", burst=2))
    jobs = scene.submit(5, limit_key="k")
    leases = scene.claim()
    assert [lease.job for lease in leases] == [jobs[0].id, jobs[1].id]
    assert scene.claim() == []
    text = "key 'k' starts at most 6/60s: the next one in about 10 s"
    assert scene.why(jobs[2])[0] == ("rate-limited", text)
    scene.end(*leases)
    upkeep(scene)
    assert scene.claim() == []
    for n in (2, 3):
        scene.bench.now += 10 * SECOND
        upkeep(scene)
        scene.worker = scene.register()
        assert [lease.job for lease in scene.claim()] == [jobs[n].id]


def test_held_jobs_can_be_canceled_moved_and_run_again(scene: Scene) -> None:
    scene.limit("key", "k", concurrency=1)
    jobs = scene.submit(5, limit_key="k")
    (lease,) = scene.claim()
    assert scene.claim() == []
    service = scene.service
    canceled = scene.run(service.jobs.abort(jobs[1].id))
    assert (canceled.state, canceled.limit_key) == (State.CANCELED, "k")
    later = scene.run(service.jobs.edit(jobs[2].id, Edit(delay=60)))
    assert later.state is State.SCHEDULED
    moved = scene.run(service.jobs.edit(jobs[3].id, Edit(queue="other", priority=3)))
    assert (moved.state, moved.queue) == (State.QUEUED, "other")
    found, _ = scene.run(service.jobs.find(Query(states=[State.QUEUED])))
    assert {job.id for job in found} == {jobs[3].id, jobs[4].id}
    again = scene.run(service.jobs.retry(jobs[1].id))
    assert again.limit_key == "k"
    assert scene.claim() == []
    scene.end(lease)
    upkeep(scene)
    assert [each.job for each in scene.claim()] == [jobs[3].id], "the higher priority"
    states = {row.state: row.n for row in scene.bench.read(lambda tx: tx.counts()) if row.n}
    assert states == {State.SUCCEEDED: 1, State.CANCELED: 1, State.SCHEDULED: 1, State.QUEUED: 2, State.RUNNING: 1}


def test_a_lane_that_nobody_serves_takes_no_place_from_another(scene: Scene) -> None:
    scene.limit("key", "k", concurrency=1)
    scene.submit(3, limit_key="k", handler="nobody", priority=5)
    scene.submit(3, limit_key="k")
    for _ in range(3):
        (lease,) = scene.claim()
        assert scene.claim() == []
        scene.end(lease)
        upkeep(scene)


def test_what_was_forgotten_is_found(scene: Scene) -> None:
    """A server dies between the end of a lease and the release: every other one looks at all keys, little by little."""
    scene.limit("key", "k", concurrency=1)
    jobs = scene.submit(3, limit_key="k")
    (lease,) = scene.claim()
    assert scene.claim() == []
    other = Service(scene.bench.store, sender=Receiver(lambda _: status(204)), rng=random.Random(2), lease_s=15)
    scene.end(lease)  # noted by a server that is not heard of again
    scene.run(other.upkeep.round())
    assert ready(scene) == [jobs[1].id]


def test_a_lost_worker_gives_its_places_of_a_key_back(scene: Scene) -> None:
    scene.limit("key", "k", concurrency=2)
    scene.submit(5, limit_key="k")
    lost = scene.register()
    assert len(scene.claim(worker=lost)) == 2
    assert scene.claim() == []
    scene.run(scene.service.work.release(lost, Outcome.LOST, "gone", at_once=True))
    upkeep(scene)
    assert len(scene.claim()) == 2


def test_places_in_a_key_are_filled_from_the_data(scene: Scene) -> None:
    (job,) = scene.submit(
        limit_key="{customer.id}-{n}{{x}}", data=Raw(b'{"customer": {"id": "acme"}, "n": 7, "b": true}')
    )
    assert job.limit_key == "acme-7{x}"
    assert scene.run(scene.service.jobs.get(job.id)).limit_key == "acme-7{x}"
    assert fill_key("{b}", Raw(b'{"b": true}')) == "true"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"limit_key": "k" * 201}, "1 to 200 characters"),
        ({"limit_key": ""}, "1 to 200 characters"),
        ({"limit_key": "a\nb"}, "no control characters"),
        ({"limit_key": "{customer}"}, "no field 'customer'"),
        ({"limit_key": "{a.b}", "data": Raw(b'{"a": 1}')}, "no field 'a.b'"),
        ({"limit_key": "{a}", "data": Raw(b'{"a": null}')}, "'a' of the data is no text"),
        ({"limit_key": "{a}", "data": Raw(b"[1]")}, "no field 'a'"),
        ({"limit_key": "{a", "data": Raw(b'{"a": 1}')}, "by itself"),
        ({"limit_key": "x{a}", "data": Raw(b'{"a": "' + b"y" * 200 + b'"}')}, "comes to 201 characters"),
        ({"limit_key": "{a}", "data": Raw(b'{"a": "\\n"}')}, "no control characters"),
        ({"limit_key": "k", "inputs": Raw(b"[1]")}, "parallel"),
    ],
)
def test_impossible_keys_are_refused_and_name_their_field(tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    bench = Bench(KINDS["sqlite-inline"](tmp_path))
    scene = Scene(bench)
    with pytest.raises(Invalid) as wrong:
        scene.run(scene.service.jobs.submit(Submission(handler="h", **fields)))
    assert wrong.value.field == "limit_key"
    assert told in wrong.value.message
    with pytest.raises(Invalid):
        scene.limit("key", "k" * 201, concurrency=1)
    bench.close()


def test_many_servers_never_start_one_too_many_of_a_key() -> None:
    """Claims race on PostgreSQL, workers are lost on the way; the jobs themselves say how many ran at once."""

    async def main() -> None:
        most: Counter[str | None] = Counter()

        def see(running: Sequence[Job]) -> None:
            for key, n in Counter(job.limit_key for job in running).items():
                most[key] = max(most[key], n)

        async with several() as services:
            await services[0].limits.set("key", "*", LimitSetting(concurrency=3))
            keys = ["a", "b", None]
            await race(
                services, [Submission(handler="h", retries=50, limit_key=keys[n % 3]) for n in range(90)], 9, see
            )
        assert most["a"] == most["b"] == 3

    asyncio.run(main())
