"""Quotas of owners: what is kept for them is exact, and beyond it every way of submitting is refused, on both stores."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

import rota
from rota.core.access import LOCAL
from rota.core.errors import Invalid, QuotaFull
from rota.core.jobs import Free, HandlerSpec, Job, Lease, Report, Submission, WorkerHello
from rota.core.owners import Owner, OwnerUse
from rota.core.runs import RunSubmission
from rota.core.states import Outcome, State
from rota.service.bulk import Asked
from rota.service.owners import OwnerEdit
from rota.service.schedules import NewSchedule
from rota.service.service import Service
from tests.conformance.store.bench import KINDS, SECOND, Bench
from tests.service.several import several
from tests.service.test_hooks import Receiver, status
from tests.service.test_schedules import ANA

OPEN = ("blocked", "scheduled", "queued", "running")


class Scene:
    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.service = Service(bench.store, sender=Receiver(lambda _: status(204)), rng=random.Random(1), lease_s=15)
        self.worker = self.run(
            self.service.work.register(
                WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=50, arrays=True, scripts=True)
            )
        ).worker

    def run(self, coroutine: Any) -> Any:
        return self.bench.run(coroutine)

    def set(self, owner: str = "ana", **quotas: Any) -> Owner:
        return self.run(self.service.owners.edit(owner, OwnerEdit(**quotas), LOCAL))  # type: ignore[no-any-return]

    def use(self, owner: str = "ana") -> OwnerUse | None:
        return self.run(self.service.owners.get(owner, LOCAL)).use  # type: ignore[no-any-return]

    def submit(self, n: int = 1, **fields: Any) -> list[Job]:
        fields = {"handler": "h", "owner": "ana", **fields}
        return self.run(self.service.jobs.submit_many([Submission(**fields)] * n))  # type: ignore[no-any-return]

    def claim(self, n: int = 50) -> list[Lease]:
        return self.run(self.service.work.claim(self.worker, Free(process=n, asynchronous=0, total=n)))  # type: ignore[no-any-return]

    def end(self, *leases: Lease, outcome: Outcome = Outcome.SUCCEEDED) -> None:
        reports = [Report(job=lease.job, attempt=lease.attempt, outcome=outcome) for lease in leases]
        self.run(self.service.work.settle(self.worker, reports))

    def check(self, owner: str = "ana") -> None:
        """What is kept is what there is."""
        ((waiting, size),) = self.bench.kind.sql(
            f"SELECT coalesce(sum(CASE state WHEN 'running' THEN 0 ELSE 1 END), 0), coalesce(sum(size), 0) FROM rota_jobs "
            f"WHERE owner = '{owner}' AND state IN {OPEN}"
        )
        found = self.run(self.service.owners.get(owner, LOCAL))
        assert found.use == OwnerUse(
            waiting=None if found.max_waiting is None else waiting, bytes=None if found.max_bytes is None else size
        )


@pytest.fixture(params=["postgres", "sqlite-inline"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    bench = Bench(KINDS[request.param](tmp_path))
    yield Scene(bench)
    bench.close()
    asyncio.run(bench.kind.end())


def test_jobs_beyond_max_waiting_are_refused_all_or_none(scene: Scene) -> None:
    scene.submit(2)
    assert scene.set(max_waiting=3).use == OwnerUse(waiting=2)
    with pytest.raises(QuotaFull, match="max_waiting of 'ana' is 3, and 3 of its jobs wait") as refused:
        scene.submit(2)
    assert (refused.value.limit, refused.value.allowed, refused.value.used) == ("max_waiting", 3, 3)
    scene.submit()
    with pytest.raises(QuotaFull):
        scene.submit(delay="1h")
    scene.submit(5, owner="ben")  # it has none
    scene.check()
    mine = [lease for lease in scene.claim() if lease.owner == "ana"]
    assert scene.use() == OwnerUse(waiting=0)
    scene.submit(3)
    scene.end(mine[0], outcome=Outcome.INTERRUPTED)  # it waits again, whatever the quota says
    assert scene.use() == OwnerUse(waiting=4)
    scene.check()


def test_bytes_are_those_of_jobs_that_are_not_over(scene: Scene) -> None:
    scene.set(max_bytes=1000)
    (job,) = scene.submit(data=Raw(b'"' + b"x" * 500 + b'"'))
    assert scene.use() == OwnerUse(bytes=504)  # and the list of no arguments
    with pytest.raises(QuotaFull, match=r"max_bytes of 'ana' is 1,000, and .* hold 504; one more would hold 504") as no:
        scene.submit(data=Raw(b'"' + b"x" * 500 + b'"'))
    assert (no.value.limit, no.value.allowed, no.value.used) == ("max_bytes", 1000, 504)
    (array,) = scene.submit(handler=None, script="echo {{a}}", variables={"a": "b"}, inputs=Raw(b"[1,2,33]"))
    assert scene.use() == OwnerUse(bytes=504 + len('null[]echo {{a}}{"a":"b"}[1,2,33]'))
    leases = scene.claim()
    scene.check()
    scene.end(*(lease for lease in leases if lease.job == job.id))
    scene.check()
    scene.run(scene.service.jobs.abort(array.id))
    scene.check()


def test_a_quota_below_what_is_in_use_is_refused_and_taken_away_it_says_nothing(scene: Scene) -> None:
    scene.submit(3)
    with pytest.raises(Invalid, match="max_waiting: is below what is in use: 3 jobs wait"):
        scene.set(max_waiting=2)
    with pytest.raises(Invalid, match="max_bytes: is below what is in use: 18 bytes"):
        scene.set(max_bytes=17)
    with pytest.raises(Invalid, match="max_waiting: is between 0 and"):
        scene.set(max_waiting=-1)
    assert scene.use() is None
    assert scene.set(max_waiting=3, max_bytes=18).use == OwnerUse(waiting=3, bytes=18)
    assert scene.set(max_waiting=None).use == OwnerUse(bytes=18)
    assert scene.set(max_bytes=None).use is None
    scene.submit(10)
    assert scene.set(max_waiting=13).use == OwnerUse(waiting=13)
    assert [owner.use for owner in scene.run(scene.service.owners.find(LOCAL, "", 10))] == [OwnerUse(waiting=13)]


def test_every_way_of_submitting_meets_the_quota(scene: Scene) -> None:
    service = scene.service
    (job,) = scene.submit()
    scene.end(*scene.claim())
    scene.set(max_waiting=1)
    run = RunSubmission(
        owner="ana", jobs=[Submission(ref="a", handler="h"), Submission(ref="b", handler="h", after=["a"])]
    )
    one = Submission(handler="h", owner="ana")
    ways: list[Any] = [
        lambda: service.jobs.submit(one, key="k"),
        lambda: service.jobs.submit(one, api="b"),
        lambda: service.jobs.submit_many([one]),
        lambda: service.jobs.submit(Submission(script="true", owner="ana", inputs=Raw(b"[1]"))),
        lambda: service.jobs.dry_run([one], bulk=False),
        lambda: service.jobs.retry(job.id),
    ]
    for ways_ in (ways, [*ways, lambda: service.jobs.submit_run(run)]):
        for way in ways_ if ways_ is not ways else ():
            with pytest.raises(QuotaFull, match="max_waiting"):
                scene.run(way())
        if ways_ is ways:
            with pytest.raises(QuotaFull):
                scene.run(service.jobs.submit_run(run))  # of two jobs, where there is room for one
            scene.submit()
    again = scene.run(service.bulk.retry(Asked(ids=[job.id]), LOCAL))
    assert [refused.error for refused in again.failed] == ["quota-full"]
    scene.check()
    assert scene.bench.kind.sql("SELECT count(*) FROM rota_runs") == [(0,)]
    assert scene.bench.kind.sql("SELECT count(*) FROM rota_inputs") == [(0,)]


def test_a_slot_whose_job_there_is_no_room_for_is_refused_and_says_so(scene: Scene) -> None:
    schedules = scene.service.schedules
    job = Submission(handler="h", owner="ana", unique_key="k")
    scene.run(schedules.add(NewSchedule(name="s", rule="every 1m", job=job), LOCAL))
    scene.set(max_waiting=0)
    scene.bench.now += 61 * SECOND
    scene.run(scene.service.upkeep.round())
    (firing,) = scene.run(schedules.firings("s", ANA, None, 9))
    assert (firing.fate, firing.job, firing.why) == (
        "refused",
        None,
        "max_waiting of 'ana' is 0, and 0 of its jobs wait",
    )
    with pytest.raises(QuotaFull):
        scene.run(schedules.run("s", ANA))
    scene.set(max_waiting=1)
    assert scene.run(schedules.run("s", ANA)).state is State.QUEUED  # nobody has its unique key
    scene.check()


def test_a_job_in_the_callers_transaction_meets_the_quota(tmp_path: Path) -> None:
    scene = Scene(Bench(KINDS["sqlite-inline"](tmp_path)))
    scene.set(max_waiting=2)
    con = sqlite3.connect(tmp_path / "rota.db", isolation_level=None)
    for end in ("ROLLBACK", "COMMIT"):
        rota.submit_in(con, "h", owner="ana")
        rota.submit_in(con, "h", owner="ana")
        with pytest.raises(QuotaFull):
            rota.submit_in(con, "h", owner="ana")
        con.execute(end)
        scene.check()
    con.close()
    assert scene.use() == OwnerUse(waiting=2)
    scene.bench.close()


def test_what_is_kept_stays_exact_through_all_that_jobs_do(scene: Scene) -> None:
    """A random walk; what is kept is compared with the jobs themselves after every step."""
    rng = random.Random(7)
    scene.set(max_waiting=10_000, max_bytes=10**9)
    service = scene.service
    for step in range(60):
        match rng.randrange(7):
            case 0:
                scene.submit(rng.randrange(1, 4), data=Raw(b"%d" % 10 ** rng.randrange(9)))
            case 1:
                a, b = Submission(ref="a", handler="h"), Submission(ref="b", handler="h", after=["a"])
                scene.run(service.jobs.submit_run(RunSubmission(owner="ana", jobs=[a, b])))
            case 2:
                scene.submit(delay=rng.choice(["1s", "20s"]), priority=rng.randrange(3))
            case 3:
                scene.submit(unique_key="k", on_conflict="replace")
            case 4:
                scene.bench.now += 2 * SECOND
                scene.run(service.upkeep.round())
            case _:
                leases = scene.claim(rng.randrange(1, 6))
                outcomes = [Outcome.SUCCEEDED, Outcome.ERRORED, Outcome.INTERRUPTED]
                for lease in leases[1:]:
                    scene.end(lease, outcome=rng.choice(outcomes))
                if leases:
                    scene.run(service.jobs.abort(leases[0].job))
                    scene.end(leases[0], outcome=Outcome.ABORTED)
        if step % 6 == 0:
            scene.check()
    scene.check()


@pytest.mark.parametrize("quota", ["max_waiting", "max_bytes"])
def test_many_servers_never_let_one_job_too_many_in(quota: str) -> None:
    async def main() -> None:
        async with several() as servers:
            one = Submission(handler="h", owner="ana", data=Raw(b"1234"))
            await servers[0].owners.edit("ana", OwnerEdit(**{quota: 20 if quota == "max_waiting" else 20 * 6}), LOCAL)
            made = await asyncio.gather(
                *(server.jobs.submit_many([one, one]) for server in servers for _ in range(6)),
                *(server.jobs.submit(one) for server in servers for _ in range(4)),
                return_exceptions=True,
            )
            kinds = {type(answer) for answer in made}
            assert QuotaFull in kinds and kinds <= {list, Job, QuotaFull}
            assert (await servers[1].owners.get("ana", LOCAL)).use in (OwnerUse(waiting=20), OwnerUse(bytes=120))

    asyncio.run(main())


def test_a_quota_that_is_set_while_jobs_come_counts_them_all() -> None:
    """Were it set beside transactions that know nothing of it, theirs would be missing for ever."""

    async def main() -> None:
        async with several(2) as (first, second):
            one = Submission(handler="h", owner="ana")
            made = [asyncio.create_task(first.jobs.submit(one)) for _ in range(20)]
            await second.owners.edit("ana", OwnerEdit(max_waiting=1000), LOCAL)
            made += [asyncio.create_task(first.jobs.submit(one)) for _ in range(5)]
            await asyncio.gather(*made)
            assert (await second.owners.get("ana", LOCAL)).use == OwnerUse(waiting=25)

    asyncio.run(main())


def test_no_more_of_an_owners_jobs_run_at_once_than_its_quota_says(scene: Scene) -> None:
    scene.set(max_running=3)
    jobs = scene.submit(6)
    (other,) = scene.submit(owner="ben")
    (array,) = scene.submit(handler=None, script="true", inputs=Raw(b"[1,2,3,4]"))
    leases = scene.claim()
    assert sorted(lease.job for lease in leases) == sorted([*(job.id for job in jobs[:3]), other.id])
    assert scene.use() == OwnerUse(running=3)
    assert scene.claim() == []
    explained = scene.run(scene.service.jobs.explain(jobs[3].id))
    assert (explained.reasons[0].code, explained.summary) == ("owner-full", "owner 'ana' is full: 3 of 3 in use")
    assert explained.reasons[0].way_out == "wait for one to end, or raise it: rota owner ana --max-running 4"
    with pytest.raises(Invalid, match="max_running: is below what is in use: 3 run"):
        scene.set(max_running=2)
    mine = [lease for lease in leases if lease.owner == "ana"]
    scene.end(*mine[:2])
    assert [lease.job for lease in scene.claim()] == [jobs[3].id, jobs[4].id]
    assert scene.run(scene.service.owners.share("ana", LOCAL)).use == OwnerUse(running=3)
    scene.set(max_running=5)
    started = scene.claim()
    assert [lease.job for lease in started] == [jobs[5].id, array.id]  # of an array each shard counts
    assert scene.claim() == []
    scene.set(max_running=None)
    assert {lease.job for lease in scene.claim()} <= {array.id}


def test_owners_at_their_quota_are_in_nobodys_way(scene: Scene) -> None:
    """However many there are, before the one that has room."""
    owners = [f"o{n:02}" for n in range(60)]
    for owner in owners:
        scene.set(owner, max_running=1)
    for owner in owners * 2:
        scene.submit(owner=owner, priority=1)
    assert [len(scene.claim(40)), len(scene.claim(60))] == [40, 20]
    scene.service.signals.full_owners.clear()  # as a server that has just started
    (job,) = scene.submit(owner="last")
    assert [lease.job for lease in scene.claim(1)] == [job.id]
    assert len(scene.service.signals.full_owners) == 60
    assert scene.claim(1) == []


@pytest.mark.parametrize("quota", [1, 3])
def test_many_servers_never_start_one_job_of_an_owner_too_many(quota: int) -> None:
    async def main() -> None:
        async with several() as servers:
            hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h"), HandlerSpec(name="g")], slots=9)
            workers = [(server, (await server.work.register(hello)).worker) for server in servers for _ in range(2)]
            await servers[0].owners.edit("ana", OwnerEdit(max_running=quota), LOCAL)
            jobs = [Submission(handler="hg"[n % 2], owner="ana", queue=f"q{n % 3}") for n in range(12)]
            await servers[0].jobs.submit_many(jobs)
            free = Free(process=4, asynchronous=0, total=4)
            ended = 0
            for _ in range(60):
                claims = await asyncio.gather(*(server.work.claim(worker, free) for server, worker in workers))
                leases = [
                    (server, worker, lease)
                    for (server, worker), got in zip(workers, claims, strict=True)
                    for lease in got
                ]
                assert len(leases) <= quota
                for server, worker, lease in leases:
                    report = Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED)
                    await server.work.settle(worker, [report])
                ended += len(leases)
                if ended == len(jobs):
                    break
            assert ended == len(jobs)

    asyncio.run(main())
