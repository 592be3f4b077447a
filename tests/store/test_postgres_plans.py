"""Invariant 10 on PostgreSQL: no statement scans or sorts a table that grows with the number of jobs.

Every statement is explained with values that a real service gave it, on a store with many rows and fresh statistics.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg
import pytest
from msgspec import Raw
from msgspec.structs import replace

from rota.core.access import Role
from rota.core.arrays import Range, Shard
from rota.core.checkpoints import CheckpointNote
from rota.core.fairness import Charge, TurnName
from rota.core.jobs import Attempt, LogChunk, Progress, Submission
from rota.core.limits import Limit, Rate
from rota.core.owners import Owner
from rota.core.runs import Run
from rota.core.schedules import Change, Fate, Firing
from rota.core.states import Outcome, State
from rota.service.service import Service
from rota.store import statements
from rota.store.postgres.statement import BaseTx, numbered
from rota.store.postgres.store import SESSION, PostgresStore, with_clock
from rota.store.protocol import Query, Tx
from rota.store.rows import Dependency, NewAudit, NewEvent, QueueRow, SeriesRow, TokenRow, Unique
from rota.store.run_rows import RunQuery
from tests import postgres

from .postgres_filled import fill
from .postgres_race import NoHooks, Race

pytestmark = pytest.mark.xdist_group("plans")  # one filled store for all
SQL = statements.load("rota.store.postgres.sql")
ROWS = 20_000
SMALL = {
    "rota_workers",
    "rota_counts",
    "rota_handlers",
    "rota_uploads",
    "rota_schema",
    "rota_tokens",
    "rota_queues",
    "rota_limits",
    "rota_buckets",
    "rota_kept",
}  # as many rows as there are such things
# A page of several walks is merged: at most a page of each. Others sort what one job, or one statement's arguments, have.
SORTS_A_PAGE = {"find_by_state", "find_by_api", "find_by_label", "find_runs_by_name"}
SORTS_ITS_OWN = {"after_of", "deliveries_of", "shards_of", "attempts_of", "shares_root", "clamp_shards", "is_base"}
SORTS_ITS_OWN |= {"open_firings", "schedules_ahead", "series", "spread_ranges", "spread_results", "spread_bad_results"}
NOT_HOT = {
    "count_kept": "when a quota is set, by an admin",
    "running_shards": "what runs now, for a person who asks",
    "shares_root": "old arrays, once each",
    "spread_results": "all results of an array that an older server has stopped, for a person who asks",
    "schedules_ahead": "after a start, and when the clock was set back",
    "schedules_by_mark": "when the rules of a zone have changed; each row once",
}


class Recorder:
    """Keeps the values of each statement that was run; those of the largest call."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[Any, ...]] = {}

    def note(self, name: str, values: tuple[Any, ...]) -> None:
        if name not in self.values or len(str(values)) > len(str(self.values[name])):
            self.values[name] = values


async def ask_everything(tx: Tx) -> None:
    """Ask what a service that does well seldom asks."""
    job = "fw000000007"
    for query in (
        Query(), Query(owner="owner3"), Query(states=[State.QUEUED, State.FAILED]), Query(queue="default"), Query(handler="a"),
        Query(error="seven"),
        Query(labels=[("k", "v7"), ("k", "v7")]), Query(api="c"), Query(api="c", owner="ana"),
    ):  # fmt: skip
        await tx.find_jobs(query)
    found = (await tx.lock_jobs([job]))[job]
    await tx.older_than(found, found.lane, 100)
    await tx.recent_runs(500)
    await tx.held_lanes(["w", "v"])
    _, turns = await tx.turns([("default", "a", 100), ("default", "b", 9)], 50)
    await tx.oldest_turns([("default", "a"), ("default", "b")], 1 << 60, 3)
    await tx.ready_counts([(turn.name, 9) for turn in turns])
    await tx.missing_turns(TurnName("", 0, "", ""), 100)
    await tx.ready_lanes()
    await tx.get_owners(["owner1", "nobody"])
    await tx.owners_after("owner1", 50)
    await tx.ready_owners(100)
    await tx.running_by_owner(5)
    await tx.usage_of("owner1", 5)
    await tx.unmet_of(job, 9)
    await tx.get_runs(["run-00007"])
    for sought in (RunQuery(), RunQuery(owner="owner3"), RunQuery(name="n7"), RunQuery(state=State.RUNNING)):
        await tx.find_runs(sought)
    await tx.find_jobs(Query(run="run-00007"))
    await tx.jobs_of_run("run-00007", "", 100)
    await tx.newest_of_run("run-00007", "~", 100)
    await tx.nodes([job])
    await tx.edges_into([job])
    await tx.edges_from([job], 100)
    for bad in (True, False):
        await tx.spread_results("fo000000001", 5, bad=bad)
    await tx.spread_ranges("fo000000001", 5)
    await tx.range_at("fo000000001", 5)
    await tx.attempts_at("fo000000001", 5, 50)
    await tx.open_runs(1_700_000_000_000_100, 100)
    await tx.dependents_of([job])
    await tx.told_of([job])
    await tx.told_jobs(500)
    await tx.over_before(1_700_000_001_000_900, 500)
    await tx.wakeups()
    for question in (tx.attempts_of, tx.shards_of, tx.deliveries_of):
        await question(job)
    for which in ("all", "good", "bad"):
        await tx.results_of("fo000000001", 5, 100, which=which)  # type: ignore[arg-type]
    await tx.successes_of("fo000000001", 5, 100)
    await tx.logs_of(job, None, (0, 0), 9)
    await tx.logs_of(job, 1, (1, 0), 9)
    await tx.events_of(job, 0, 9)
    await tx.events_after(5000, 500)
    await tx.last_event()
    await tx.is_event(5000)
    await tx.timed_out_tasks()
    await tx.list_workers()
    await tx.handlers()
    await tx.get_handler("h")
    await tx.signatures([("h7", "v7"), ("h8", "v8")])
    await tx.checkpoints_of([f"fo{n:09}" for n in range(1, 1001)])
    await tx.about_checkpoint("fo000000007")
    await tx.count_snoozes(job, 100)
    await tx.old_uploads(1, 9)
    await tx.due_jobs(500)
    await tx.unnamed_leases(500)
    await tx.overdue_jobs(1, 500)
    await tx.inputs_at("fo000000009", 3)
    await tx.get_schedule("s000000007")
    await tx.list_schedules(None, "s000000007", 100)
    await tx.list_schedules("owner3", "s000000007", 100)
    await tx.schedules_named("n7", None, 2)
    await tx.schedules_named("n7", "owner7", 2)
    await tx.zone_marks()
    await tx.firings_of("s000000007", 5, 100)
    await tx.schedule_changes("s000000007", 5, 100)
    begin, end = 1_700_000_001_000_000, 1_700_000_001_009_000
    for between in (tx.bad_attempts, tx.good_shards, tx.ended_between, tx.failed_arrays):
        await between(begin, end, 5000)
    await tx.ended_after(begin, 1000)
    await tx.running_now(5000)
    await tx.recent_series(60, 19_990 * 60_000_000, 500)
    await tx.next_schedules(5)
    await tx.series(60, "", 5 * 60_000_000, 900 * 60_000_000, 50_000)


async def do_everything(tx: Tx) -> None:
    waiting = (await tx.lock_jobs(["fw000000008"]))["fw000000008"]
    name = TurnName("default", -1, "owner7", "c")
    await tx.charge_turns([Charge(name.whose, 5, 0, 6, 7, ("a", "c"))] * 50)
    await tx.make_ready([name])
    await tx.empty_turns([name])
    await tx.forget_turns(5, 500)
    await tx.put_owner(await tx.lock_owner("owner7"))
    await tx.add_usage([("owner7", 5, 5)])
    await tx.forget_usage(7, 500)
    await tx.edit_job(waiting, priority=3, run_at=5, queue="q", state="queued")
    await tx.request_aborts([waiting])
    await tx.insert_run(Run(id="run-new", state=State.RUNNING, owner="ana", jobs=1, submitted_at=5))
    await tx.lock_runs(["run-new", "run-00007"])
    await tx.stop_run("run-00007")
    await tx.run_stopped("run-00007")
    await tx.runs_seen(["run-00007"])
    await tx.end_run(Run(id="run-new", state=State.SUCCEEDED, finished_at=6))
    await tx.delete_runs(7, 100)
    await tx.lock_free(["fw000000009"])
    await tx.tell([Dependency("fo000000001", "fw000000007", "failed", State.FAILED)], [])
    await tx.set_waits([("fw000000007", 1, 0)])
    job = "fo000000009"
    await tx.unname_leases([(job, 1, 5)])
    await tx.unname_shards([(job, 1, 5)])
    await tx.clamp_leases(2)
    await tx.set_progress("w", [(job, 1, Progress(0.5, ""))])
    await tx.insert_deliveries([("m", job, "http://h", "{}")])
    for row in await tx.take_deliveries(9, 5):
        await tx.note_delivery(row)
    await tx.resend_delivery(job, job)
    await tx.append_logs([LogChunk(job=job, attempt=9, n=0, stream="stdout", text="x")])
    await tx.insert_attempts([(job, Attempt(attempt=9, worker="w", started_at=1, finished_at=2, outcome=Outcome.LOST))])
    await tx.forget_answers(5, 500)
    await tx.forget_workers(5)
    await tx.begin_upload("u")
    await tx.delete_upload("u")
    await tx.put_ranges(job, [Range(first=7, n=1, run_at=5)])
    await tx.ready_ranges(job, 9)
    await tx.delete_ranges(job, [Range(first=7, n=1, run_at=5)])
    await tx.put_ranges(job, [Range(first=7, n=1, run_at=tx.now + 1)])
    tx.now += 2
    await tx.promote_ranges(9)
    await tx.insert_shard(Shard(job, 9, "w", 0, 1, 0))
    await tx.put_answer("k", "f", b"")
    await tx.drain_worker("w")
    await tx.bury_worker("w", "gone")
    alike = Attempt(attempt=77, worker="w", started_at=tx.now, finished_at=tx.now, outcome=Outcome.SUCCEEDED)
    await tx.insert_attempts([(job, alike)])
    for others in (job, "z"):  # two rows, of one of which something is left
        await tx.append_events([NewEvent(of, "o", others, State.RUNNING, shared=True) for of in (others, job)])
    await tx.delete_jobs([(job, "default", "a", "succeeded")])
    await tx.insert_token(TokenRow("t", "h", Role.ADMIN, "", None, (), (), 1, None, None))
    await tx.revoke_token("t")
    await tx.tokens()
    await tx.tokens_version()
    await tx.append_audit([NewAudit("t", Role.ADMIN, None, "", "a", str(n), 200) for n in range(500)])
    await tx.audit_before(None, 9, None)
    await tx.audit_before(None, 9, "t")
    await tx.prune_audit(5, 100, 9)
    for unique in (Unique("owner7", "kfw000000007", "fw000000007", None), Unique("owner3", "new", "fw000000007", 5)):
        await tx.put_uniques(await tx.take_uniques([unique]))
    await tx.forget_uniques(5, 500)
    await tx.put_checkpoints([CheckpointNote(job=f"fo{n:09}", attempt=1, value=Raw(b"1")) for n in range(1, 501)])
    await tx.put_signatures([(f"h{n}", "v7", Raw(b"{}")) for n in range(1, 101)], 20)
    await tx.put_series([SeriesRow(60, "", n, "me", "{}") for n in range(500)])
    await tx.prune_series(60, 50, 500)
    await limit_everything(tx)
    await quota_everything(tx)
    await schedule_everything(tx)


async def quota_everything(tx: Tx) -> None:
    await tx.put_owner(Owner(owner="owner7", max_waiting=10**9, max_running=9))
    await tx.hold_places(["owner7"])
    await tx.places_of(["owner7", "owner3"])
    await tx.hold_quotas(await tx.quotas_of(["owner7", "owner3"]))
    await tx.count_kept("owner7")
    await tx.forget_kept("owner7")


async def limit_everything(tx: Tx) -> None:
    limit = Limit(kind="queue", name="default", concurrency=3, rate=Rate(1, 2, 3))
    await tx.hold_limits([limit.pool])
    await tx.put_limit(limit)
    await tx.put_queue(QueueRow("q", 1, None))
    await tx.put_queue_weight("q", 2.0)
    await tx.put_buckets([(*limit.pool, 5)])
    await tx.buckets([limit.pool])
    await tx.limits()
    await tx.queue_rows()
    await tx.count_running([*await tx.running_lanes(), ("default", "a"), ("default", "array:a")], 100)
    await tx.delete_limit(limit)
    places = [("k7", "default", "a"), ("k8", "default", "b")]
    await tx.lock_keys(["k7"])
    await tx.hold_jobs(places, 50)
    await tx.count_keys(["k7", "k8"], 100)
    await tx.running_of_key("k7", 10)
    await tx.ready_of_key("k7", "default", "a", 50)
    await tx.held_keys("k3", 500)
    await tx.are_held(["k7", "k8"])
    first = TurnName("", 0, "", "")
    held = [(turn.heads[0][1], turn.name) for turn in await tx.held_turns("k7", first, 100, 6)]
    await tx.release_jobs(held or [("fw000000011", first)])
    await tx.forget_buckets(7, 500)


async def schedule_everything(tx: Tx) -> None:
    schedule = await tx.lock_schedule("s000000007")
    assert schedule is not None
    await tx.update_schedule(schedule)
    await tx.insert_schedule(replace(schedule, id="new", name="new"))
    await tx.due_schedules(500)
    await tx.free_schedules(500)
    await tx.schedules_ahead(5, 500)
    await tx.schedules_by_mark("Europe/Berlin", "2026:a", 500)
    some = [replace(schedule, id=f"s{n:09}", next_at=n) for n in range(1, 501)]
    await tx.move_schedules(some)
    firings = [
        Firing(schedule=each.id, slot=10**9, at=7, fate=Fate.SUBMITTED, job="fo000000007", open=True) for each in some
    ]
    await tx.fired_slots([(each.schedule, each.slot) for each in firings])
    await tx.insert_firings(firings)
    await tx.update_firings(firings)
    await tx.close_firings(await tx.open_firings([each.id for each in some]))
    await tx.close_all_firings("s000000007")
    await tx.forget_firings(1_700_000_000_000_100, 500)
    await tx.put_deploy("app", "d")
    await tx.deploys_of("app7", 9)
    await tx.schedules_of_origin("app7")
    await tx.append_schedule_change(
        Change(schedule="new", revision=1, at=1, by=None, what="created", settings=Raw(b"{}"))
    )
    await tx.delete_schedule("new")


class Reader:
    """Reads plans over one connection for each database: a new one costs the server more than most plans."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._connections: dict[str, asyncpg.Connection[asyncpg.Record]] = {}

    def steps(self, url: str, statement: str, values: tuple[Any, ...]) -> list[dict[str, Any]]:
        """Return the steps of the plan of a statement with these values."""
        return list(_steps(json.loads(self._runner.run(self._explain(url, statement, values)))[0]["Plan"]))

    async def _explain(self, url: str, statement: str, values: tuple[Any, ...]) -> str:
        if url not in self._connections:
            self._connections[url] = await asyncpg.connect(url, statement_cache_size=0)
        return str(await self._connections[url].fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values))

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            self._runner.run(connection.close())
        self._runner.close()


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def recorded() -> tuple[str, dict[str, tuple[Any, ...]]]:
    recorder = Recorder()
    url = postgres.cluster().new_database()
    with pytest.MonkeyPatch.context() as patch:
        for method in ("_one", "_all", "_all_numbered", "_run"):
            patch.setattr(BaseTx, method, _recording(recorder, getattr(BaseTx, method)))
        asyncio.run(_record(url))
    return url, recorder.values


def _recording(recorder: Recorder, plain: Callable[..., Any]) -> Callable[..., Any]:
    async def run(self: BaseTx, name: str, *values: Any) -> Any:
        recorder.note(name, values)
        return await plain(self, name, *values)

    return run


async def _record(url: str) -> None:
    await fill(url, ROWS)
    await Race(url, jobs=40, workers=2).run(check=False)
    store = PostgresStore(url)
    await store.open()
    await store.read(ask_everything)
    await store.write(ask_everything)
    await store.write(do_everything)
    await store.close()


# What is run only when others are in the way, or now and then: values for those.
LIKE: dict[str, tuple[Any, ...]] = {
    "add_run_count": ("{run-1}", "{queued}", "{1}"),
    "claim_these": ("{default}", "{1}", "{owner1}", "{a}", "{NULL}", "{1}", '{"{fw000000007}"}', "w", 5),
    "become_array": (3, 100, "fw000000007"),
    "result_of": ("fo000000001",),
    "clamp_unnamed": (5, ["fw000000007"]),
    "delete_inputs": (["u"],),
    "has_event": (5, "j", 5),
    "holds": ("fo000000001", 1, "w"),
    "get_answer_and_quotas": ("k", "{owner7}"),
    "hold_quotas": ([5],),
    "hold_quotas_now": ([5],),
    "insert_labels": ("{k}", "{v}", "{j}"),
    "late_leases": (5,),
    "lock_job_now": (["fw000000007"],),
    "lock_worker_now": ("{w}",),
    "start_run": (5, "{run-1}"),
    "range_is_due": (["fo000000009"], [7], 5),
    "transaction_status": ("5",),
}


@pytest.mark.parametrize("name", sorted(SQL))
def test_no_statement_scans_or_sorts(
    recorded: tuple[str, dict[str, tuple[Any, ...]]], reader: Reader, name: str
) -> None:
    url, values = recorded
    assert name in values or name in LIKE, "nobody ran it"

    steps = reader.steps(url, SQL[name], values[name] if name in values else LIKE[name])
    told = json.dumps([{k: v for k, v in step.items() if k != "Plans"} for step in steps], indent=1)
    scanned = {step["Relation Name"] for step in steps if step["Node Type"] == "Seq Scan"}
    assert scanned <= SMALL or name in NOT_HOT, told
    if name not in SORTS_A_PAGE | SORTS_ITS_OWN and not scanned & SMALL:
        assert not any("Sort" in step["Node Type"] for step in steps), told


HOT = [
    "claim_job", "claim_these", "count_keys", "ready_of_key", "are_held", "release_jobs", "hold_jobs", "get_job", "lock_job",
    "lock_job_now", "look_at_job", "tell", "move_job", "put_turns", "request_abort", "set_progress", "settle_job",
    "settle_known", "unname_lease", "dependents_of", "lock_free", "told_of", "set_waits", "add_run_count", "start_run",
]  # fmt: skip


@pytest.fixture(scope="module")
def never_analyzed() -> str:
    async def make() -> str:
        url = postgres.cluster().new_database()
        store = PostgresStore(url)
        await store.open()
        service = Service(store, sender=NoHooks())
        await service.jobs.submit_many([Submission(handler="a") for _ in range(5000)])
        await store.close()
        return url

    return asyncio.run(make())


@pytest.mark.parametrize("name", HOT)
def test_a_store_that_was_never_analyzed_is_not_scanned_either(
    recorded: tuple[str, dict[str, tuple[Any, ...]]], never_analyzed: str, reader: Reader, name: str
) -> None:
    """Jobs pour into a new store before anybody has counted them: the planner guesses, and must not get it wrong."""
    steps = reader.steps(never_analyzed, SQL[name], recorded[1][name] if name in recorded[1] else LIKE[name])
    told = [(step["Node Type"], step.get("Index Name"), step.get("Index Cond")) for step in steps]
    assert not any(step["Node Type"] in ("Seq Scan", "Hash", "Hash Join", "Sort", "Merge Join") for step in steps), told
    assert all("Index Cond" in step for step in steps if "Index" in step["Node Type"]), told
    assert not any(step.get("Index Name") in ("rota_jobs_state", "rota_jobs_running") for step in steps), told


@pytest.fixture(scope="module")
def empty() -> str:
    async def make() -> str:
        url = postgres.cluster().new_database()
        store = PostgresStore(url)
        await store.open()
        await store.close()
        return url

    return asyncio.run(make())


@pytest.mark.parametrize("rows", ["none", "uncounted", "counted"])
def test_plans_that_are_kept_go_by_indexes_whenever_they_were_made(request: pytest.FixtureRequest, rows: str) -> None:
    """On straight connections a plan serves all values, and what it was made for may have grown since."""
    fixture = request.getfixturevalue({"none": "empty", "uncounted": "never_analyzed", "counted": "recorded"}[rows])
    url = fixture[0] if rows == "counted" else fixture
    for name, steps in asyncio.run(kept_plans(url)).items():
        scanned = {step["Relation Name"] for step in steps if step["Node Type"] == "Seq Scan"}
        assert scanned <= SMALL, (name, steps)
        if name.removeprefix("now_") in HOT:
            kinds = {step["Node Type"] for step in steps}
            assert not kinds & {"Hash", "Hash Join", "Sort", "Merge Join"}, (name, steps)
            assert all("Index Cond" in step for step in steps if "Index" in step["Node Type"]), (name, steps)


# What goes along with the beginning of a transaction, and what has the numbers of events go along.
BEGINS = ("lock_worker", "lock_job", "get_answer", "get_quotas", "get_answer_and_quotas")
NUMBERED = ("claim_job", "settle_known")


async def kept_plans(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return the steps of the plan of each statement that a straight connection keeps, whatever its values."""
    found = {}
    con = await asyncpg.connect(url)
    try:
        await con.execute(SESSION)
        number = SQL["number_events"]
        begins = {f"now_{name}": with_clock(SQL[name], number if name.startswith("get") else "") for name in BEGINS}
        others = {f"{name}_numbered": numbered(SQL[name], number) for name in NUMBERED}
        for name, sql in (SQL | begins | others).items():
            statement = await con.prepare(sql, name=name)
            values = ", ".join(["NULL"] * len(statement.get_parameters()))
            plan = await con.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name}" + (f" ({values})" if values else ""))
            found[name] = list(_steps(json.loads(plan)[0]["Plan"]))
    finally:
        await con.close()
    return found


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _steps(below)
