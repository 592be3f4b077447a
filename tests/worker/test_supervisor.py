"""One worker's life, in virtual time: registering, claiming, reporting, orders, drains."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from itertools import pairwise
from typing import Any

import pytest
from msgspec import Raw

from rota.core.errors import Invalid, Unavailable
from rota.core.jobs import HandlerSpec
from rota.core.states import Outcome
from tests import virtual_time
from tests.worker.fakes import ASYNC, Scene, lease, now


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        virtual_time.run(lambda: test(*args, **kwargs))

    return run


# Registering


@virtual
async def test_registers_and_runs_what_it_claims() -> None:
    scene = await Scene().begin()
    scene.queue.add(lease("a"), lease("b"), lease("c"))
    await scene.until(lambda: len(scene.queue.settled) == 3)
    assert set(scene.queue.outcomes.values()) == {Outcome.SUCCEEDED}
    assert scene.queue.settled["a", 1].result == Raw(b'"done"')
    assert scene.executor.most <= 2


@virtual
async def test_registers_again_and_again_until_the_server_is_there(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.queue.go_down()
    await scene.begin()
    await asyncio.sleep(100)
    tries = scene.queue.times("register")
    pauses = [round(b - a, 6) for a, b in pairwise(tries)]
    assert pauses == sorted(pauses) and pauses[0] < 0.3 and 2.5 <= pauses[-1] <= 5
    assert [r for r in caplog.messages if "does not answer" in r] and len(caplog.messages) == 4  # at 0, 30, 60, 90 s
    scene.queue.come_back()
    await scene.until(lambda: scene.queue.workers, 6)


@virtual
async def test_a_refused_hello_ends_the_worker_and_says_why() -> None:
    scene = Scene()
    scene.queue.fault["register"] = lambda: Invalid("name", "has no letters")
    await scene.begin()
    with pytest.raises(Invalid, match="no letters"):
        await scene.over()


@virtual
async def test_a_drain_while_the_server_is_away_ends_at_once() -> None:
    scene = Scene()
    scene.queue.go_down()
    await scene.begin()
    await asyncio.sleep(7)
    scene.supervisor.request_drain()
    await scene.over()
    assert now() - scene.began == 7


# Claiming


@virtual
async def test_one_poll_is_open_when_idle_and_little_else_happens() -> None:
    scene = await Scene(slots=2, async_slots=5).begin()
    await asyncio.sleep(300)
    assert scene.queue.open["claim"] == 1
    assert scene.queue.of("claim")[0].process == 2
    assert scene.queue.of("claim")[0].asynchronous == 5
    assert len(scene.queue.calls) <= 300 * 0.3  # heartbeats every 5 s, claim and watch every 30 s


@virtual
async def test_never_runs_more_than_its_slots() -> None:
    scene = await Scene(slots=2, async_slots=3).begin()
    for n in range(20):
        scene.executor.lasts[f"p{n}"] = scene.executor.lasts[f"a{n}"] = 1.0
    running: list[tuple[int, int]] = []
    scene.executor.on_run = lambda _: running.append(
        (sum(j[0] == "p" for j, _ in scene.executor.running), sum(j[0] == "a" for j, _ in scene.executor.running))
    )
    scene.queue.add(*(each for n in range(20) for each in (lease(f"p{n}"), lease(f"a{n}", handler=ASYNC))))
    took = await scene.until(lambda: len(scene.queue.settled) == 40)
    assert (max(p for p, _ in running), max(a for _, a in running)) == (2, 3)
    assert took == pytest.approx(10, abs=0.1)  # the slots were never idle


@virtual
async def test_max_jobs_bounds_the_sum_also_over_two_open_claims() -> None:
    scene = await Scene(slots=3, async_slots=3, max_jobs=4).begin()
    for n in range(30):
        scene.executor.lasts[f"p{n}"] = 0.7
        scene.executor.lasts[f"a{n}"] = 1.0
    scene.queue.delay["claim"] = scene.queue.delay_back["claim"] = 0.01
    scene.queue.add(*(lease(f"p{n}") for n in range(30)))
    await asyncio.sleep(1)
    scene.queue.add(*(lease(f"a{n}", handler=ASYNC) for n in range(30)))
    await scene.until(lambda: len(scene.queue.settled) == 60)
    assert scene.executor.most == 4


@virtual
async def test_a_slot_that_becomes_free_is_used_although_a_poll_for_the_other_kind_is_open() -> None:
    scene = await Scene(slots=1, async_slots=5).begin()
    scene.executor.lasts["a"] = scene.executor.lasts["b"] = 1.0
    scene.queue.add(lease("a"), lease("b"))
    took = await scene.until(lambda: len(scene.queue.settled) == 2)
    assert took == pytest.approx(2, abs=0.05)


@virtual
async def test_no_slots_are_offered_for_kinds_of_handlers_that_it_has_not() -> None:
    scene = Scene(slots=1, async_slots=5)
    scene.executor.fresh = [HandlerSpec(name="work")]
    scene.supervisor._hello = type(scene.supervisor._hello)(
        name="w", handlers=scene.executor.fresh, slots=1, async_slots=5
    )
    await scene.begin()
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(100)
    assert [free.asynchronous for free in scene.queue.of("claim")] == [0]


@virtual
async def test_a_lost_reply_to_a_claim_is_not_run_and_not_named() -> None:
    scene = await Scene().begin()
    scene.queue.lose_reply["claim"] = 1
    scene.queue.add(lease("a"))
    await asyncio.sleep(11)
    assert scene.executor.did("run") == []
    assert ("a", 1) in scene.queue.own_end  # so it comes back by itself
    scene.queue.add(lease("b"))
    await scene.until(lambda: scene.queue.outcomes == {"b": Outcome.SUCCEEDED})


@virtual
async def test_a_server_that_answers_nothing_at_once_is_not_asked_in_a_circle() -> None:
    scene = await Scene().begin()

    async def nothing(*_: object) -> list[object]:
        scene.queue.calls.append((now(), "claim", None))
        return []

    scene.queue.claim = nothing  # type: ignore[method-assign, assignment]
    scene.queue.add(lease("wakes the open poll"))
    await asyncio.sleep(100)
    assert len(scene.queue.times("claim")) < 110


@virtual
async def test_a_claim_that_took_long_is_confirmed_by_a_heartbeat_before_its_job_starts() -> None:
    """The job may have been given away already while the reply was under way."""
    scene = await Scene().begin()
    scene.queue.delay_back["claim"] = 25.0
    scene.queue.add(lease("late"), lease("gone"))
    await asyncio.sleep(20)
    scene.queue.take_away("gone")
    await asyncio.sleep(6)
    assert scene.executor.did("run") == [("late", 1)]
    confirmed = [at for at, verb, held in scene.queue.calls if verb == "heartbeat" and len(held) == 2]
    assert len(confirmed) == 1 and confirmed[0] <= scene.executor.when("run")[0]
    assert scene.executor.when("run")[0] - scene.began == pytest.approx(25, abs=0.01)
    assert scene.executor.did("kill_all") == []


# Claiming ahead


@virtual
async def test_short_jobs_are_claimed_ahead_and_run_in_their_slots_only() -> None:
    scene = await Scene(slots=2).begin()
    scene.queue.delay["claim"] = scene.queue.delay_back["claim"] = 0.001
    for n in range(1000):
        scene.executor.lasts[f"j{n}"] = 0.0002
    scene.queue.add(*(lease(f"j{n}") for n in range(1000)))
    took = await scene.until(lambda: len(scene.queue.settled) == 1000)
    assert took < 0.2  # 0.1 s of work for two slots; one claim a job would take over 1 s
    assert scene.executor.most == 2
    assert max(free.total for free in scene.queue.of("claim")) <= 252  # 25 ms of work
    assert len(scene.queue.of("claim")) <= 12 and len(scene.queue.of("settle")) <= 200  # nothing is in a hurry


@virtual
async def test_slow_jobs_are_never_claimed_ahead() -> None:
    scene = await Scene(slots=2).begin()
    for n in range(20):
        scene.executor.lasts[f"j{n}"] = 0.006
    scene.queue.add(*(lease(f"j{n}") for n in range(20)))
    most = 0
    while len(scene.queue.settled) < 20:
        most = max(most, len(scene.queue.holder))
        await asyncio.sleep(0.0005)
    assert most <= 4  # two that run, two whose settle is under way
    assert max(free.total for free in scene.queue.of("claim")) == 2


@virtual
async def test_what_was_claimed_ahead_goes_back_when_slow_jobs_are_before_it() -> None:
    scene = await Scene(slots=1).begin()
    for n in range(50):
        scene.executor.lasts[f"j{n}"] = 0.001
    scene.executor.lasts["slow"] = 100.0
    scene.queue.add(*(lease(f"j{n}") for n in range(50)), lease("slow"), *(lease(f"k{n}") for n in range(5)))
    await scene.until(lambda: ("slow", 1) in scene.executor.running)
    took = await scene.until(lambda: len(scene.queue.settled) == 55)
    assert took <= 0.6
    assert {scene.queue.outcomes[f"k{n}"] for n in range(5)} == {Outcome.INTERRUPTED}
    scene.queue.add(lease("later"))
    await asyncio.sleep(10)
    assert list(scene.queue.ready) == [lease("later")]  # nothing is claimed ahead any more


@virtual
async def test_an_abort_of_what_waits_for_a_slot_ends_it_unseen() -> None:
    scene = await Scene(slots=1).begin()
    for n in range(50):
        scene.executor.lasts[f"j{n}"] = 0.001
    scene.executor.lasts["slow"] = 100.0
    scene.queue.add(*(lease(f"j{n}") for n in range(50)), lease("slow"), lease("victim"))
    await scene.until(lambda: ("slow", 1) in scene.executor.running)
    assert ("victim", 1) in scene.queue.holder
    scene.queue.abort("victim")
    assert await scene.until(lambda: scene.queue.outcomes.get("victim") is Outcome.ABORTED) <= 0.01
    assert ("victim", 1) not in scene.executor.did("run") and scene.executor.most == 1


# Reporting


@virtual
async def test_reports_that_come_together_travel_together() -> None:
    scene = await Scene(slots=50).begin()
    scene.queue.delay["settle"] = 0.5
    for n in range(50):
        scene.executor.lasts[f"j{n}"] = 1.0 + n / 1000
    scene.queue.add(*(lease(f"j{n}") for n in range(50)))
    await scene.until(lambda: len(scene.queue.settled) == 50)
    assert [len(batch) for batch in scene.queue.of("settle")] == [1, 49]


@virtual
async def test_a_lone_report_waits_for_nobody() -> None:
    scene = await Scene().begin()
    scene.queue.add(lease("a"))
    assert await scene.until(lambda: scene.queue.settled) <= 0.001


@virtual
async def test_a_slot_is_free_when_the_tree_has_ended_not_when_the_settle_is_answered() -> None:
    scene = await Scene(slots=1).begin()
    scene.queue.delay["settle"] = 3.0
    scene.queue.add(lease("a"), lease("b"))
    await asyncio.sleep(0.01)
    assert scene.executor.did("run") == [("a", 1), ("b", 1)]


@virtual
async def test_a_lost_reply_to_a_settle_is_sent_again_and_changes_nothing() -> None:
    scene = await Scene().begin()
    scene.queue.lose_reply["settle"] = 1
    scene.queue.add(lease("a"))
    await asyncio.sleep(2)
    assert len(scene.queue.of("settle")) == 2
    assert scene.queue.outcomes == {"a": Outcome.SUCCEEDED}
    await asyncio.sleep(20)
    assert len(scene.queue.of("settle")) == 2
    assert scene.queue.of("heartbeat")[-1] == []


@virtual
async def test_reports_are_kept_through_an_outage_shorter_than_the_lease() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = 1.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(0.5)
    scene.queue.go_down()
    await asyncio.sleep(9)
    scene.queue.come_back()
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED}, 2)
    assert scene.executor.did("kill_all") == []


@virtual
async def test_unsettled_reports_are_bounded() -> None:
    scene = await Scene(slots=2).begin()
    scene.queue.fault["settle"] = lambda: Unavailable("the disk is full")
    for n in range(100):
        scene.executor.lasts[f"j{n}"] = 0.01
    scene.queue.add(*(lease(f"j{n}") for n in range(100)))
    await asyncio.sleep(10)
    assert 20 <= len(scene.executor.did("run")) <= 22
    scene.queue.come_back()
    await scene.until(lambda: len(scene.queue.settled) == 100)


@virtual
async def test_one_report_that_the_server_refuses_holds_up_no_other() -> None:
    scene = await Scene(slots=3).begin()
    settle = scene.queue.settle

    async def picky(worker: str, reports: Any) -> Any:
        if any(r.job == "big" and bytes(r.result) == b'"done"' for r in reports):
            raise Invalid("result", "is at most 5 bytes of JSON")
        return await settle(worker, reports)

    scene.queue.settle = picky  # type: ignore[method-assign]
    for job in ("a", "big", "b"):
        scene.executor.lasts[job] = 1.0
    scene.queue.add(lease("a"), lease("big"), lease("b"))
    await scene.until(lambda: len(scene.queue.settled) == 3, 5)
    assert scene.queue.outcomes == {"a": Outcome.SUCCEEDED, "b": Outcome.SUCCEEDED, "big": Outcome.BAD_RESULT}
    error = scene.queue.settled["big", 1].error
    assert error is not None and "at most 5 bytes" in error.message


# Orders


@virtual
async def test_an_abort_reaches_the_executor_at_once_and_its_proof_is_reported() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(3)
    scene.queue.abort("a", grace_s=2.0)
    assert await scene.until(lambda: scene.queue.settled) <= 0.002
    assert scene.executor.did("stop") == [("a", 1, 2.0, Outcome.ABORTED)]
    report = scene.queue.settled["a", 1]
    assert report.outcome is Outcome.ABORTED and report.proof is not None


@virtual
async def test_a_timeout_that_the_server_reminds_of_is_reported_as_one() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(3)
    scene.queue.abort("a", why="timed_out")
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.TIMED_OUT}, 1)


@virtual
async def test_without_a_watch_the_next_heartbeat_says_it() -> None:
    scene = await Scene().begin()
    scene.queue.go_down("watch")
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(32)
    scene.queue.abort("a")
    assert 0.01 < await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.ABORTED}) <= 5.01


@virtual
async def test_an_abort_that_overtakes_the_reply_to_the_claim_ends_the_job_before_it_starts() -> None:
    scene = await Scene().begin()
    scene.queue.delay_back["claim"] = 1.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(0.5)
    scene.queue.abort("a")
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.ABORTED}, 2)
    assert scene.executor.did("run") == []


@virtual
async def test_a_lost_attempt_is_killed_without_grace_and_nothing_is_reported() -> None:
    scene = await Scene(slots=1).begin()
    scene.executor.lasts["a"] = None
    scene.executor.ends_after["a"] = 0.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(3)
    scene.queue.take_away("a")
    await asyncio.sleep(8)
    assert scene.executor.did("stop") == [("a", 1, 0.0, Outcome.LOST)]
    assert scene.queue.of("settle") == []
    assert scene.queue.of("heartbeat")[-1] == []
    scene.queue.add(lease("b"))
    await scene.until(lambda: scene.queue.outcomes == {"b": Outcome.SUCCEEDED}, 1)


@virtual
async def test_a_lost_attempt_keeps_its_slot_until_its_tree_has_ended() -> None:
    scene = await Scene(slots=1).begin()
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"), lease("b"))
    await asyncio.sleep(3)
    scene.executor.stop = lambda *_: None  # type: ignore[method-assign]
    scene.queue.take_away("a")
    await asyncio.sleep(20)
    assert scene.executor.did("run") == [("a", 1)]
    assert scene.executor.did("kill_all") == []
    await scene.executor.kill_all()
    await scene.until(lambda: ("b", 1) in scene.executor.did("run"), 1)


@virtual
async def test_survivors_of_sigkill_drain_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.executor.lasts["b"] = 40.0
    scene.executor.survivors["a"] = [4711]
    scene.queue.add(lease("a"), lease("b"))
    await asyncio.sleep(1)
    scene.queue.abort("a")
    await scene.over()
    assert scene.queue.outcomes == {"a": Outcome.ABORTED, "b": Outcome.SUCCEEDED}
    assert "4711" in caplog.text


# Drains


@virtual
async def test_a_drain_lets_jobs_finish_within_its_time_and_interrupts_the_rest() -> None:
    scene = await Scene(slots=3).begin()
    scene.executor.lasts.update({"quick": 4.0, "slow": None, "slower": None})
    scene.executor.ends_after["slower"] = 3.0
    scene.queue.add(lease("quick"), lease("slow"), lease("slower"))
    await asyncio.sleep(1)
    scene.supervisor.request_drain()
    assert scene.supervisor.draining
    scene.queue.add(lease("too late"))
    began = now()
    await scene.over()
    assert scene.queue.outcomes == {
        "quick": Outcome.SUCCEEDED,
        "slow": Outcome.INTERRUPTED,
        "slower": Outcome.INTERRUPTED,
    }
    assert [at - began for at in scene.executor.when("stop")] == [10.0, 10.0]
    assert now() - began == pytest.approx(13, abs=0.01)
    assert scene.queue.left == ["w.0"] and not scene.queue.holder
    assert [lease.job for lease in scene.queue.ready] in ([], ["too late"])


@virtual
async def test_a_drain_ends_the_open_claim_so_that_others_take_what_comes() -> None:
    scene = await Scene(slots=2).begin()
    scene.executor.lasts["a"] = 5.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(1)
    scene.supervisor.request_drain()
    scene.queue.add(lease("b"))
    await asyncio.sleep(0.1)
    assert scene.queue.outcomes == {}
    await scene.over()
    assert scene.executor.did("run") == [("a", 1)]
    assert [lease.job for lease in scene.queue.ready] == ["b"]
    assert scene.queue.outcomes["a"] is Outcome.SUCCEEDED


@virtual
async def test_an_idle_worker_drains_at_once() -> None:
    scene = await Scene().begin()
    await asyncio.sleep(3)
    scene.supervisor.request_drain()
    await scene.over()
    assert now() - scene.began == 3
    assert scene.queue.left == ["w.0"]


@virtual
async def test_the_second_signal_kills_and_gives_back_at_once() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(1)
    scene.supervisor.request_drain()
    await asyncio.sleep(1)
    scene.supervisor.request_stop_now()
    await scene.over()
    assert now() - scene.began == 2
    assert scene.executor.did("kill_all") == [[("a", 1)]]
    assert scene.queue.given_back == [("a", 1)] and scene.queue.settled == {}


@virtual
async def test_stopping_while_the_server_is_away_takes_two_seconds_at_most() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(1)
    for verb in ("settle", "leave", "heartbeat"):
        scene.queue.delay[verb] = 1000.0
    scene.supervisor.request_stop_now()
    await scene.over()
    assert now() - scene.began <= 3.01
    assert scene.executor.running == {}


@virtual
async def test_the_servers_order_to_drain_has_no_time_limit() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = 100.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(1)
    scene.queue.draining.add("w.0")
    scene.queue.bell()
    await asyncio.sleep(1)
    assert not scene.supervisor.draining  # so that the first SIGTERM is still the first
    await scene.over()
    assert scene.queue.outcomes == {"a": Outcome.SUCCEEDED}
    assert scene.executor.did("stop") == []
    assert scene.queue.left == ["w.0"]
    assert len([1 for _, verb, _ in scene.queue.calls if verb == "watch"]) < 110


@virtual
async def test_a_drain_in_an_outage_ends_with_the_lease() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = 2.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(1)
    scene.queue.go_down()
    scene.supervisor.request_drain()
    await scene.over()
    assert 12 <= now() - scene.began <= 16


# Reloading


@virtual
async def test_a_reload_drains_loads_and_registers_anew() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = 4.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(1)
    scene.executor.fresh = [HandlerSpec(name="work"), HandlerSpec(name="new")]
    await scene.supervisor.reload()
    await scene.until(lambda: len(scene.queue.workers) == 1)
    assert now() - scene.began == pytest.approx(4, abs=0.01)
    assert scene.queue.outcomes == {"a": Outcome.SUCCEEDED}
    assert [h.name for h in scene.queue.workers["w.1"].handlers] == ["work", "new"]
    assert [what for _, what, _ in scene.executor.history if what in ("close", "start")] == ["close", "start"]
    scene.queue.add(lease("b"))
    await scene.until(lambda: scene.queue.outcomes.get("b") is Outcome.SUCCEEDED, 1)


@virtual
async def test_code_that_does_not_import_waits_for_the_next_reload(caplog: pytest.LogCaptureFixture) -> None:
    scene = await Scene().begin()
    start = scene.executor.start

    async def broken() -> list[HandlerSpec]:
        raise ImportError("cannot import jobs: SyntaxError")

    scene.executor.start = broken  # type: ignore[method-assign]
    await scene.supervisor.reload()
    assert "SyntaxError" in caplog.text
    await asyncio.sleep(100)
    assert scene.queue.workers == {}
    scene.executor.start = start  # type: ignore[method-assign]
    await scene.supervisor.reload()
    await scene.until(lambda: list(scene.queue.workers) == ["w.1"], 1)
    scene.executor.start = broken  # type: ignore[method-assign]
    await scene.supervisor.reload()
    scene.supervisor.request_drain()
    await scene.over()


# Loops


@virtual
async def test_an_unexpected_error_in_a_loop_is_logged_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    scene = await Scene().begin()
    heartbeat: Callable[..., Awaitable[Any]] = scene.queue.heartbeat
    errors = [ZeroDivisionError("a bug")]

    async def flawed(*args: Any) -> Any:
        if errors:
            raise errors.pop()
        return await heartbeat(*args)

    scene.queue.heartbeat = flawed  # type: ignore[method-assign]
    await asyncio.sleep(6)
    assert "a bug" in caplog.text and "heartbeat" in caplog.text
    assert len(scene.queue.of("heartbeat")) == 1
    scene.queue.add(lease("a"))
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED}, 1)


@virtual
async def test_a_broken_executor_is_started_again_and_its_jobs_are_left_to_be_rescued() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(1)
    scene.executor.broken = RuntimeError("the keeper is gone")
    scene.queue.add(lease("b"))
    await scene.until(lambda: list(scene.queue.workers) == ["w.0", "w.1"], 1)
    assert [what for _, what, _ in scene.executor.history if what != "run" and what != "end"] == [
        "kill_all",
        "close",
        "start",
    ]
    assert scene.queue.settled == {} and scene.queue.given_back == []
    scene.queue.add(lease("c"))
    await scene.until(lambda: scene.queue.outcomes == {"c": Outcome.SUCCEEDED}, 1)
