"""Shards of arrays on a worker, in virtual time: every input once, its end told, and an end to the shard at any moment."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from msgspec import Raw

from rota.core.errors import Invalid, Unavailable
from rota.core.jobs import AbortOrder, Failure, InputReport, Lease, LogChunk, Proof
from rota.core.states import Outcome
from rota.worker.output import BATCH_SIZE, RESULTS_MOST, Output
from tests import virtual_time
from tests.worker.fakes import ASYNC, LEASE_S, Scene, lease, now, shard
from tests.worker.test_supervisor import virtual


async def begin(*leases: Lease, lasts: float | None = 1.0, **scene: Any) -> Scene:
    """Begin with shards of which every input lasts so long."""
    made = await Scene(**scene).begin()
    for each in leases:
        for index in range(each.first or 0, (each.first or 0) + len(each.inputs)):
            made.executor.lasts[f"{each.job}[{index}]"] = lasts
    made.queue.add(*leases)
    return made


def ran(scene: Scene, job: str) -> list[int]:
    return [what[2] for what in scene.executor.did("run") if what[0] == job and len(what) == 3]


# The plain way


@virtual
async def test_the_inputs_of_a_shard_run_one_after_another_each_in_its_own_run() -> None:
    seen: list[Lease] = []
    scene = await begin(shard("a", 3, first=7))
    scene.executor.on_run = seen.append
    took = await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED})
    assert took == pytest.approx(3, abs=0.01)
    assert [(each.index, each.first, each.inputs) for each in seen] == [(n, None, [Raw(b"%d" % n)]) for n in (7, 8, 9)]
    assert [(r.index, r.outcome, bytes(r.result), r.duration_s) for r in scene.queue.results] == [
        (n, Outcome.SUCCEEDED, b'"done"', 1.0) for n in (7, 8, 9)
    ]
    assert scene.executor.most == 1


@virtual
async def test_an_empty_or_instant_shard_ends_too() -> None:
    scene = await begin(shard("none", 0), shard("many", 5000), lasts=0)
    await scene.until(lambda: len(scene.queue.settled) == 2)
    assert scene.queue.indices("many") == list(range(5000))


@virtual
async def test_whatever_becomes_of_its_inputs_a_shard_goes_on_and_succeeds() -> None:
    scene = await begin(shard("a", 7), lasts=0.1)
    error = Failure("E", "no")
    told: list[dict[str, Any]] = [
        {"outcome": Outcome.ERRORED, "error": error, "stdout": "out", "stderr": "err", "exit_code": 3, "refused": True},
        {"outcome": Outcome.TIMED_OUT},
        {"outcome": Outcome.LOST, "proof": Proof(processes=1)},
        {"outcome": Outcome.OUT_OF_MEMORY},
        {"outcome": Outcome.BAD_RESULT},
        {"outcome": Outcome.SNOOZED, "retry_in_s": 60.0},
    ]
    for index, fields in enumerate(told):
        scene.executor.ends[f"a[{index}]"].append(fields)
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED})
    assert [r.outcome for r in scene.queue.results] == [fields["outcome"] for fields in told] + [Outcome.SUCCEEDED]
    first = scene.queue.results[0]
    assert (first.stdout, first.stderr, first.exit_code, first.error, first.refused) == ("out", "err", 3, error, True)
    assert scene.queue.results[5].retry_in_s == 60.0
    assert scene.queue.settled["a", 1].proof is None


@virtual
async def test_a_shard_takes_one_slot_of_its_kind() -> None:
    scene = await begin(*(shard(f"p{n}", 2) for n in range(4)), slots=2, async_slots=3)
    tasks = [shard(f"t{n}", 2, handler=ASYNC) for n in range(4)]
    for each in tasks:
        scene.executor.lasts[f"{each.job}[0]"] = scene.executor.lasts[f"{each.job}[1]"] = 1.0
    scene.queue.add(*tasks)
    seen: list[tuple[int, int]] = []
    while len(scene.queue.settled) < 8:
        kinds = [job[0] for job, _ in scene.executor.running]
        seen.append((kinds.count("p"), kinds.count("t")))
        await asyncio.sleep(0.01)
    assert (max(p for p, _ in seen), max(t for _, t in seen)) == (2, 3)


@virtual
async def test_a_heartbeat_names_a_shard_once() -> None:
    scene = await begin(shard("a", 100))
    await asyncio.sleep(12)
    assert [[(h.job, h.attempt) for h in held] for held in scene.queue.of("heartbeat")] == [[("a", 1)], [("a", 1)]]


# Telling


@virtual
async def test_results_travel_in_batches_while_the_shard_runs_and_before_its_report() -> None:
    scene = await begin(shard("a", 100), lasts=0.01)
    await scene.until(lambda: scene.queue.settled)
    assert scene.queue.indices("a") == list(range(100))
    assert 9 <= len(scene.queue.of("tell")) <= 12
    assert [verb for _, verb, _ in scene.queue.calls if verb in ("tell", "settle")][-2:] == ["tell", "settle"]
    assert now() - scene.began == pytest.approx(1.0, abs=0.01)  # the last batch does not wait for its time


@virtual
async def test_a_slot_is_free_for_the_next_shard_while_the_last_results_are_on_their_way() -> None:
    scene = await begin(shard("a", 3), shard("b", 3), lasts=0.5, slots=1)
    scene.queue.delay["tell"] = 5.0
    await asyncio.sleep(1.6)
    assert ran(scene, "b") and scene.queue.settled == {}
    await scene.until(lambda: len(scene.queue.settled) == 2)


@virtual
async def test_results_are_told_again_until_they_are_answered_and_count_once() -> None:
    scene = await begin(shard("a", 40), lasts=0.05)
    scene.queue.lose_reply["tell"] = 3
    await asyncio.sleep(1)
    scene.queue.fault["tell"] = lambda: Unavailable("the disk is full")
    await asyncio.sleep(5)
    assert ran(scene, "a") == list(range(40)), "a short outage holds up nothing"
    assert scene.queue.settled == {}
    scene.queue.come_back()
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED}, 6)
    assert scene.queue.indices("a") == list(range(40))


@virtual
async def test_a_shard_pauses_when_too_much_waits_and_nothing_is_dropped() -> None:
    scene = await begin(shard("a", 40), shard("b", 40), lasts=0.01)
    scene.executor.result = Raw(b'"' + b"x" * BATCH_SIZE + b'"')
    scene.queue.go_down("tell")
    await asyncio.sleep(4)
    most = RESULTS_MOST // BATCH_SIZE + 3  # one is on its way, and each shard has one that runs
    assert len(ran(scene, "a")) + len(ran(scene, "b")) <= most
    scene.queue.come_back()
    await scene.until(lambda: len(scene.queue.settled) == 2, 10)
    assert scene.queue.indices("a") == scene.queue.indices("b") == list(range(40))


@virtual
async def test_an_abort_a_halt_a_drain_and_a_loss_end_shards_that_wait_for_room() -> None:
    scene = await begin(*(shard(job, 50) for job in "ahlxd"), slots=5, lasts=0.01)
    scene.executor.result = Raw(b'"' + b"x" * BATCH_SIZE + b'"')
    scene.queue.go_down("tell")
    await asyncio.sleep(3)
    before = len(scene.executor.did("run"))
    scene.queue.abort("a")
    scene.queue.halt("h")
    scene.queue.take_away("l")
    await scene.until(lambda: len(scene.supervisor._registration._held) == 4, 6)  # type: ignore[union-attr]
    scene.supervisor.request_drain()
    await virtual_time.settle()
    scene.queue.come_back()
    await scene.over()
    assert len(scene.executor.did("run")) == before
    assert scene.queue.outcomes == {
        "a": Outcome.ABORTED,
        "h": Outcome.INTERRUPTED,
        "x": Outcome.INTERRUPTED,
        "d": Outcome.INTERRUPTED,
    }
    for job in "ahxd":
        assert scene.queue.indices(job) == ran(scene, job), "what had run was told before the report"


@virtual
async def test_a_result_that_the_server_refuses_becomes_an_error_of_its_input_and_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = await begin(shard("a", 200), lasts=0.01)
    scene.executor.ends["a[57]"].append({"outcome": Outcome.SUCCEEDED, "result": Raw(b'"too long"'), "stdout": "x"})
    scene.executor.ends["a[133]"].append({"outcome": Outcome.TIMED_OUT, "stdout": "\ud800"})
    tell = scene.queue.tell

    async def picky(worker: str, logs: Any, progress: Any, hooks: Any, results: Any, *, checkpoints: Any = ()) -> None:
        if any(bytes(r.result) == b'"too long"' or r.stdout == "\ud800" for r in results):
            scene.queue.calls.append((now(), "refused", len(results)))
            raise Invalid("results[3].result", "is at most 5 bytes of JSON")
        await tell(worker, logs, progress, hooks, results, checkpoints=checkpoints)

    scene.queue.tell = picky  # type: ignore[method-assign]
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED}, 5)
    assert scene.queue.indices("a") == list(range(200)), "also then in their order"
    bad = {r.index: r for r in scene.queue.results if r.error is not None}
    assert {index: r.outcome for index, r in bad.items()} == {57: Outcome.BAD_RESULT, 133: Outcome.TIMED_OUT}
    assert bad[57].error is not None and "at most 5 bytes" in bad[57].error.message and bad[57].stdout == ""
    assert len(scene.queue.of("refused")) <= 20
    assert "output_refused" not in caplog.text


@virtual
async def test_a_server_that_refuses_all_results_does_not_hold_up_the_shard(caplog: pytest.LogCaptureFixture) -> None:
    scene = await begin(shard("a", 20), lasts=0.01)
    scene.queue.fault["tell"] = lambda: Invalid("results", "are not wanted")
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED}, 5)
    assert "are not wanted" in caplog.text
    assert len(scene.queue.of("tell")) < 20 * 8


# Aborts


@virtual
async def test_an_abort_stops_the_input_that_runs_and_reports_its_proof() -> None:
    scene = await begin(shard("a", 10))
    await asyncio.sleep(2.5)
    scene.queue.abort("a", grace_s=3.0)
    assert await scene.until(lambda: scene.queue.settled) <= 0.003
    report = scene.queue.settled["a", 1]
    assert (report.outcome, report.proof) == (Outcome.ABORTED, Proof(processes=1))
    assert scene.executor.did("stop") == [("a", 1, 3.0, Outcome.ABORTED)]
    assert scene.queue.indices("a") == [0, 1], "what was told stands; what was stopped is not over"
    assert ran(scene, "a") == [0, 1, 2]


@virtual
async def test_an_abort_that_crosses_the_end_of_an_input_starts_no_other() -> None:
    scene = await begin(shard("a", 10))
    scene.executor.ends_after["a"] = 5.0  # the input ends by itself before
    await asyncio.sleep(1.9)
    scene.queue.abort("a")
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.ABORTED}, 0.2)
    assert ran(scene, "a") == scene.queue.indices("a") == [0, 1]
    assert scene.queue.settled["a", 1].proof == Proof()


@virtual
async def test_an_abort_between_two_inputs_wins() -> None:
    scene = await begin(shard("a", 10))
    registration = scene.supervisor._registration
    assert registration is not None
    put = registration.output.put_result

    def abort_now(result: Any) -> None:
        put(result)
        if result.index == 3:
            registration._abort(AbortOrder(job="a", attempt=1, grace_s=1.0))

    registration.output.put_result = abort_now  # type: ignore[method-assign]
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.ABORTED}, 5)
    assert ran(scene, "a") == [0, 1, 2, 3]


@virtual
async def test_an_abort_before_the_first_input_runs_none() -> None:
    scene = await Scene().begin()
    scene.queue.delay_back["claim"] = 1.0
    scene.queue.add(shard("a", 5))
    await asyncio.sleep(0.5)
    scene.queue.abort("a")
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.ABORTED}, 2)
    assert scene.executor.did("run") == []


@virtual
async def test_an_abort_goes_before_a_halt_and_a_drain() -> None:
    scene = await begin(shard("a", 10), lasts=50.0)
    await asyncio.sleep(1)
    scene.queue.halt("a")
    scene.supervisor.request_drain()
    await asyncio.sleep(1)
    scene.queue.abort("a")
    await scene.over()
    assert scene.queue.outcomes == {"a": Outcome.ABORTED}


@virtual
async def test_a_drain_after_an_abort_changes_nothing() -> None:
    scene = await begin(shard("a", 10), lasts=50.0)
    scene.executor.ends_after["a"] = 3.0
    await asyncio.sleep(1)
    scene.queue.abort("a")
    await asyncio.sleep(1)
    scene.queue.halt("a")
    scene.supervisor.request_drain()
    await scene.over()
    assert scene.queue.outcomes == {"a": Outcome.ABORTED}


# Halts and drains


@virtual
async def test_a_halt_lets_the_running_input_finish_and_starts_no_other() -> None:
    scene = await begin(shard("a", 10), shard("b", 10))
    await asyncio.sleep(2.5)
    scene.queue.halt("a")
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.INTERRUPTED})
    assert scene.queue.indices("a") == [0, 1, 2] and scene.executor.did("stop") == []
    await scene.until(lambda: scene.queue.outcomes.get("b") is Outcome.SUCCEEDED)


@virtual
async def test_many_halts_in_a_row_are_heard_at_once() -> None:
    scene = await begin(*(shard(f"s{n}", 1000) for n in range(8)), slots=8, lasts=0.05)
    await asyncio.sleep(1)
    for n in range(8):
        scene.queue.halt(f"s{n}")
        assert await scene.until(lambda n=n: (f"s{n}", 1) in scene.queue.settled) <= 0.055


@virtual
async def test_without_a_watch_the_next_heartbeat_says_to_halt() -> None:
    scene = await begin(shard("a", 100))
    scene.queue.go_down("watch")
    await asyncio.sleep(32)
    scene.queue.halt("a")
    assert await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.INTERRUPTED}) <= 6.01


@virtual
async def test_a_drain_lets_the_running_input_finish_and_gives_back_the_rest_at_once() -> None:
    scene = await begin(shard("a", 1000), drain_s=10.0)
    await asyncio.sleep(2.5)
    scene.supervisor.request_drain()
    began = now()
    await scene.over()
    assert now() - began == pytest.approx(0.5, abs=0.01)
    assert scene.queue.indices("a") == [0, 1, 2]
    assert scene.queue.outcomes == {"a": Outcome.INTERRUPTED} and scene.queue.given_back == []
    assert scene.executor.did("stop") == []


@virtual
async def test_a_drain_interrupts_an_input_that_does_not_finish_in_its_time() -> None:
    scene = await begin(shard("a", 10), lasts=None, drain_s=4.0)
    await asyncio.sleep(1)
    scene.supervisor.request_drain()
    began = now()
    await scene.over()
    assert now() - began == pytest.approx(4, abs=0.01)
    assert scene.queue.outcomes == {"a": Outcome.INTERRUPTED} and scene.queue.results == []
    assert ran(scene, "a") == [0]


@virtual
async def test_the_second_signal_stops_at_once_and_tells_what_had_ended() -> None:
    scene = await begin(shard("a", 100), lasts=0.3)
    await asyncio.sleep(0.95)  # the end of the third is not told yet
    scene.supervisor.request_drain()
    scene.supervisor.request_stop_now()
    await scene.over()
    assert scene.queue.indices("a") == [0, 1, 2] and ran(scene, "a") == [0, 1, 2, 3]
    assert scene.queue.given_back == [("a", 1)] and scene.queue.settled == {}


@virtual
async def test_survivors_of_an_input_drain_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    scene = await begin(shard("a", 10), shard("b", 10))
    scene.executor.ends["a[2]"].append({"outcome": Outcome.TIMED_OUT, "proof": Proof(survivors=[4711])})
    await scene.over()
    assert "4711" in caplog.text
    assert scene.queue.outcomes == {"a": Outcome.INTERRUPTED, "b": Outcome.INTERRUPTED}
    assert scene.queue.indices("a") == [0, 1, 2]


# Processes that are lost, and others that are interrupted


@virtual
async def test_an_input_that_was_interrupted_by_others_runs_again_here() -> None:
    scene = await begin(shard("a", 4, handler=ASYNC), lasts=0.1, async_slots=5)
    scene.executor.ends["a[1]"].extend([{"outcome": Outcome.INTERRUPTED}] * 2)
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED})
    assert ran(scene, "a") == [0, 1, 1, 1, 2, 3]
    assert [(r.index, r.outcome) for r in scene.queue.results] == [(n, Outcome.SUCCEEDED) for n in range(4)]


@virtual
async def test_an_input_that_is_interrupted_again_and_again_is_given_back_with_the_rest() -> None:
    scene = await begin(shard("a", 4, handler=ASYNC), lasts=0.1, async_slots=5)
    scene.executor.ends["a[1]"].extend([{"outcome": Outcome.INTERRUPTED}] * 100)
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.INTERRUPTED})
    assert scene.queue.indices("a") == [0] and len(ran(scene, "a")) == 4


@virtual
async def test_a_shard_ends_uncharged_where_no_process_can_be_started() -> None:
    scene = await begin(shard("a", 1000), lasts=0)
    scene.executor.ends["a[2]"].append({"outcome": Outcome.LOST, "charged": False, "error": Failure("Lost", "none")})
    await scene.until(lambda: scene.queue.settled)
    report = scene.queue.settled["a", 1]
    assert (report.outcome, report.charged, report.error) == (Outcome.LOST, False, Failure("Lost", "none"))
    assert scene.queue.indices("a") == [0, 1]


@virtual
async def test_a_broken_executor_tells_nothing_of_the_input_that_broke_it() -> None:
    scene = await begin(shard("a", 10))
    await asyncio.sleep(2.5)
    scene.executor.broken = RuntimeError("the keeper is gone")
    await scene.until(lambda: list(scene.queue.workers) == ["w.0", "w.1"], 2)
    assert scene.queue.indices("a") == [0, 1] and scene.queue.settled == {}


# Leases


@virtual
async def test_a_shard_that_is_lost_stops_at_once_and_is_told_no_more() -> None:
    scene = await begin(shard("a", 100), slots=1)
    await asyncio.sleep(3.5)
    scene.queue.take_away("a")
    await asyncio.sleep(8)
    assert scene.executor.did("stop") == [("a", 1, 0.0, Outcome.LOST)]
    assert scene.queue.of("settle") == [] and len(ran(scene, "a")) <= 6
    assert scene.queue.indices("a") == [0, 1, 2]
    assert scene.queue.of("heartbeat")[-1] == []
    scene.queue.add(lease("b"))
    await scene.until(lambda: scene.queue.outcomes == {"b": Outcome.SUCCEEDED}, 1)


@virtual
async def test_a_worker_that_is_cut_off_starts_no_input_after_its_lease() -> None:
    scene = await begin(shard("a", 100), lasts=0.7)
    await asyncio.sleep(7)
    scene.queue.go_down()
    await asyncio.sleep(30)
    last = max(scene.executor.when("run"))
    assert last < scene.queue.lease_until["w.0"] - 2.0
    assert scene.executor.did("kill_all") == [[("a", 1)]] and scene.executor.running == {}


@virtual
async def test_a_worker_that_was_stopped_past_its_lease_starts_no_input_when_it_wakes() -> None:
    scene = await begin(shard("a", 100), lasts=0.9)
    await asyncio.sleep(6.25)
    virtual_time.loop().jump(LEASE_S * 4)  # SIGSTOP: the input's end is the first thing that happens at the waking
    await scene.until(lambda: "w.1" in scene.queue.workers, 6)
    assert len(ran(scene, "a")) == 7
    assert scene.queue.indices("a") == list(range(6)), "whatever became of the seventh: it may run elsewhere by now"


@virtual
async def test_what_had_ended_before_the_fence_is_told_if_the_lease_still_is_ours() -> None:
    scene = await begin(shard("a", 100))
    await asyncio.sleep(5.5)
    scene.queue.go_down()
    await asyncio.sleep(30)
    scene.queue.come_back()
    await scene.until(lambda: "w.1" in scene.queue.workers, 6)
    assert len(scene.queue.indices("a")) > 12 and scene.queue.outcomes == {"a": Outcome.LOST}
    verbs = [verb for _, verb, _ in scene.queue.calls[-6:] if verb not in ("claim", "watch")]
    assert verbs == ["tell", "settle", "leave", "register"]


# Claiming ahead


@virtual
async def test_shards_are_never_claimed_ahead_and_say_nothing_of_how_long_jobs_last() -> None:
    scene = await Scene(slots=2).begin()
    for n in range(50):
        scene.executor.lasts[f"j{n}"] = 0.001
    scene.queue.add(*(lease(f"j{n}") for n in range(50)), *(shard(f"s{n}", 1, attempt=9) for n in range(30)))
    for n in range(30):
        scene.executor.lasts[f"s{n}[0]"] = 0.5
    most = 0
    while not all((f"s{n}", 9) in scene.queue.settled for n in range(20)):
        await asyncio.sleep(0.01)
        most = max(most, sum(job[0] == "s" for job, _ in scene.queue.holder))
    assert most <= 2
    late = [at for at, verb, free in scene.queue.calls if verb == "claim" and free.process > 2]
    assert late and max(late) - scene.began < 0.2, "once shards have come, no claim asks for more than is free"
    assert scene.executor.most == 2


@virtual
async def test_short_shards_are_no_reason_to_claim_ahead() -> None:
    scene = await begin(*(shard(f"s{n}", 1) for n in range(200)), lasts=0.001)
    await scene.until(lambda: len(scene.queue.settled) == 200)
    assert max(free.process for free in scene.queue.of("claim")) == 2


@virtual
async def test_while_a_shard_is_held_short_jobs_are_not_claimed_ahead() -> None:
    scene = await begin(shard("a", 100))
    for n in range(300):
        scene.executor.lasts[f"j{n}"] = 0.001
    scene.queue.add(*(lease(f"j{n}") for n in range(300)))
    await scene.until(lambda: len(scene.queue.settled) == 300)
    assert max(free.process for free in scene.queue.of("claim")) == 2


@virtual
async def test_the_slots_of_shards_are_never_idle_for_long() -> None:
    scene = await begin(*(shard(f"s{n}", 5) for n in range(6)), lasts=0.2)
    scene.queue.delay["claim"] = 0.002
    took = await scene.until(lambda: len(scene.queue.settled) == 6)
    assert took == pytest.approx(3.0, abs=0.05)
    starts = sorted(scene.executor.when("run"))
    assert all(b - a <= 0.21 for a, b in pairwise(starts))


# What waits to be told, without a supervisor


def result(index: int, size: int = 10) -> InputReport:
    text = "x" * size
    return InputReport(job="a", attempt=1, index=index, outcome=Outcome.SUCCEEDED, stdout=text)


def filled(output: Output) -> int:
    """Put results until there is no room; return how many."""
    count = 0
    while not output.is_full():
        output.put_result(result(count, 10_000))
        count += 1
    return count


def test_the_bound_is_the_same_after_refusals() -> None:
    output = Output(lambda: 0.0)
    first = filled(output)
    told = 0
    while output.due_in_s() is not None:
        if any(r.index == 77 and r.error is None for r in output.batch().results):
            assert not output.refused("no")
        else:
            told += len(output.batch().results)
            output.told()
    assert told == first and not output.is_pending(("a", 1))
    assert filled(output) == first


def test_results_and_the_rest_take_turns() -> None:
    output = Output(lambda: 0.0)
    output.put_result(result(0))
    output.put(LogChunk(job="b", attempt=1, n=0, stream="stdout", text="x"))
    assert [r.index for r in output.batch().results] == [0] and not output.batch().logs
    output.told()
    output.put_result(result(1))
    assert len(output.batch().logs) == 1 and not output.batch().results
    assert not output.is_pending(("c", 1)) and output.is_pending(("a", 1)) and output.is_pending(("b", 1))
    output.told()
    output.put(LogChunk(job="b", attempt=1, n=1, stream="stdout", text="x"))
    assert [r.index for r in output.batch().results] == [1]


def test_a_refusal_of_results_drops_no_output_and_the_other_way_round() -> None:
    output = Output(lambda: 0.0)
    output.put_result(result(0))
    output.put(LogChunk(job="b", attempt=1, n=0, stream="stdout", text="x"))
    assert output.batch().results and not output.refused("no")
    assert output.batch().results[0].error is not None
    assert output.refused("no") == {("a", 1): 1}, "not even that it cannot be told can be told"
    output.put_result(result(1))
    assert output.batch().logs and output.refused("no") == {("b", 1): 1}
    assert [r.index for r in output.batch().results] == [1]
