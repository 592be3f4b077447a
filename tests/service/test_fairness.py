"""Whose turn it is, through the real service on the real store: floods, weights, newcomers, age, and what a claim costs."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rota.core.access import LOCAL
from rota.core.errors import Invalid, NotFound
from rota.core.jobs import Free, HandlerSpec, Job, Lease, Report, Submission, WorkerHello
from rota.core.states import Outcome
from rota.service.jobs import Edit
from rota.service.owners import OwnerEdit
from rota.service.service import Service
from tests.embedded import store_at

SECOND = 1_000_000
START = 1_750_000_000 * SECOND


class NoHooks:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        raise AssertionError("no job has a hook")


class Scene:
    """A server with a clock that the test sets, and a worker that runs what it claims at once."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.store = store_at(folder / "rota.db", clock=lambda: self.now, inline=True)
        self.service = self._service()
        self.worker = ""

    def _service(self) -> Service:
        return Service(
            self.store,
            sender=NoHooks(),
            rng=random.Random(7),
            monotonic=lambda: (self.now - START) / SECOND,
            lease_s=1e6,
        )

    async def open(self) -> None:
        await self.store.open()
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h"), HandlerSpec(name="i")], slots=1000)
        self.worker = (await self.service.work.register(hello)).worker

    async def restart(self) -> None:
        """Forget all that is not in the store."""
        self.service = self._service()

    async def submit(self, owner: str, n: int = 1, *, handler: str = "h", **fields: object) -> list[Job]:
        self.now += 1
        entry = Submission(handler=handler, owner=owner, **fields)  # type: ignore[arg-type]
        jobs: list[Job] = []
        while n > len(jobs):
            jobs += await self.service.jobs.submit_many([entry] * min(10_000, n - len(jobs)))
        return jobs

    async def start(self, n: int) -> list[Lease]:
        """Claim, and end what was claimed."""
        self.now += 1000
        leases = await self.service.work.claim(self.worker, Free(process=n, asynchronous=0, total=n))
        await self.service.work.settle(
            self.worker, [Report(job=each.job, attempt=each.attempt, outcome=Outcome.SUCCEEDED) for each in leases]
        )
        return leases

    async def owners(self, n: int, times: int = 1) -> str:
        """Return whose jobs were started, one letter each."""
        return "".join([lease.owner[0] for _ in range(times) for lease in await self.start(n)])

    @property
    def connection(self) -> sqlite3.Connection:
        return self.store.inline_runner._connection


def scene(folder: Path, story: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        s = Scene(folder)
        await s.open()
        try:
            await story(s)
        finally:
            await s.store.close()

    asyncio.run(main())


def test_after_a_flood_another_owners_single_job_gets_the_next_slot(tmp_path: Path) -> None:
    async def story(s: Scene) -> None:
        await s.submit("ana", 20_000)
        for room in (1, 7, 100, 250, 3):
            assert set(await s.owners(room)) == {"a"}
        await s.restart()
        await s.submit("bo")
        assert await s.owners(1) == "b"
        await s.submit("bo")
        await s.submit("cleo")
        assert await s.owners(1) == "c", "nobody's turn is sooner than a newcomer's"
        assert await s.owners(2) in ("ab", "ba")
        await s.submit("bo", 2)
        assert Counter(await s.owners(100)) == {"a": 98, "b": 2}

    scene(tmp_path, story)


@pytest.mark.parametrize("room", [1, 3, 10, 200])
def test_weights_of_3_and_1_give_3_to_1_and_a_new_one_counts_at_once(tmp_path: Path, room: int) -> None:
    async def story(s: Scene) -> None:
        await s.submit("ana", 800)
        await s.submit("bo", 800)
        await s.service.owners.edit("ana", OwnerEdit(weight=3), LOCAL)
        served = Counter(await s.owners(room, 200 // room))
        assert abs(served["a"] - 3 * served["b"]) <= 4
        await s.service.owners.edit("ana", OwnerEdit(weight=1), LOCAL)
        served = Counter(await s.owners(room, 200 // room))
        assert abs(served["a"] - served["b"]) <= 4

    scene(tmp_path, story)


def test_to_submit_one_at_a_time_gains_nothing_and_idleness_is_no_credit(tmp_path: Path) -> None:
    async def story(s: Scene) -> None:
        await s.submit("ana", 300)
        order = ""
        for n in range(40):
            if "b" in order[-1:] or not order:
                await s.submit("bo")
            order += await s.owners(1)
            if n % 5 == 0:
                await s.service.turns.step()
        assert abs(order.count("a") - order.count("b")) <= 1
        await s.owners(100)
        await s.submit("bo", 100)
        order = await s.owners(1, 40)
        assert abs(order.count("a") - order.count("b")) <= 1

    scene(tmp_path, story)


def test_within_an_owner_priority_then_age_over_all_lanes(tmp_path: Path) -> None:
    async def story(s: Scene) -> None:
        old, other = await s.submit("ana"), await s.submit("ana", handler="i")
        high = await s.submit("ana", priority=5)
        last = await s.submit("ana")
        expected = [job.id for jobs in (high, old, other, last) for job in jobs]
        assert [lease.job for lease in await s.start(9)] == expected

    scene(tmp_path, story)


def test_what_waits_long_behind_a_higher_priority_gets_a_start_now_and_then(tmp_path: Path) -> None:
    async def story(s: Scene) -> None:
        await s.submit("low", 5, priority=-1)
        await s.submit("xlow", 5, priority=-2)
        await s.submit("high", 2000)
        assert set(await s.owners(10, 5)) == {"h"}
        s.now += 500 * SECOND
        assert set(await s.owners(10, 5)) == {"h"}
        s.now += 101 * SECOND
        order = await s.owners(1, 200)
        assert 2 <= order.count("l") + order.count("x") <= 10, "one in twenty at most"
        assert order.index("l") < order.index("x"), "who has waited longest"

    scene(tmp_path, story)


def test_a_claim_costs_the_same_whatever_number_of_owners_wait(tmp_path: Path) -> None:
    def cost_of(s: Scene, n: int) -> Awaitable[tuple[int, int]]:
        async def measure() -> tuple[int, int]:
            statements: list[str] = []
            s.connection.set_trace_callback(statements.append)
            changes = s.connection.total_changes
            leases = await s.service.work.claim(s.worker, Free(process=n, asynchronous=0, total=n))
            s.connection.set_trace_callback(None)
            assert len({lease.owner for lease in leases}) == n
            return len(statements), s.connection.total_changes - changes

        return measure()

    async def story(s: Scene) -> None:
        costs = []
        for first, last in ((0, 100), (100, 100_000)):
            _wait_with_a_job_each(s.connection, first, last)
            costs.append(await cost_of(s, 10))
        assert costs[1] <= costs[0], "statements, rows; the first claim had to find out that there is such a lane"

    scene(tmp_path, story)


def _wait_with_a_job_each(con: sqlite3.Connection, first: int, last: int) -> None:
    numbers = f"WITH RECURSIVE n(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM n WHERE n < {last - 1})"
    con.execute(
        f"""{numbers} INSERT INTO rota_jobs (id, state, kind, lane, handler, data, args, owner, queue, priority, run_at,
        submitted_at, grace_s) SELECT printf('j%09d', n), 'queued', 'handler', 'h', 'h', '{{}}', '[]', printf('o%06d', n),
        'default', 0, {START} + n, {START}, 5 FROM n"""
    )
    con.execute(
        f"{numbers} INSERT INTO rota_turns SELECT 'default', 0, printf('o%06d', n), 'h', 0, 'ready', {START} + n FROM n"
    )
    con.execute("INSERT OR REPLACE INTO rota_counts VALUES ('default', 'h', 'queued', ?)", (last,))


def test_what_is_ahead_of_a_job(tmp_path: Path) -> None:
    async def story(s: Scene) -> None:
        async def ahead(job: Job) -> int | None:
            return (await s.service.jobs.explain(job.id)).ahead

        mine = await s.submit("ana", 3)
        flood = await s.submit("bo", 60)
        high = await s.submit("cleo", 2, priority=1)
        assert await ahead(high[0]) == 0
        assert await ahead(mine[0]) == 2, "those of a higher priority"
        assert await ahead(mine[2]) == 2 + 2 + 2, "and its own older ones, and as many of bo's"
        assert await ahead(flood[2]) == 2 + 2 + 3
        assert await ahead(flood[59]) == 59 + 2 + 3
        for _ in range(8):
            order = [lease.job for lease in await s.start(1)]
            assert order
        reasons = (await s.service.jobs.explain(flood[20].id)).reasons
        assert reasons[-1].code == "jobs-ahead"

    scene(tmp_path, story)


def test_rows_without_a_job_are_in_nobodys_way(tmp_path: Path) -> None:
    """Each of many owners has had a job; a claim that meets their rows finds the one behind them."""

    async def story(s: Scene) -> None:
        for owner in range(200):
            await s.submit(f"o{owner}")
        await s.start(200)
        last = await s.submit("z", priority=-5)
        await s.restart()  # so that what upkeep was to tidy is forgotten
        assert [lease.job for lease in await s.start(1)] == [job.id for job in last]
        await s.service.turns.step()
        await s.start(1)
        for _ in range(20):
            await s.service.turns.step()
        await s.submit("y")
        assert len(await s.start(1)) == 1

    scene(tmp_path, story)


def test_jobs_that_another_rota_has_submitted_without_a_row_are_found(tmp_path: Path) -> None:
    async def story(s: Scene) -> None:
        await s.submit("ana", 3)
        s.connection.execute("DELETE FROM rota_turns")
        assert await s.start(3) == []
        await s.service.turns.step()
        assert await s.owners(3) == "aaa"

    scene(tmp_path, story)


def test_an_owners_settings_are_checked_kept_and_obeyed(tmp_path: Path) -> None:
    async def story(s: Scene) -> None:
        owners = s.service.owners
        for bad in (
            OwnerEdit(weight=0), OwnerEdit(weight=1001), OwnerEdit(weight=float("nan")), OwnerEdit(max_priority=-1),
            OwnerEdit(max_priority=10**9),
        ):  # fmt: skip
            with pytest.raises(Invalid):
                await owners.edit("ana", bad, LOCAL)
        assert (await owners.get("ana", LOCAL)).weight == 1
        await owners.edit("ana", OwnerEdit(max_priority=3), LOCAL)
        await owners.edit("ana", OwnerEdit(weight=2), LOCAL)
        found = await owners.get("ana", LOCAL)
        assert (found.weight, found.max_priority) == (2, 3)
        (job,) = await s.submit("ana", priority=3)
        with pytest.raises(Invalid, match=r"\[0\].priority: .*at most 3 \(its max_priority\)"):
            await s.submit("ana", priority=4)
        with pytest.raises(Invalid, match="at most 3"):
            await s.service.jobs.edit(job.id, Edit(priority=4))
        await s.service.jobs.edit(job.id, Edit(priority=-4))
        await s.submit("bo", priority=9)
        assert [o.owner for o in await owners.find(LOCAL, "", 100)] == ["ana", "bo"]
        assert [o.owner for o in await owners.find(LOCAL, "ana", 100)] == ["bo"]
        with pytest.raises(Invalid):
            await owners.get("a\nb", LOCAL)

    scene(tmp_path, story)


def test_the_share_of_an_owner_and_what_it_has_used(tmp_path: Path) -> None:
    async def story(s: Scene) -> None:
        await s.service.owners.edit("ana", OwnerEdit(weight=3), LOCAL)
        await s.submit("ana", 3)
        await s.submit("bo", 2)
        share = await s.service.owners.share("ana", LOCAL)
        assert (share.share, share.used, share.waiting, share.running, share.active_owners) == (0.75, 0.0, 3, 0, 2)
        assert [(t.queue, t.lane, t.priority, t.ready) for t in share.turns] == [("default", "h", 0, 3)]
        leases = await s.service.work.claim(s.worker, Free(process=4, asynchronous=0, total=4))
        assert Counter(lease.owner for lease in leases) == {"ana": 3, "bo": 1}
        s.now += 10 * SECOND
        share = await s.service.owners.share("bo", LOCAL)
        assert (share.share, share.used, share.slot_seconds, share.waiting, share.running) == (0.25, 0.25, 40, 1, 1)
        mine = [Report(job=e.job, attempt=e.attempt, outcome=Outcome.SUCCEEDED) for e in leases if e.owner == "ana"]
        await s.service.work.settle(s.worker, mine)
        for flush in (False, True):
            if flush:
                await s.service.usage.flush()
            share = await s.service.owners.share("ana", LOCAL)
            assert (share.used, share.slot_seconds, share.running) == (0.75, 40, 0)
        s.now += 3700 * SECOND
        share = await s.service.owners.share("ana", LOCAL)
        assert (share.used, share.slot_seconds) == (0.0, 3600), "only what still runs"

    scene(tmp_path, story)


def test_a_user_sees_its_own_owner_alone(tmp_path: Path) -> None:
    from msgspec.structs import replace

    from rota.core.access import Role

    async def story(s: Scene) -> None:
        await s.submit("ana")
        await s.submit("bo")
        user = replace(LOCAL, role=Role.USER, owner="ana")
        assert [o.owner for o in await s.service.owners.find(user, "", 100)] == ["ana"]
        assert await s.service.owners.find(user, "ana", 100) == []
        assert (await s.service.owners.share("ana", user)).owner == "ana"
        for ask in (s.service.owners.get, s.service.owners.share):
            with pytest.raises(NotFound):
                await ask("bo", user)

    scene(tmp_path, story)
