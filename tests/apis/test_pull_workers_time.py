"""Pull workers and time: leases, timeouts, cancellations that nobody confirms, retries, restarts. No test sleeps for real."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rota.core.errors import Conflict, NotFound
from rota.core.jobs import WorkerHello
from rota.core.states import Outcome, Reason, State
from tests.apis.pull_bench import LEASE_S, START, Bench, run

SOON_S = 0.1


def test_a_silent_worker_loses_its_tasks_after_one_lease_and_they_run_again_at_once(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        await bench.take("w1")
        began = bench.now()
        again = await bench.take("w2", wait_s=30)
        assert (again.id, again.attempt) == (id_, 2)
        assert LEASE_S <= bench.now() - began <= LEASE_S + 1
        assert (again.failures, again.crashes) == (0, 1)
        with pytest.raises(Conflict):
            await bench.completed(again, worker="w1")
        with pytest.raises(NotFound, match="register"):
            await bench.pull.heartbeat("w1")
        await bench.completed(again, worker="w2")

    run(tmp_path, test)


def test_heartbeats_keep_every_task_that_a_worker_holds(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.add()
        await bench.add()
        tasks = [await bench.take("w"), await bench.take("w")]
        await bench.beat("w", 300, every_s=LEASE_S - 1)
        for task in tasks:
            await bench.completed(task, worker="w")
            assert await bench.outcomes(task.id) == ["succeeded"]

    run(tmp_path, test)


def test_an_open_get_task_counts_as_a_heartbeat_all_the_time(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.add()
        held = await bench.take("w")
        await bench.nothing("w", wait_s=60)
        await asyncio.sleep(LEASE_S - 1)
        assert (await bench.job(held.id)).attempt == 1
        await bench.completed(held, worker="w")

    run(tmp_path, test)


def test_registering_again_keeps_tasks_and_a_lost_worker_may_come_back_under_its_name(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.pull.register("w", ["f"], 1)
        first = await bench.add()
        await bench.take("w")
        await asyncio.sleep(LEASE_S - 1)
        await bench.pull.register("w", ["f", "g"], 2)
        await asyncio.sleep(LEASE_S - 1)
        assert await bench.pull.heartbeat("w") == []
        await bench.pull.report(first, Outcome.SUCCEEDED, worker="w")
        await asyncio.sleep(LEASE_S + 2)
        with pytest.raises(NotFound):
            await bench.pull.heartbeat("w")
        await bench.add("g")
        await bench.pull.register("w", ["g"], None)
        task = await bench.take("w")
        await bench.completed(task, worker="w")
        (worker,) = (await bench.pull.overview()).workers
        assert worker.name == "w"

    run(tmp_path, test)


def test_a_worker_that_never_registered_is_registered_by_asking_for_tasks(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        with pytest.raises(NotFound):
            await bench.pull.heartbeat("w")
        await bench.nothing("w")
        assert await bench.pull.heartbeat("w") == []

    run(tmp_path, test)


def test_a_worker_that_comes_back_by_asking_serves_what_it_served_before(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.pull.register("w", ["f"], 1)
        await asyncio.sleep(LEASE_S + 2)
        await bench.add("g")
        await bench.nothing("w")
        await bench.add("f")
        assert (await bench.take("w")).handler == "f"

    run(tmp_path, test)


def test_leaving_gives_tasks_back_at_once_and_uncharged_and_ends_an_open_get_task(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.add()
        await bench.take("w1")
        waiting = asyncio.create_task(bench.pull.take("w1", 60))
        other = asyncio.create_task(bench.take("w2", 60))
        await asyncio.sleep(1)
        began = bench.now()
        await bench.pull.unregister("w1")
        task = await other
        assert (task.attempt, task.crashes, task.failures) == (2, 0, 0)
        assert (await waiting).task is None
        assert bench.now() - began < SOON_S
        with pytest.raises(NotFound):
            await bench.pull.heartbeat("w1")  # the call that was open has not brought it back

    run(tmp_path, test)


def test_the_service_ends_a_task_at_its_deadline_whatever_its_worker_does(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add(timeout=7.3, retries=0)
        task = await bench.take("w")
        began = bench.now()
        over = asyncio.create_task(bench.service.jobs.wait(id_, 60))
        await bench.beat("w", 8)
        ended = await over
        assert (ended.state, ended.reason) == (State.FAILED, Reason.TIMED_OUT)
        assert ended.finished_at is not None
        assert ended.finished_at / 1e6 - START / 1e6 == pytest.approx(began + 7.3, abs=0.01)
        with pytest.raises(Conflict):
            await bench.completed(task, worker="w")

    run(tmp_path, test)


def test_a_task_that_times_out_is_tried_again_as_often_as_it_may_be(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add(timeout=2.0, retries=2)
        began = bench.now()
        for attempt in (1, 2, 3):
            task = await bench.take("w", wait_s=5)
            assert (task.id, task.attempt, task.failures) == (id_, attempt, attempt - 1)
        await bench.nothing("w", wait_s=5)
        job = await bench.job(id_)
        assert (job.state, job.reason, job.attempt) == (State.FAILED, Reason.TIMED_OUT, 3)
        assert bench.now() - began == pytest.approx(4 + 5, abs=0.1)
        assert await bench.outcomes(id_) == ["timed_out"] * 3

    run(tmp_path, test)


def test_a_timeout_holds_through_a_restart_of_the_server(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add(timeout=3.0, retries=0)
        await bench.take("w")
        await bench.restart(down_s=5)
        await asyncio.sleep(SOON_S)
        assert (await bench.job(id_)).reason is Reason.TIMED_OUT

    run(tmp_path, test)


@pytest.mark.parametrize("outcome", [Outcome.ERRORED, Outcome.TIMED_OUT])
def test_failures_are_tried_again_at_once_until_no_retry_is_left(tmp_path: Path, outcome: Outcome) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        began = bench.now()
        for attempt in (1, 2, 3, 4):
            task = await bench.take("w")
            assert task.attempt == attempt
            job = await bench.pull.report(id_, outcome, error="no luck", worker="w", attempt=attempt)
            assert job.error is not None
            assert job.error.message == "no luck"
        assert job.state is State.FAILED
        assert bench.now() == began
        await bench.nothing("w")

    run(tmp_path, test)


def test_a_retry_waits_behind_tasks_of_its_priority_and_goes_before_lower_ones(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        first = await bench.add(priority=5)
        await asyncio.sleep(1)
        low, equal = await bench.add(priority=1), await bench.add(priority=5)
        await asyncio.sleep(1)
        await bench.take("w")
        await bench.pull.report(first, Outcome.ERRORED)
        assert [(await bench.take("w")).id for _ in range(3)] == [equal, first, low]

    run(tmp_path, test)


def test_a_canceled_running_task_is_told_with_each_heartbeat_until_its_worker_confirms(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        await bench.take("w")
        await asyncio.sleep(1)
        assert (await bench.pull.cancel(id_)).state is State.RUNNING
        assert await bench.pull.heartbeat("w") == [id_]
        await asyncio.sleep(5)
        assert await bench.pull.heartbeat("w") == [id_]
        with pytest.raises(Conflict, match="canceled"):
            await bench.pull.report(id_, Outcome.SUCCEEDED, worker="w")
        job = await bench.pull.report(id_, Outcome.ABORTED, worker="w")
        assert (job.state, job.confirmed, job.result) == (State.ABORTED, True, None)
        assert await bench.pull.heartbeat("w") == []

    run(tmp_path, test)


def test_a_worker_that_never_confirms_is_fenced_after_one_lease(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_, other = await bench.add(), await bench.add()
        await bench.take("w")
        await bench.take("w")
        await bench.beat("w", 20)
        await bench.pull.cancel(id_)
        await bench.beat("w", LEASE_S - 0.5)
        assert (await bench.job(id_)).state is State.RUNNING
        await bench.beat("w", 2)
        job = await bench.job(id_)
        assert (job.state, job.confirmed) == (State.ABORTED, False)
        assert await bench.pull.heartbeat("w") == []
        with pytest.raises(Conflict):
            await bench.pull.report(id_, Outcome.ABORTED, worker="w")
        await bench.pull.report(other, Outcome.SUCCEEDED, worker="w")

    run(tmp_path, test)


def test_a_canceled_task_of_a_worker_that_has_died_is_over_with_its_lease(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        dependent = await bench.add(after=[id_])
        await bench.take("w")
        await asyncio.sleep(3)
        await bench.pull.cancel(id_)
        assert (await bench.job(dependent)).state is State.BLOCKED
        await asyncio.sleep(LEASE_S - 3 + 1)
        job = await bench.job(id_)
        assert (job.state, job.confirmed) == (State.ABORTED, False)
        assert (await bench.job(dependent)).state is State.CANCELED

    run(tmp_path, test)


def test_a_worker_that_waits_for_tasks_hears_of_a_cancel_at_once_and_can_wait_again(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        await bench.take("w")
        waiting = asyncio.create_task(bench.nothing("w", wait_s=60))
        await asyncio.sleep(7)
        began = bench.now()
        await bench.pull.cancel(id_)
        assert (await waiting).canceled == [id_]
        assert bench.now() - began < SOON_S
        await asyncio.sleep(1)
        assert await bench.pull.heartbeat("w") == [id_]
        await asyncio.sleep(1)
        assert (await bench.nothing("w", wait_s=5)).canceled == [id_]
        assert bench.now() - began >= 7  # it was told, and waits again

    run(tmp_path, test)


def test_a_cancel_between_two_calls_is_told_by_the_next_one_at_once(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        await bench.take("w")
        await asyncio.sleep(1)
        await bench.pull.cancel(id_)
        await asyncio.sleep(1)
        began = bench.now()
        assert (await bench.nothing("w", wait_s=60)).canceled == [id_]
        assert bench.now() == began

    run(tmp_path, test)


def test_an_abort_through_the_native_api_is_a_cancel(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        await bench.take("w")
        await asyncio.sleep(1)
        await bench.service.jobs.abort(id_)
        await bench.beat("w", LEASE_S + 1.5, every_s=1)
        assert (await bench.job(id_)).confirmed is False

    run(tmp_path, test)


def test_a_deadline_does_not_cut_short_the_time_that_a_cancel_has(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add(timeout=4.0)
        await bench.take("w")
        await asyncio.sleep(3)
        await bench.pull.cancel(id_)
        await bench.beat("w", 5)
        job = await bench.pull.report(id_, Outcome.ABORTED, worker="w")
        assert (job.state, job.confirmed) == (State.ABORTED, True)

    run(tmp_path, test)


def test_a_worker_may_end_a_task_as_canceled_though_nobody_asked(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        dependent = await bench.add(after=[id_])
        await bench.take("w")
        job = await bench.pull.report(id_, Outcome.ABORTED, error="shutting down", worker="w")
        assert (job.state, job.confirmed, job.attempt) == (State.ABORTED, True, 1)
        assert (await bench.job(dependent)).state is State.CANCELED
        kinds = [(event.kind, event.by) for event in await bench.service.jobs.events(id_)]
        assert kinds[-2:] == [("abort_requested", "pull:w"), ("aborted", "pull:w")]

    run(tmp_path, test)


def test_a_task_that_was_never_sent_comes_back_though_its_worker_lives(tmp_path: Path) -> None:
    """The server died between the commit and the answer: the worker knows nothing of the task that it keeps alive."""

    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        taken = await bench.pull.take("w", 0)
        assert taken.task is not None
        await bench.restart()
        for _ in range(20):
            await bench.pull.heartbeat("w")
            await asyncio.sleep(1)
        job = await bench.job(id_)
        assert (job.state, job.failures, job.crashes) == (State.QUEUED, 0, 0)
        assert (await bench.take("w")).attempt == 2

    run(tmp_path, test)


def test_a_task_that_is_given_back_is_the_next_ones_at_once(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.add()
        taken = await bench.pull.take("w1", 0)
        assert taken.task is not None
        other = asyncio.create_task(bench.take("w2", 60))
        await asyncio.sleep(1)
        began = bench.now()
        await bench.pull.give_back("w1", taken.task)
        task = await other
        assert (task.attempt, task.failures, task.crashes, bench.now()) == (2, 0, 0, began)

    run(tmp_path, test)


def test_running_tasks_outlive_a_restart_of_the_server(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.add()
        task = await bench.take("w")
        await bench.restart(down_s=3 * LEASE_S)  # nobody could hear the worker: it has one lease to be heard of
        await asyncio.sleep(LEASE_S - 2)
        assert await bench.pull.heartbeat("w") == []
        await bench.beat("w", 60)
        await bench.completed(task, worker="w")
        assert await bench.outcomes(task.id) == ["succeeded"]

    run(tmp_path, test)


def test_a_worker_that_did_not_outlive_the_restart_loses_its_tasks(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        await bench.take("w")
        await bench.restart()
        assert (await bench.take("other", wait_s=30)).id == id_

    run(tmp_path, test)


def test_slots_bound_what_a_worker_holds_and_room_is_noticed_at_once(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.pull.register("w", [], 2)
        for _ in range(3):
            await bench.add()
        first, _ = await bench.take("w"), await bench.take("w")
        third = asyncio.create_task(bench.take("w", wait_s=60))
        await asyncio.sleep(7)
        assert not third.done()
        began = bench.now()
        await bench.completed(first)
        await third
        assert bench.now() - began < SOON_S

    run(tmp_path, test)


def test_a_task_whose_cancellation_was_told_takes_no_slot(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.pull.register("w", [], 1)
        first = await bench.add()
        await bench.take("w")
        second = await bench.add()
        await bench.nothing("w")
        await asyncio.sleep(1)
        await bench.pull.cancel(first)
        assert (await bench.take("w")).id == second

    run(tmp_path, test)


def test_a_worker_with_no_room_takes_no_wake_up_from_others(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.pull.register("full", [], 1)
        await bench.add()
        await bench.take("full")
        waiting = [asyncio.create_task(bench.take("full", wait_s=60)) for _ in range(3)]
        await asyncio.sleep(1)
        free = asyncio.create_task(bench.take("free", wait_s=60))
        await asyncio.sleep(1)
        for _ in range(3):
            began = bench.now()
            await bench.add()
            await free
            assert bench.now() == began
            free = asyncio.create_task(bench.take("free", wait_s=60))
            await asyncio.sleep(1.7)
        for task in (*waiting, free):
            task.cancel()

    run(tmp_path, test)


def test_workers_are_offered_the_functions_that_they_named(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.pull.register("some", ["f", "pkg.mod:g"], None)
        other = await bench.add("h", priority=9)
        mine = [await bench.add("pkg.mod:g"), await bench.add("f")]
        assert [(await bench.take("some")).id for _ in range(2)] == mine
        await bench.nothing("some")
        waiting = asyncio.create_task(bench.take("some", wait_s=60))
        await asyncio.sleep(1)
        assert (await bench.take("any")).id == other
        began = bench.now()
        last = await bench.add("f")
        assert (await waiting).id == last
        assert bench.now() == began
        assert await bench.service.handlers.find() == []  # functions are no handlers

    run(tmp_path, test)


def test_handlers_of_the_native_api_and_pulled_functions_of_the_same_name_are_apart(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        from rota.core.jobs import Free, HandlerSpec, Submission

        welcome = await bench.service.work.register(WorkerHello(name="n", handlers=[HandlerSpec(name="f")]))
        task = await bench.add("f")
        free = Free(process=9, asynchronous=9, total=9)
        assert await bench.service.work.claim(welcome.worker, free) == []
        job = await bench.service.jobs.submit(Submission(handler="f"))
        assert (await bench.take("w")).id == task
        await bench.nothing("w")
        (lease,) = await bench.service.work.claim(welcome.worker, free)
        assert lease.job == job.id

    run(tmp_path, test)


def test_a_draining_worker_gets_no_task_until_it_registers_again(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        await bench.pull.register("w", [], None)
        await bench.service.work.drain("pull:w")
        await bench.add()
        await bench.nothing("w", wait_s=3)
        await bench.pull.register("w", [], None)
        await bench.take("w")

    run(tmp_path, test)


def test_a_task_that_kills_worker_after_worker_is_given_up(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        id_ = await bench.add()
        for n in range(5):
            await bench.take(f"w{n}", wait_s=40)
        await asyncio.sleep(LEASE_S + 2)
        job = await bench.job(id_)
        assert (job.state, job.reason, job.failures, job.crashes) == (State.FAILED, Reason.LOST, 0, 5)

    run(tmp_path, test)


def test_a_call_that_is_canceled_while_it_leases_returns_the_task_or_leaves_none_behind(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        for turns in range(8):
            id_ = await bench.add()
            call = asyncio.create_task(bench.pull.take("w", 60))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait((call,))
            if not call.cancelled():
                task = call.result().task
                assert task is not None
                await bench.pull.give_back("w", task)
            assert (await bench.job(id_)).state is State.QUEUED
            assert (await bench.take("w")).id == id_
            await bench.pull.report(id_, Outcome.SUCCEEDED)

    run(tmp_path, test)


def test_counts_agree_with_the_rows_through_everything(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        async def check() -> None:
            seen = await bench.pull.overview()
            counted = {state.value: n for state, n in seen.tasks.items() if n}
            if seen.timed_out:
                counted["timed_out"] = seen.timed_out
                counted["failed"] -= seen.timed_out
            assert {state: n for state, n in counted.items() if n} == bench.counted()

        for retries in (0, 1):
            await bench.add(timeout=1.0, retries=retries)
            await bench.take("w")
        await bench.add(retries=0)
        failed = await bench.take("w")
        await bench.pull.report(failed.id, Outcome.TIMED_OUT, worker="w")
        await bench.add(retries=0)
        await bench.pull.report((await bench.take("w")).id, Outcome.ERRORED, worker="w")
        running = await bench.add()
        await bench.take("w")
        await bench.pull.cancel(await bench.add(after=[running]))
        await check()
        assert (await bench.pull.overview()).timed_out == 1
        await asyncio.sleep(2)
        await check()
        assert (await bench.pull.overview()).timed_out == 2
        await bench.pull.cancel(running)
        assert (await bench.pull.overview()).canceled == 1
        await asyncio.sleep(LEASE_S + 2)
        await check()
        assert (await bench.pull.overview()).canceled == 0
        await asyncio.sleep(600)  # all that is over has been pruned
        await check()
        assert (await bench.pull.overview()).timed_out == 0

    run(tmp_path, test, retention_s=300)
