"""Jobs: what is written is read, in the order that is promised, and every change keeps the counters."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from rota.core.fairness import TurnName
from rota.core.jobs import NULL, Attempt, Failure, HandlerSpec, Job, Progress, Report
from rota.core.retry import Backoff
from rota.core.settling import Settlement, cancel, release, settle
from rota.core.states import FINAL, Outcome, Reason, State
from rota.store.protocol import Dependency, NewEvent, Query, Take, Tx
from rota.store.rows import Claimed

from .bench import SECOND, START, Bench, a_job, turn_of


def test_a_job_is_read_as_it_was_written(bench: Bench):
    whole = a_job(
        "b", state=State.BLOCKED, waiting_for=1, data=Raw(b'{"a": [1, "\xc3\xa4"]}'), args=Raw(b"[1, null]"), owner="ana",
        queue="q", priority=-7, labels={"k": "v", "l": ""}, after=["c", "a"], run_at=START + 5, max_failures=3, timeout_s=1.5,
        grace_s=0.25, backoff=Backoff(base=2, factor=3, limit=60), hook="http://h/x", retry_of="old", traceparent=TRACE,
    )  # fmt: skip
    script = a_job("s", kind="script", handler=None, script="echo {{x}}", variables={"x": "ü'\n"})
    bench.insert(a_job("a"), a_job("c"), whole, script)
    assert bench.get("b") == whole
    assert bench.get("s") == script
    assert bench.read(lambda tx: tx.get_job("nobody")) is None


TRACE = f"00-{'a' * 32}-{'b' * 16}-01"


def test_a_job_that_was_over_at_its_submission(bench: Bench):
    over = a_job(
        "a",
        state=State.CANCELED,
        finished_at=START,
        reason=Reason.DEPENDENCY,
        error=Failure(type="dependency", message="x"),
    )
    bench.insert(over)
    assert bench.get("a") == over


def test_locking_returns_what_decides_of_those_that_exist(bench: Bench):
    bench.insert(a_job("a", data=Raw(b"[1]"), priority=3, max_failures=2, backoff=Backoff(base=9), hook="http://h"))
    locked = bench.write(lambda tx: tx.lock_jobs(["a", "nobody"]))
    assert set(locked) == {"a"}
    job = locked["a"]
    assert (job.state, job.priority, job.max_failures, job.lane) == (State.QUEUED, 3, 2, "h")
    assert (job.policy.base, job.hook, job.run_at, job.submitted_at) == (9, "http://h", START, START)


def test_a_claim_makes_a_lease_and_raises_the_attempt(bench: Bench):
    bench.insert(a_job("a", data=Raw(b'{"x": 1}'), args=Raw(b"[2]"), owner="ana", hook="http://h"))
    bench.register()
    spec = HandlerSpec(name="h", timeout=2.5, retries=4)
    ((claimed,),) = bench.write(lambda tx: tx.claim_jobs("w", [Take(turn_of(a_job("a", owner="ana")), 1, spec)]))
    assert isinstance(claimed, Claimed)
    assert (claimed.queue, claimed.lane, claimed.ready_at) == ("default", "h", START)
    lease = claimed.lease
    assert (lease.job, lease.attempt, lease.handler, bytes(lease.data), bytes(lease.args)) == (
        "a",
        1,
        "h",
        b'{"x": 1}',
        b"[2]",
    )
    assert (lease.owner, lease.hook, lease.timeout_s) == ("ana", "http://h", 2.5)
    job = bench.get("a")
    assert (job.state, job.attempt, job.worker, job.started_at) == (State.RUNNING, 1, "w", START)
    assert (job.timeout_s, job.max_failures, job.deadline_at) == (2.5, 5, START + 2_500_000)
    assert bench.counts() == {("default", "h", "running"): 1}


def test_an_attempt_joins_its_submitters_trace_if_it_starts_at_once_and_is_linked_to_it_if_later(bench: Bench):
    now = a_job("now", traceparent=TRACE, queue="q")
    later = a_job("later", traceparent=TRACE, state=State.SCHEDULED, run_at=START + SECOND)
    bench.insert(now, later, a_job("none"))
    bench.register()
    leases = bench.claim("now", "none")
    assert [(lease.traceparent, lease.trace_link, lease.queue) for lease in leases] == [
        (TRACE, None, "q"),
        (None, None, "default"),
    ]
    due = Settlement(state=State.QUEUED, run_at=START + SECOND, failures=0, crashes=0)
    bench.write(lambda tx: tx.move_jobs([(later, due)]))
    again = Settlement(state=State.QUEUED, run_at=START, failures=1, crashes=0)
    held = bench.write(lambda tx: tx.lock_jobs(["now"]))["now"]
    bench.write(lambda tx: tx.settle_jobs([(held, again)]))
    for job in ("later", "now"):
        (lease,) = bench.claim(job)
        assert (lease.traceparent, lease.trace_link) == (None, TRACE), job


def test_what_the_job_says_wins_over_its_handler(bench: Bench):
    bench.insert(a_job("a", timeout_s=9.0, max_failures=2))
    bench.claim("a", spec=HandlerSpec(name="h", timeout=1, retries=0))
    job = bench.get("a")
    assert (job.timeout_s, job.max_failures, job.deadline_at) == (9.0, 2, START + 9 * SECOND)


def test_without_a_timeout_there_is_no_deadline(bench: Bench):
    bench.insert(a_job("a"))
    assert bench.claim("a")[0].timeout_s is None
    job = bench.get("a")
    assert (job.deadline_at, job.max_failures) == (None, 1)


def test_a_claim_takes_the_first_of_each_row_that_are_queued_still(bench: Bench):
    bench.insert(
        a_job("a"), a_job("b", state=State.SCHEDULED), a_job("c"), a_job("d", priority=1), a_job("e"),
        a_job("f", handler="i"), a_job("g", queue="other"),
    )  # fmt: skip
    assert [lease.job for lease in bench.claim("d", "a")] == ["d", "a"]

    async def write(tx: Tx) -> list[list[Claimed]]:
        rows = [TurnName("default", 0, "default", "i"), TurnName("default", 0, "default", "h")]
        one, two = Take(rows[0], 5, HandlerSpec(name="i", retries=2)), Take(rows[1], 1, None)
        three = Take(TurnName("other", 0, "default", "x"), 5, None)
        return await tx.claim_jobs("v", [one, two, three])

    claimed = bench.write(write)
    assert [[c.lease.job for c in of_lane] for of_lane in claimed] == [["f"], ["c"], []]
    assert [c.max_failures for of_lane in claimed for c in of_lane] == [3, 1]
    assert [row.job for row in bench.read(lambda tx: tx.running_of("v"))] == ["c", "f"]
    assert [lease.job for lease in bench.claim("e", worker="v")] == ["e"]


def test_a_scripts_placeholders_are_filled_in(bench: Bench):
    bench.insert(a_job("a", kind="script", handler=None, script="echo {{x}} {{x|raw}}", variables={"x": "a b"}))
    (lease,) = bench.claim("a")
    assert (lease.kind, lease.handler, lease.script) == ("script", None, "echo 'a b' a b")


def test_a_transaction_sees_its_own_lanes_and_counts(bench: Bench):
    async def write(tx: Tx) -> tuple[list[tuple[str, str]], int]:
        await tx.insert_jobs([a_job("a", queue="new")])
        return await tx.ready_lanes(), sum(row.n for row in await tx.counts())

    assert bench.write(write) == ([("new", "h")], 1)


SETTLEMENTS = [
    Settlement(state=State.SUCCEEDED, run_at=START, failures=0, crashes=0, finished_at=START + 9, result=Raw(b'{"r": 1}')),
    Settlement(
        state=State.FAILED, run_at=START, failures=2, crashes=1, finished_at=START + 9, reason=Reason.LOST,
        error=Failure(type="E", message="m", traceback="t"),
    ),
    Settlement(state=State.SCHEDULED, run_at=START + 77, failures=1, crashes=2, error=Failure(type="E", message="m")),
    Settlement(state=State.QUEUED, run_at=START + 3, failures=0, crashes=1),
]  # fmt: skip


@pytest.mark.parametrize("settlement", SETTLEMENTS, ids=lambda s: s.state.value)
def test_settling_writes_every_field(bench: Bench, settlement: Settlement):
    bench.insert(a_job("a", timeout_s=5.0))
    bench.register()
    bench.claim("a")
    bench.write(lambda tx: tx.unname_leases([("a", 1, START + 1)]))
    job = bench.lock("a")
    bench.write(lambda tx: tx.settle_jobs([(job, settlement)]))
    found = bench.get("a")
    for field in Settlement.__struct_fields__:
        assert getattr(found, field) == getattr(settlement, field), field
    assert (found.attempt, found.deadline_at) == (1, None)
    assert found.worker == ("w" if settlement.state in FINAL else None)
    assert bench.read(lambda tx: tx.running_of("w")) == []
    assert bench.counts() == {("default", "h", settlement.state.value): 1}


def test_an_abort_is_settled_with_its_flag(bench: Bench):
    bench.insert(a_job("a"))
    bench.claim("a")
    job = bench.lock("a")
    bench.write(lambda tx: tx.request_aborts([job]))
    bench.now += 5
    bench.write(lambda tx: tx.request_aborts([job]))
    assert bench.lock("a").abort_requested_at == START, "the first request stays"
    bench.settle("a", Outcome.LOST)
    found = bench.get("a")
    assert (found.state, found.confirmed, found.abort_requested_at) == (State.ABORTED, False, START)


def test_what_is_known_to_have_succeeded_is_settled_where_nothing_came_between(bench: Bench):
    bench.register("w")
    bench.register("v")
    names = ["a", "aborted", "again", "b", "lost", "other"]
    bench.insert(*(a_job(name) for name in names))
    bench.claim(*names[:-1], worker="w")
    bench.claim("other", worker="v")
    known = {name: bench.get(name) for name in names}
    bench.write(lambda tx: tx.request_aborts([known["aborted"]]))
    for name in ("again", "lost"):
        bench.settle(name, Outcome.INTERRUPTED)
    bench.claim("again", worker="w")

    def settled(worker: str) -> set[str]:
        async def write(tx: Tx) -> set[str]:
            ends = [(job, settle(job, _success(job), tx.now, 0.0)) for _, job in sorted(known.items())]
            return await tx.settle_known(worker, ends)

        return bench.write(write)

    assert settled("w") == {"a", "b"}
    assert settled("w") == set(), "once"
    found = bench.get("a")
    assert (found.state, found.result, found.worker, found.attempt) == (State.SUCCEEDED, Raw(b'"a"'), "w", 1)
    assert found.finished_at is not None and (found.error, found.reason, found.confirmed) == (None, None, None)
    states = {name: bench.get(name).state for name in ("aborted", "again", "lost", "other")}
    assert states == {"aborted": "running", "again": "running", "lost": "queued", "other": "running"}
    assert bench.counts() == {
        ("default", "h", "succeeded"): 2,
        ("default", "h", "running"): 3,
        ("default", "h", "queued"): 1,
    }


def _success(job: Job) -> Report:
    return Report(job=job.id, attempt=job.attempt, outcome=Outcome.SUCCEEDED, result=Raw(b'"%s"' % job.id.encode()))


def test_a_settlement_of_another_attempt_changes_no_row(bench: Bench):
    bench.insert(a_job("a"))
    bench.claim("a")
    stale = bench.lock("a")
    bench.settle("a", Outcome.INTERRUPTED)
    bench.claim("a")
    before = bench.get("a")
    bench.write(lambda tx: tx.settle_jobs([(stale, SETTLEMENTS[0])]))
    assert bench.get("a") == before


def test_a_claim_after_a_failed_attempt_forgets_its_error_and_progress(bench: Bench):
    bench.insert(a_job("a", max_failures=9))
    bench.register()
    bench.claim("a")
    bench.write(lambda tx: tx.set_progress("w", [("a", 1, Progress(0.5, "half"))]))
    bench.settle("a", Outcome.ERRORED, error=Failure(type="E", message="m"), retry_in_s=0.0)
    assert bench.get("a").error == Failure(type="E", message="m")
    (lease,) = bench.claim("a")
    found = bench.get("a")
    assert (lease.attempt, found.attempt, found.error, found.progress, found.failures) == (2, 2, None, None, 1)


@pytest.mark.parametrize("state", [State.BLOCKED, State.SCHEDULED, State.QUEUED])
def test_what_waits_is_moved(bench: Bench, state: State):
    bench.insert(
        a_job("z"),
        a_job("a", state=state, waiting_for=int(state is State.BLOCKED), after=["z"] if state is State.BLOCKED else []),
    )
    job = bench.lock("a")
    error = Failure(type="requested", message="x")
    bench.write(lambda tx: tx.move_jobs([(job, cancel(job, START + 1, Reason.REQUESTED, error))]))
    found = bench.get("a")
    assert (found.state, found.finished_at, found.reason, found.error) == (
        State.CANCELED,
        START + 1,
        Reason.REQUESTED,
        error,
    )
    assert bench.counts() == {("default", "h", "canceled"): 1, ("default", "h", "queued"): 1}


def test_promoting_takes_what_is_due_the_longest_due_first(bench: Bench):
    bench.insert(
        a_job("a", state=State.SCHEDULED, run_at=START + 20), a_job("b", state=State.SCHEDULED, run_at=START + 10),
        a_job("c", state=State.SCHEDULED, run_at=START + 30), a_job("d"),
    )  # fmt: skip
    bench.now = START + 9
    assert bench.read(lambda tx: tx.due_jobs(10)) == []
    bench.now = START + 20
    assert bench.read(lambda tx: tx.due_jobs(10)) == ["b", "a"]
    assert bench.read(lambda tx: tx.due_jobs(1)) == ["b"]
    job = bench.lock("b")
    bench.write(lambda tx: tx.move_jobs([(job, release(job, bench.now))]))
    assert bench.read(lambda tx: tx.due_jobs(10)) == ["a"]
    assert bench.get("b").state is State.QUEUED


def test_editing_a_waiting_job_moves_its_counters(bench: Bench):
    bench.insert(a_job("a"))
    job = bench.lock("a")
    bench.write(lambda tx: tx.edit_job(job, priority=4, run_at=START + 60, queue="q", state="scheduled"))
    found = bench.get("a")
    assert (found.priority, found.run_at, found.queue, found.state) == (4, START + 60, "q", State.SCHEDULED)
    assert bench.counts() == {("q", "h", "scheduled"): 1}


def test_overdue_attempts_come_the_longest_overdue_first(bench: Bench):
    bench.insert(a_job("a", timeout_s=20.0, grace_s=1.0), a_job("b", timeout_s=10.0), a_job("c"))
    bench.claim("a", "b", "c")
    assert bench.read(lambda tx: tx.overdue_jobs(START + 10 * SECOND - 1, 9)) == []
    overdue = bench.read(lambda tx: tx.overdue_jobs(START + 20 * SECOND, 9))
    assert [(o.job, o.attempt, o.worker, o.deadline_at, o.grace_s) for o in overdue] == [
        ("b", 1, "w", START + 10 * SECOND, 5.0), ("a", 1, "w", START + 20 * SECOND, 1.0)
    ]  # fmt: skip
    assert len(bench.read(lambda tx: tx.overdue_jobs(START + 20 * SECOND, 1))) == 1


def test_dependencies(bench: Bench):
    bench.insert(a_job("a"), a_job("b"), a_job("c", state=State.BLOCKED, waiting_for=2, after=["b", "a"]))
    bench.insert(a_job("d", state=State.BLOCKED, waiting_for=1, after=["a"], after_on={"a": "failed"}, least=1))
    edges = bench.read(lambda tx: tx.edges_from(["a", "b", "c"], 9))
    assert {(edge.after, edge.job, edge.on) for edge in edges} == {
        ("b", "c", "succeeded"), ("a", "c", "succeeded"), ("a", "d", "failed"),
    }  # fmt: skip
    assert len(bench.read(lambda tx: tx.edges_from(["a", "b"], 2))) == 2
    waiting = bench.read(lambda tx: tx.dependents_of(["a", "b", "c", "d"]))
    assert sorted((d.after, d.job, d.on) for d in waiting) == [
        ("a", "c", "succeeded"), ("a", "d", "failed"), ("b", "c", "succeeded")
    ]  # fmt: skip
    assert unmet(bench, "c") == ["a", "b"]
    assert len(bench.read(lambda tx: tx.unmet_of("c", 1))) == 1

    async def first(tx: Tx) -> None:
        assert set(await tx.lock_free(["c"])) == {"c"}
        await tx.tell([Dependency("a", each, "succeeded", State.SUCCEEDED) for each in "cd"], ["c"])
        await tx.set_waits([("c", 1, 0)])

    bench.write(first)
    assert unmet(bench, "c") == ["b"]
    assert bench.read(lambda tx: tx.dependents_of(["a"])) == []
    assert (bench.get("c").waiting_for, bench.get("c").spare) == (1, 0)
    assert bench.get("c").after == ["b", "a"], "in the order given, met or not"
    assert (bench.get("d").after_on, bench.get("d").least) == ({"a": "failed"}, 1)
    assert bench.read(lambda tx: tx.wakeups()).told, "d was told, and nobody has counted it"
    assert bench.read(lambda tx: tx.told_jobs(9)) == ["d"]
    assert bench.read(lambda tx: tx.told_of(["c", "d"])) == [Dependency("a", "d", "failed", State.SUCCEEDED)]

    async def last(tx: Tx) -> None:
        job = (await tx.lock_jobs(["c"]))["c"]
        await tx.tell([Dependency("b", "c", "succeeded", State.SUCCEEDED), *await tx.told_of(["d"])], ["c", "d"])
        await tx.move_jobs([(job, release(job, tx.now))])

    bench.write(last)
    assert (bench.get("c").state, bench.get("c").waiting_for) == (State.QUEUED, 0)
    assert not bench.read(lambda tx: tx.wakeups()).told


def unmet(bench: Bench, job: str) -> list[str]:
    return sorted(each.after for each in bench.read(lambda tx: tx.unmet_of(job, 9)))


def test_what_was_over_before_is_met_at_once(bench: Bench):
    bench.insert(a_job("a"), a_job("b"))
    bench.claim("a")
    bench.settle("a")
    bench.insert(a_job("c", state=State.BLOCKED, waiting_for=1, after=["a", "b"], told={"a": State.SUCCEEDED}))
    assert unmet(bench, "c") == ["b"]
    assert bench.read(lambda tx: tx.dependents_of(["a"])) == []


def test_pruning_removes_a_job_with_all_that_belongs_to_it(bench: Bench):
    bench.register()
    bench.insert(
        a_job("a", labels={"k": "v"}, hook="http://h"),
        a_job("b"),
        a_job("c", state=State.BLOCKED, waiting_for=1, after=["a"]),
    )
    bench.claim("a")

    async def history(tx: Tx) -> None:
        await tx.append_events([NewEvent("a", "default", "submitted", State.QUEUED)])
        await tx.insert_attempts(
            [("a", Attempt(attempt=1, worker="w", started_at=1, finished_at=2, outcome=Outcome.SUCCEEDED))]
        )
        await tx.insert_deliveries([("m", "a", "http://h", "{}")])

    bench.write(history)
    bench.settle("a")
    assert bench.read(lambda tx: tx.over_before(START, 9)) == []
    old = bench.read(lambda tx: tx.over_before(START + 1, 9))
    assert old == [("a", "default", "h", "succeeded")]
    bench.write(lambda tx: tx.delete_jobs(old))
    assert bench.read(lambda tx: tx.get_job("a")) is None
    assert bench.read(lambda tx: tx.events_of("a", 0, 9)) == []
    assert bench.read(lambda tx: tx.attempts_of("a")) == []
    assert bench.read(lambda tx: tx.deliveries_of("a")) == []
    assert bench.read(lambda tx: tx.find_jobs(Query(labels=[("k", "v")]))) == ([], None)
    assert bench.counts() == {("default", "h", "queued"): 1, ("default", "h", "blocked"): 1}


def test_the_oldest_over_comes_first_and_in_batches(bench: Bench):
    for at, name in enumerate("cab"):
        bench.insert(a_job(name))
        bench.claim(name)
        bench.now = START + at
        bench.settle(name)
    assert [job for job, *_ in bench.read(lambda tx: tx.over_before(START + 99, 2))] == ["c", "a"]


def test_when_there_is_something_to_do_next(bench: Bench):
    nothing = bench.read(lambda tx: tx.wakeups())
    assert (nothing.due, nothing.deadline, nothing.lease, nothing.delivery) == (None, None, None, None)
    bench.insert(a_job("a", state=State.SCHEDULED, run_at=START + 7), a_job("b", timeout_s=3.0))
    bench.register(lease_s=15)
    bench.claim("b")
    bench.write(lambda tx: tx.insert_deliveries([("m", "a", "http://h", "{}")]))
    then = bench.read(lambda tx: tx.wakeups())
    assert (then.due, then.deadline) == (START + 7, START + 3 * SECOND)
    assert (then.lease, then.delivery) == (START + 15 * SECOND, START)
    bench.write(lambda tx: tx.unname_leases([("b", 1, START + 4)]))
    assert bench.read(lambda tx: tx.wakeups()).lease == START + 4


# -- listings

MANY = [
    {"owner": "ana", "queue": "q", "labels": {"k": "1", "l": "x"}},
    {"owner": "ana", "state": State.SCHEDULED, "labels": {"k": "1"}},
    {"owner": "bob", "handler": "i", "labels": {"k": "2"}},
    {"owner": "bob", "queue": "q", "state": State.SCHEDULED},
    {"kind": "script", "handler": None, "script": "true"},
]


def many(bench: Bench) -> list[Any]:
    jobs = [a_job(f"j{n:03}", **MANY[n % len(MANY)]) for n in range(40)]
    bench.insert(*jobs)
    return jobs


FILTERS: list[tuple[Query, Any]] = [
    (Query(), lambda j: True),
    (Query(owner="ana"), lambda j: j.owner == "ana"),
    (Query(states=[State.SCHEDULED]), lambda j: j.state is State.SCHEDULED),
    (Query(states=[State.SCHEDULED, State.QUEUED, State.FAILED]), lambda j: True),
    (Query(queue="q"), lambda j: j.queue == "q"),
    (Query(handler="i"), lambda j: j.handler == "i"),
    (Query(labels=[("k", "1")]), lambda j: (j.labels or {}).get("k") == "1"),
    (Query(labels=[("k", "1"), ("l", "x")]), lambda j: (j.labels or {}).get("l") == "x"),
    (Query(owner="bob", queue="q", states=[State.SCHEDULED]), lambda j: j.owner == "bob" and j.queue == "q"),
    (Query(from_id="j010", below_id="j020"), lambda j: "j010" <= j.id < "j020"),
    (Query(owner="nobody"), lambda j: False),
]


@pytest.mark.parametrize(("query", "chosen"), FILTERS)
@pytest.mark.parametrize("limit", [1, 7, 8, 100])
def test_a_listing_is_newest_first_page_by_page(bench: Bench, query: Query, chosen: Any, limit: int):
    from msgspec.structs import replace

    expected = [job.id for job in reversed(many(bench)) if chosen(job)]
    seen: list[str] = []
    query = replace(query, limit=limit)
    pages = 0
    while True:
        jobs, cursor = bench.read(lambda tx, query=query: tx.find_jobs(query))
        seen += [job.id for job in jobs]
        pages += 1
        assert len(jobs) <= limit
        if cursor is None:
            break
        query = replace(query, cursor=cursor)
    assert seen == expected
    several = sum((query.owner is not None, query.queue is not None, bool(query.states), len(query.labels) > 1)) > 1
    if pages > 1 and not several:  # with several filters a page may be empty
        assert pages == -(-len(expected) // limit), "no page is empty at the end"


def test_a_listing_shows_whole_jobs(bench: Bench):
    bench.insert(a_job("a", labels={"k": "v"}, data=Raw(b'"x"')), a_job("b", data=NULL))
    jobs, _ = bench.read(lambda tx: tx.find_jobs(Query()))
    assert jobs == [bench.get("b"), bench.get("a")]


def test_a_listing_that_grows_meanwhile_repeats_and_misses_nothing(bench: Bench):
    bench.insert(*(a_job(f"j{n}") for n in range(3, 9)))
    page, cursor = bench.read(lambda tx: tx.find_jobs(Query(limit=3)))
    bench.insert(a_job("j9"), a_job("j1"))
    rest, _ = bench.read(lambda tx: tx.find_jobs(Query(limit=9, cursor=cursor)))
    assert [job.id for job in page + rest] == ["j8", "j7", "j6", "j5", "j4", "j3", "j1"]
