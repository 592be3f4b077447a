"""Workers and leases."""

from __future__ import annotations

from rota.core.forecasts import Pace
from rota.core.jobs import HandlerSpec, Progress, WorkerHello
from rota.core.states import State
from rota.store.protocol import WorkerRow

from .bench import SECOND, START, Bench, a_job

LEASE = 15 * SECOND


def worker(bench: Bench, name: str = "w") -> WorkerRow:
    row = bench.read(lambda tx: tx.get_worker(name))
    assert row is not None
    return row


def test_a_worker_is_read_as_it_registered(bench: Bench):
    hello = WorkerHello(
        name="box", scripts=True,
        handlers=[HandlerSpec(name="h", mode="async", timeout=3, retries=1, doc="d", parameters=["a"])],
        queues=["q"], slots=4, async_slots=9, max_jobs=5, pid=12, host="here", owned=True,
    )  # fmt: skip
    bench.write(lambda tx: tx.insert_worker("box.1", hello, START + LEASE))
    row = worker(bench, "box.1")
    assert row == WorkerRow("box.1", hello, START, START, START + LEASE, False, None, None)
    assert bench.read(lambda tx: tx.get_worker("nobody")) is None


def test_handlers_are_remembered_in_their_newest_form(bench: Bench):
    bench.register("v", HandlerSpec(name="h", retries=1), HandlerSpec(name="g"))
    bench.now += 5
    bench.register("w", HandlerSpec(name="h", retries=2))
    bench.write(lambda tx: tx.bury_worker("w", "left"))
    assert bench.read(lambda tx: tx.handlers()) == [
        (HandlerSpec(name="g"), START),
        (HandlerSpec(name="h", retries=2), START + 5),
    ]


def test_a_heartbeat_renews_and_a_grave_is_final(bench: Bench):
    bench.register()
    bench.now += 4 * SECOND
    bench.write(lambda tx: tx.renew_workers([("w", bench.now + LEASE)]))
    assert (worker(bench).beat_at, worker(bench).lease_until) == (bench.now, bench.now + LEASE)
    bench.write(lambda tx: tx.bury_worker("w", "left"))
    gone_at = bench.now
    bench.now += SECOND
    bench.write(lambda tx: tx.renew_workers([("w", bench.now + LEASE)]))
    bench.write(lambda tx: tx.drain_worker("w"))
    bench.write(lambda tx: tx.bury_worker("w", "again"))
    row = worker(bench)
    assert (row.gone_at, row.gone_why, row.draining, row.beat_at) == (gone_at, "left", False, gone_at)


def test_draining(bench: Bench):
    bench.register()
    bench.write(lambda tx: tx.drain_worker("w"))
    assert worker(bench).draining


def test_workers_are_listed_with_those_that_are_present_first(bench: Bench):
    for name in ("a", "b", "c"):
        bench.register(name)
        bench.now += 1
    bench.write(lambda tx: tx.bury_worker("a", "left"))
    assert [row.id for row in bench.read(lambda tx: tx.list_workers())] == ["b", "c", "a"]


def test_workers_expire_and_are_forgotten(bench: Bench):
    bench.register("a", lease_s=1)
    bench.register("b", lease_s=2)
    bench.register("c", lease_s=9)
    bench.now += SECOND - 1
    assert bench.read(lambda tx: tx.expired_workers(9)) == []
    bench.now += SECOND + 1
    assert bench.read(lambda tx: tx.expired_workers(9)) == ["a", "b"]
    assert bench.read(lambda tx: tx.expired_workers(1)) == ["a"]
    bench.write(lambda tx: tx.bury_worker("a", "its lease ran out"))
    assert bench.read(lambda tx: tx.expired_workers(9)) == ["b"]
    bench.write(lambda tx: tx.forget_workers(bench.now))
    assert worker(bench, "a").gone_at == bench.now
    bench.write(lambda tx: tx.forget_workers(bench.now + 1))
    assert bench.read(lambda tx: tx.get_worker("a")) is None
    assert len(bench.read(lambda tx: tx.list_workers())) == 2


def test_what_a_worker_holds(bench: Bench):
    bench.register("w")
    bench.register("v")
    bench.insert(a_job("a", timeout_s=2.0, grace_s=0.5), a_job("b"), a_job("c", priority=1))
    bench.claim("c", "a", worker="w")
    bench.claim("b", worker="v")
    locked = bench.lock("a")
    bench.write(lambda tx: tx.request_aborts([locked]))
    rows = {row.job: row for row in bench.read(lambda tx: tx.running_of("w"))}
    assert set(rows) == {"a", "c"}
    assert (rows["a"].attempt, rows["a"].lease_until, rows["a"].grace_s) == (1, None, 0.5)
    assert (rows["a"].abort_requested_at, rows["a"].deadline_at) == (START, START + 2 * SECOND)
    assert (rows["c"].abort_requested_at, rows["c"].deadline_at) == (None, None)
    assert bench.read(lambda tx: tx.holds("w", "a", 1))
    for who, job, attempt in (("v", "a", 1), ("w", "a", 2), ("w", "b", 1), ("w", "nobody", 1)):
        assert not bench.read(lambda tx, who=who, job=job, attempt=attempt: tx.holds(who, job, attempt))


def test_a_lease_gets_an_end_of_its_own_and_loses_it_again(bench: Bench):
    bench.register()
    bench.insert(a_job("a"), a_job("b"))
    bench.claim("a", "b")
    bench.write(lambda tx: tx.unname_leases([("a", 1, START + 5), ("b", 1, START + 3)]))
    assert bench.read(lambda tx: tx.unnamed_leases(9)) == []
    bench.now = START + 5
    assert bench.read(lambda tx: tx.unnamed_leases(9)) == ["b", "a"]
    assert bench.read(lambda tx: tx.unnamed_leases(1)) == ["b"]
    bench.write(lambda tx: tx.unname_leases([("b", 1, None)]))
    assert bench.read(lambda tx: tx.unnamed_leases(9)) == ["a"]
    bench.settle("a")
    assert bench.read(lambda tx: tx.unnamed_leases(9)) == []
    bench.write(lambda tx: tx.unname_leases([("a", 1, START)]))
    assert bench.get("a").state is State.SUCCEEDED, "only what runs has a lease"


def test_a_clock_that_was_set_back_shortens_every_lease(bench: Bench):
    bench.register("w", lease_s=1000)
    bench.register("v", lease_s=1)
    bench.insert(a_job("a"), a_job("b"))
    bench.claim("a", "b")
    bench.write(lambda tx: tx.unname_leases([("a", 1, START + 900 * SECOND), ("b", 1, START + 1)]))
    bench.write(lambda tx: tx.clamp_leases(START + LEASE))
    assert worker(bench, "w").lease_until == START + LEASE
    assert worker(bench, "v").lease_until == START + SECOND
    assert {row.job: row.lease_until for row in bench.read(lambda tx: tx.running_of("w"))} == {
        "a": START + LEASE,
        "b": START + 1,
    }


def test_progress_is_taken_from_the_holder_only(bench: Bench):
    bench.insert(a_job("a"), a_job("b"))
    bench.claim("a", worker="w")
    half = Progress(0.5, "half")
    notes = [("a", 1, half), ("a", 2, half), ("b", 1, half), ("nobody", 1, half)]
    assert bench.write(lambda tx: tx.set_progress("w", notes)) == ["a"]
    assert bench.write(lambda tx: tx.set_progress("v", notes)) == []
    assert (bench.get("a").progress, bench.get("b").progress) == (half, None)


def test_what_workers_run_and_how_long_such_jobs_ran(bench: Bench):
    bench.register()
    bench.insert(a_job("a"), a_job("b", owner="ana", priority=1), a_job("c"))
    bench.claim("a", "b", "c")
    assert bench.read(lambda tx: tx.held_lanes(["w", "nobody"])) == {"h": 3}
    assert bench.read(lambda tx: tx.held_lanes([])) == {}
    assert bench.read(lambda tx: tx.recent_runs(9)) == []
    bench.now += 3 * SECOND
    bench.settle("b")
    (pace,) = bench.read(lambda tx: tx.recent_runs(9))
    assert pace == Pace("ana", 1, "h", 1, 3.0, bench.now)
    assert bench.read(lambda tx: tx.held_lanes(["w"])) == {"h": 2}
