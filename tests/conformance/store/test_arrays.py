"""Arrays: inputs in pieces, shards, what is to run again, and results; `open` and the counters go with them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from rota.core.arrays import Range, Shard
from rota.core.jobs import Array, Attempt, Failure, HandlerSpec, InputResult, Job, RunOptions
from rota.core.settling import Settlement
from rota.core.states import Outcome, Reason, State
from rota.store.protocol import Query, Tx
from rota.store.rows import Claimed

from .bench import SECOND, START, Bench, a_job


def an_array(name: str, inputs: int = 10, **fields: Any) -> Job:
    values = {"inputs": inputs, "root": f"root-{name}", **fields.pop("array", {})}
    return a_job(name, array=Array(**values), **fields)


def insert(bench: Bench, *jobs: Job) -> None:
    """Write arrays with their inputs: the numbers."""

    async def write(tx: Tx) -> None:
        for job in jobs:
            assert job.array is not None
            await tx.begin_upload(job.array.root)
            body = "[" + ",".join(str(n) for n in range(job.array.inputs)) + "]"
            await tx.insert_inputs(job.array.root, [(0, job.array.inputs, body)])
        await tx.insert_jobs(jobs)

    bench.write(write)


def cut(bench: Bench, job: str, n: int = 2, worker: str = "w", spec: HandlerSpec | None = None) -> Claimed:
    """Cut a shard of the next `n` inputs, as the service does it."""

    async def write(tx: Tx) -> Claimed:
        locked = (await tx.lock_jobs([job]))[job]
        array = await tx.get_array(job)
        assert array is not None
        offer = await tx.cut_array(locked, spec)
        assert offer is not None
        locked.state = State.RUNNING
        await tx.insert_shard(Shard(job, offer.lease.attempt, worker, array.cursor, n, array.cursor, started_at=tx.now))
        array.cursor += n
        array.live += 1
        await tx.put_array(job, array)
        await tx.set_open(locked, array.cursor < array.inputs)
        return offer

    return bench.write(write)


def result(index: int, state: State = State.SUCCEEDED, **fields: Any) -> InputResult:
    outcome = Outcome.SUCCEEDED if state is State.SUCCEEDED else Outcome.ERRORED
    return InputResult(index=index, state=state, outcome=outcome, attempt=1, **fields)


def a_range(first: int, n: int, run_at: int = START, **fields: int) -> Range:
    return Range(first=first, n=n, run_at=run_at, **fields)


def counted(bench: Bench) -> set[tuple[str, str]]:
    """Return what may be claimed."""
    return set(bench.read(lambda tx: tx.ready_lanes()))


# -- the array itself


def test_an_array_is_read_as_it_was_written_and_changed(bench: Bench):
    job = an_array(
        "a", array={"parallel": 3, "halt": "now,fail=1", "root": "r", "base": "b", "done": 2, "ran_s": 0.5, "cursor": 10},
        options=RunOptions(env={"A": "b"}), kind="command", handler=None, script="echo {}", api="d",
    )  # fmt: skip
    insert(bench, job)
    assert bench.get("a") == job
    assert bench.read(lambda tx: tx.get_array("nobody")) is None
    locked = bench.lock("a")
    assert locked.array is not None and locked.array.inputs == 10
    assert not locked.open
    assert job.array is not None
    job.array.cursor, job.array.done, job.array.failed, job.array.live = 9, 4, 1, 2
    job.array.halted, job.array.ran_s, job.array.proven = "now,fail=1", 1.25, False
    array = job.array
    bench.write(lambda tx: tx.put_array("a", array))
    assert bench.get("a").array == array
    assert bench.read(lambda tx: tx.find_jobs(Query()))[0] == [bench.get("a")]


def test_a_job_without_inputs_has_no_array(bench: Bench):
    bench.insert(a_job("a"))
    assert bench.get("a").array is None
    assert bench.lock("a").array is None
    assert bench.read(lambda tx: tx.get_array("a")) is None


def test_arrays_have_lanes_of_their_own(bench: Bench):
    insert(bench, an_array("b"))
    bench.insert(a_job("a"), a_job("c"))
    for lane, jobs in (("h", ["a", "c"]), ("array:h", ["b"])):
        assert bench.heads(lane) == jobs


def test_a_cut_starts_an_array_and_every_further_one_raises_the_attempt(bench: Bench):
    insert(bench, an_array("a", run_at=START - 5))
    bench.register()
    spec = HandlerSpec(name="h", timeout=2.5, retries=4)
    offer = cut(bench, "a", 4, spec=spec)
    assert (offer.lease.attempt, offer.lease.timeout_s, offer.max_failures, offer.ready_at) == (1, 2.5, 5, START - 5)
    found = bench.get("a")
    assert (found.state, found.attempt, found.started_at, found.worker) == (State.RUNNING, 1, START, None)
    assert (found.max_failures, found.deadline_at, found.open) == (5, None, True)
    assert bench.counts() == {("default", "array:h", "running"): 1}, "that it is open is counted apart"
    assert counted(bench) == {("default", "array:h")}
    bench.now += SECOND
    assert cut(bench, "a", 6, spec=spec).lease.attempt == 2
    found = bench.get("a")
    assert (found.attempt, found.started_at, found.open) == (2, START, False)
    assert counted(bench) == set()
    assert bench.heads("array:h") == []


def test_what_cannot_be_cut_is_not_offered(bench: Bench):
    insert(bench, an_array("a", 2), an_array("b", state=State.SCHEDULED))
    cut(bench, "a", 2)
    for name in ("a", "b"):
        job = bench.lock(name)
        assert bench.write(lambda tx, job=job: tx.cut_array(job, None)) is None
    assert (bench.get("a").attempt, bench.get("b").attempt) == (1, 0)


def test_an_array_is_opened_and_closed_once_however_often_it_is_said(bench: Bench):
    insert(bench, an_array("a"), an_array("b"))
    for name in "ab":
        cut(bench, name)

    async def write(tx: Tx) -> None:
        job = (await tx.lock_jobs(["a"]))["a"]
        for value in (True, False, False, True, True, False):
            await tx.set_open(job, value)
            assert job.open is value

    bench.write(write)
    assert (bench.get("a").open, bench.get("b").open) == (False, True)
    assert counted(bench) == {("default", "array:h")}
    assert bench.heads("array:h") == ["b"]

    async def close(tx: Tx) -> None:
        await tx.set_open((await tx.lock_jobs(["b"]))["b"], False)

    bench.write(close)
    assert counted(bench) == set()


def test_only_a_running_array_can_be_open(bench: Bench):
    insert(bench, an_array("a"))
    bench.insert(a_job("b"))
    bench.claim("b")
    for job in "ab":
        with pytest.raises(bench.kind.refusal):
            bench.kind.sql(f"UPDATE rota_jobs SET open = TRUE WHERE id = '{job}'")


def test_the_end_of_an_array_is_written_like_any_jobs(bench: Bench):
    insert(bench, an_array("a"))
    cut(bench, "a", 10)
    error = Failure(type="inputs", message="1 of 10")
    end = Settlement(
        state=State.FAILED, run_at=START, failures=0, crashes=0, finished_at=START + 9, error=error, reason=Reason.ERROR
    )
    job = bench.lock("a")
    bench.write(lambda tx: tx.settle_jobs([(job, end)]))
    found = bench.get("a")
    assert (found.state, found.finished_at, found.error, found.worker) == (State.FAILED, START + 9, error, None)
    assert bench.counts() == {("default", "array:h", "failed"): 1}


# -- inputs


def test_inputs_lie_in_pieces_and_each_is_found_by_any_of_its_numbers(bench: Bench):
    pieces = [(0, 3, '["a",1,null]'), (3, 1, '[{"ü": 2}]'), (4, 2, "[[],{}]")]

    async def write(tx: Tx) -> None:
        await tx.begin_upload("r")
        await tx.insert_inputs("r", pieces[:2])
        await tx.begin_upload("r")
        await tx.insert_inputs("r", pieces[2:])
        await tx.insert_inputs("s", [(0, 1, "[7]")])

    bench.write(write)
    for index, piece in enumerate([pieces[0]] * 3 + [pieces[1]] + [pieces[2]] * 2):
        assert bench.read(lambda tx, index=index: tx.inputs_at("r", index)) == piece
    assert bench.read(lambda tx: tx.inputs_at("s", 0)) == (0, 1, "[7]")
    assert bench.read(lambda tx: tx.inputs_at("nobody", 0)) is None


def test_an_upload_that_no_job_came_of_is_found_and_removed_and_one_with_a_job_stays(bench: Bench):
    async def write(tx: Tx) -> None:
        for root in ("old", "root-a"):
            await tx.begin_upload(root)
            await tx.insert_inputs(root, [(0, 2, "[1,2]")])

    bench.write(write)
    bench.now += SECOND
    bench.write(lambda tx: tx.begin_upload("old"))
    bench.write(lambda tx: tx.begin_upload("new"))
    bench.insert(an_array("a", 2))
    assert bench.read(lambda tx: tx.old_uploads(START, 9)) == []
    assert bench.read(lambda tx: tx.old_uploads(START + 1, 9)) == ["old"], "it began when it was first said"
    assert sorted(bench.read(lambda tx: tx.old_uploads(START + 2 * SECOND, 9))) == ["new", "old"]
    assert len(bench.read(lambda tx: tx.old_uploads(START + 2 * SECOND, 1))) == 1
    for root in ("old", "root-a", "nobody"):
        bench.write(lambda tx, root=root: tx.delete_upload(root))
    assert bench.read(lambda tx: tx.inputs_at("old", 0)) is None
    assert bench.read(lambda tx: tx.inputs_at("root-a", 0)) == (0, 2, "[1,2]"), "they are a job's"
    assert bench.read(lambda tx: tx.old_uploads(START + 2 * SECOND, 9)) == ["new"]


# -- shards


def test_a_shard_is_read_as_it_was_written_until_it_ends(bench: Bench):
    insert(bench, an_array("a"), an_array("b"))
    shard = Shard("a", 2, "w", 3, 4, 3, failures=1, crashes=2, started_at=START)
    others = [Shard("a", 1, "v", 0, 3, 0, started_at=START), Shard("b", 2, "w", 0, 9, 0, started_at=START)]
    for one in (shard, *others):
        bench.write(lambda tx, one=one: tx.insert_shard(one))
    assert bench.read(lambda tx: tx.get_shard("a", 2)) == shard
    assert bench.read(lambda tx: tx.get_shard("a", 3)) is None
    assert bench.read(lambda tx: tx.shards_of("a")) == [others[0], shard]
    shard.told = 6
    bench.write(lambda tx: tx.note_told(shard))
    assert bench.read(lambda tx: tx.get_shard("a", 2)) == shard
    bench.write(lambda tx: tx.delete_shard(shard))
    assert bench.read(lambda tx: tx.get_shard("a", 2)) is None
    assert bench.read(lambda tx: tx.shards_of("b")) == [others[1]]


def test_a_worker_holds_its_shards_beside_its_jobs(bench: Bench):
    bench.register()
    insert(bench, an_array("a", grace_s=0.5, array={"halt": "soon,fail=1"}))
    bench.insert(a_job("b"))
    bench.claim("b")
    cut(bench, "a")
    cut(bench, "a", worker="v")
    cut(bench, "a")
    rows = sorted(bench.read(lambda tx: tx.running_of("w")), key=lambda row: (row.job, row.attempt))
    assert [(row.job, row.attempt, bool(row.shard)) for row in rows] == [
        ("a", 1, True),
        ("a", 3, True),
        ("b", 1, False),
    ]
    assert (rows[0].grace_s, rows[0].halt, rows[0].halted, rows[0].abort_requested_at) == (
        0.5,
        "soon,fail=1",
        None,
        None,
    )
    job, array = bench.lock("a"), bench.get("a").array
    assert array is not None
    array.halted = array.halt
    bench.write(lambda tx: tx.put_array("a", array))
    bench.write(lambda tx: tx.request_aborts([job]))
    row = next(row for row in bench.read(lambda tx: tx.running_of("v")))
    assert (row.attempt, row.halted, row.abort_requested_at) == (2, "soon,fail=1", START)
    for who, name, attempt, held in (
        ("w", "a", 1, True),
        ("v", "a", 1, False),
        ("v", "a", 2, True),
        ("w", "a", 9, False),
    ):
        assert bench.read(lambda tx, w=who, n=name, a=attempt: tx.holds(w, n, a)) is held


def test_a_shards_lease_gets_an_end_of_its_own_and_loses_it_again(bench: Bench):
    bench.register()
    insert(bench, an_array("a"))
    for _ in range(3):
        cut(bench, "a")
    assert bench.read(lambda tx: tx.wakeups()).lease == START + 15 * SECOND
    bench.write(lambda tx: tx.unname_shards([("a", 1, START + 9), ("a", 3, START + 4), ("nobody", 1, START)]))
    assert bench.read(lambda tx: tx.wakeups()).lease == START + 4
    assert {row.attempt: row.lease_until for row in bench.read(lambda tx: tx.running_of("w"))} == {
        1: START + 9,
        2: None,
        3: START + 4,
    }
    assert bench.read(lambda tx: tx.unnamed_shards(9)) == []
    bench.now = START + 9
    assert bench.read(lambda tx: tx.unnamed_shards(9)) == [("a", 3), ("a", 1)]
    assert bench.read(lambda tx: tx.unnamed_shards(1)) == [("a", 3)]
    bench.write(lambda tx: tx.unname_shards([("a", 3, None)]))
    assert bench.read(lambda tx: tx.unnamed_shards(9)) == [("a", 1)]
    assert bench.read(lambda tx: tx.unnamed_leases(9)) == []


def test_a_clock_that_was_set_back_shortens_the_leases_of_shards(bench: Bench):
    insert(bench, an_array("a"))
    cut(bench, "a")
    cut(bench, "a")
    bench.write(lambda tx: tx.unname_shards([("a", 1, START + 900 * SECOND), ("a", 2, START + 1)]))
    bench.write(lambda tx: tx.clamp_leases(START + SECOND))
    assert {s.attempt: s.lease_until for s in bench.read(lambda tx: tx.shards_of("a"))} == {
        1: START + SECOND,
        2: START + 1,
    }


# -- what is to run again


def test_ranges_come_lowest_first_when_their_time_has_come(bench: Bench):
    insert(bench, an_array("a", 100), an_array("b", 100))
    now, later = a_range(40, 2, failures=1, crashes=2), a_range(10, 1, run_at=START + 5)
    bench.write(lambda tx: tx.put_ranges("a", [now, a_range(20, 3, run_at=START - 9), later]))
    bench.write(lambda tx: tx.put_ranges("b", [a_range(0, 1, run_at=START + 7)]))
    assert bench.read(lambda tx: tx.ready_ranges("a", 9)) == [a_range(20, 3, run_at=START - 9), now]
    assert bench.read(lambda tx: tx.ready_ranges("a", 1)) == [a_range(20, 3, run_at=START - 9)]
    assert bench.read(lambda tx: tx.ready_ranges("b", 9)) == []
    assert bench.read(lambda tx: tx.wakeups()).due == START + 5
    bench.now = START + 5
    assert bench.write(lambda tx: tx.promote_ranges(9)) == {"a"}
    assert bench.write(lambda tx: tx.promote_ranges(9)) == set()
    assert bench.read(lambda tx: tx.ready_ranges("a", 1)) == [later]
    bench.now = START + 7
    assert bench.read(lambda tx: tx.wakeups()).due == START + 7
    assert bench.write(lambda tx: tx.promote_ranges(0)) == set()
    assert bench.write(lambda tx: tx.promote_ranges(9)) == {"b"}
    bench.write(lambda tx: tx.delete_ranges("a", [later, now]))
    assert [r.first for r in bench.read(lambda tx: tx.ready_ranges("a", 9))] == [20]
    assert [r.first for r in bench.read(lambda tx: tx.ready_ranges("b", 9))] == [0]


def test_a_range_takes_the_place_of_one_that_began_there(bench: Bench):
    insert(bench, an_array("a"))
    bench.write(lambda tx: tx.put_ranges("a", [a_range(3, 2), a_range(7, 1)]))
    bench.write(lambda tx: tx.put_ranges("a", [a_range(3, 4, run_at=START + 9)]))
    assert bench.read(lambda tx: tx.ready_ranges("a", 9)) == [a_range(7, 1)]


# -- results


def test_results_come_in_the_order_of_the_inputs_whole_and_by_kind(bench: Bench):
    whole = result(
        4, State.FAILED, exit_code=7, duration_s=0.25, stdout="o\0ü", stderr="e", error=Failure(type="E", message="m")
    )
    good = [result(n, result=Raw(b'{"r":%d}' % n)) for n in (0, 2, 9)]
    stopped = result(6, State.ABORTED)
    bench.write(lambda tx: tx.insert_results("a", [good[2], whole, good[0]]))
    bench.write(lambda tx: tx.insert_results("a", [stopped, good[1]]))
    bench.write(lambda tx: tx.insert_results("b", [result(1)]))

    def read(after: int, limit: int, which: Any) -> list[InputResult]:
        return bench.read(lambda tx: tx.results_of("a", after, limit, which=which))

    assert read(-1, 9, "all") == [good[0], good[1], whole, stopped, good[2]]
    assert read(-1, 9, "good") == good
    assert read(-1, 9, "bad") == [whole, stopped]
    assert read(2, 2, "all") == [whole, stopped]
    assert (read(0, 1, "good"), read(4, 1, "bad"), read(9, 9, "all")) == ([good[1]], [stopped], [])
    assert bench.read(lambda tx: tx.successes_of("a", -1, 9)) == [0, 2, 9]
    assert bench.read(lambda tx: tx.successes_of("a", 0, 1)) == [2]


def test_a_result_that_is_there_is_left_as_it_is(bench: Bench):
    bench.write(lambda tx: tx.insert_results("a", [result(1)]))
    bench.write(lambda tx: tx.insert_results("a", [result(1, State.FAILED), result(2)]))
    assert bench.read(lambda tx: tx.successes_of("a", -1, 9)) == [1, 2]
    assert bench.read(lambda tx: tx.results_of("a", -1, 9, which="bad")) == []


# -- counted


def test_what_is_to_run_again_is_counted_by_bucket(bench: Bench):
    insert(bench, an_array("a", 100))
    later = START + SECOND
    ranges = [
        a_range(1, 1),
        a_range(5, 4),
        a_range(9, 23),
        a_range(40, 2, later),
        a_range(45, 1),
        a_range(49, 1, later),
    ]
    bench.write(lambda tx: tx.put_ranges("a", ranges))
    found = bench.read(lambda tx: tx.spread_ranges("a", 10))
    assert sorted(found) == [(1, 5, True), (9, 23, True), (40, 3, False), (45, 1, True)]
    assert bench.read(lambda tx: tx.spread_ranges("b", 10)) == []
    at = [bench.read(lambda tx, n=n: tx.range_at("a", n)) for n in (0, 1, 8, 39, 99)]
    assert at == [None, ranges[0], ranges[1], ranges[2], ranges[5]]


def test_results_are_counted_by_bucket(bench: Bench):
    ends = {
        0: State.SUCCEEDED,
        3: State.FAILED,
        9: State.FAILED,
        10: State.ABORTED,
        25: State.SUCCEEDED,
        26: State.SUCCEEDED,
    }
    bench.write(lambda tx: tx.insert_results("a", [result(n, state) for n, state in ends.items()]))
    bad = [(0, State.FAILED, 2), (1, State.ABORTED, 1)]

    def read(*, bad: bool) -> list[tuple[int, State, int]]:
        return sorted((t.bucket, t.state, t.n) for t in bench.read(lambda tx: tx.spread_results("a", 10, bad=bad)))

    assert read(bad=True) == bad
    assert read(bad=False) == sorted([*bad, (0, State.SUCCEEDED, 1), (2, State.SUCCEEDED, 2)])


def test_shards_that_had_an_input_come_the_newest_first(bench: Bench):
    tries = [(1, 0, 4), (2, 4, 4), (3, 2, 3), (4, None, None)]
    attempts = [
        Attempt(attempt=n, worker="w", started_at=START, finished_at=START, outcome="lost", first=first, inputs=size)
        for n, first, size in tries
    ]
    bench.write(lambda tx: tx.insert_attempts([("a", attempt) for attempt in attempts]))
    assert bench.read(lambda tx: tx.attempts_at("a", 4, 9)) == [attempts[2], attempts[1]]
    assert bench.read(lambda tx: tx.attempts_at("a", 3, 1)) == [attempts[2]]
    assert bench.read(lambda tx: tx.attempts_at("a", 8, 9)) == []


# -- pruned


def end(bench: Bench, job: str, state: State = State.SUCCEEDED) -> None:
    locked = bench.lock(job)
    bench.write(
        lambda tx: tx.settle_jobs(
            [(locked, Settlement(state=state, run_at=START, failures=0, crashes=0, finished_at=tx.now))]
        )
    )


def test_pruning_removes_an_array_with_all_that_belongs_to_it(bench: Bench):
    insert(bench, an_array("a"), an_array("b"))
    for name in "ab":
        cut(bench, name, 10)
        bench.write(lambda tx, name=name: tx.put_ranges(name, [a_range(1, 1)]))
        bench.write(lambda tx, name=name: tx.insert_results(name, [result(0), result(3)]))
    end(bench, "a")
    (old,) = bench.read(lambda tx: tx.over_before(START + 1, 9))
    assert bench.write(lambda tx: tx.delete_jobs([old])) is True
    assert bench.read(lambda tx: tx.get_job("a")) is None
    assert bench.read(lambda tx: tx.get_array("a")) is None
    assert bench.read(lambda tx: tx.inputs_at("root-a", 0)) is None
    assert bench.read(lambda tx: tx.results_of("a", -1, 9, which="all")) == []
    assert bench.read(lambda tx: tx.shards_of("a")) == bench.read(lambda tx: tx.ready_ranges("a", 9)) == []
    assert bench.read(lambda tx: tx.get_array("b")) is not None
    assert bench.read(lambda tx: tx.inputs_at("root-b", 0)) is not None
    assert len(bench.read(lambda tx: tx.results_of("b", -1, 9, which="all"))) == 2
    assert len(bench.read(lambda tx: tx.shards_of("b"))) == len(bench.read(lambda tx: tx.ready_ranges("b", 9))) == 1


def test_inputs_stay_until_the_last_array_that_has_them_goes_and_a_base_as_long_as_it_is_shown(bench: Bench):
    insert(bench, an_array("a", array={"root": "r"}))
    bench.insert(an_array("b", array={"root": "r", "base": "a"}))
    for name in "ab":
        cut(bench, name, 10)
        end(bench, name)
    old = bench.read(lambda tx: tx.over_before(START + 1, 9))
    assert [job for job, *_ in old] == ["b"], "a is what b shows"
    bench.write(lambda tx: tx.delete_jobs(old))
    assert bench.read(lambda tx: tx.inputs_at("r", 0)) is not None
    old = bench.read(lambda tx: tx.over_before(START + 1, 9))
    assert [job for job, *_ in old] == ["a"]
    bench.write(lambda tx: tx.delete_jobs(old))
    assert bench.read(lambda tx: tx.inputs_at("r", 0)) is None


def test_pruning_many_results_takes_several_transactions_also_of_many_arrays(bench: Bench):
    many = 30_000
    for name in "abc":
        insert(bench, an_array(name, many))
        bench.write(lambda tx, name=name: tx.insert_results(name, [result(n) for n in range(many)]))
        cut(bench, name, many)
        end(bench, name)
    bench.insert(a_job("d"))
    bench.claim("d")
    bench.settle("d")
    left, steps = 4, 0
    while left:
        before = bench.kind.sql("SELECT count(*) FROM rota_results")[0][0]
        old = bench.read(lambda tx: tx.over_before(START + 1, 9))
        whole = bench.write(lambda tx, old=old: tx.delete_jobs(old))
        assert before - bench.kind.sql("SELECT count(*) FROM rota_results")[0][0] <= 50_000
        left, steps = bench.kind.sql("SELECT count(*) FROM rota_jobs")[0][0], steps + 1
        assert whole == (left == 0)
    assert steps == 2
    assert bench.counts() == {}
