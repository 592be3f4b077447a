"""Invariant 2 on the worker's side: what runs is dead before its lease can be over, and nothing late is believed."""

from __future__ import annotations

import asyncio

import pytest

from rota.core.states import Outcome
from tests import virtual_time
from tests.worker.fakes import LEASE_S, Scene, lease, now
from tests.worker.test_supervisor import virtual

MARGIN_S = 2.0


@virtual
async def test_heartbeats_name_every_attempt_that_is_held_until_its_settle_is_answered() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.queue.go_down("settle")
    scene.queue.add(lease("a"), lease("b"))
    await asyncio.sleep(11)
    assert [sorted(h.job for h in held) for held in scene.queue.of("heartbeat")] == [["a", "b"], ["a", "b"]]
    scene.queue.come_back()
    await asyncio.sleep(5)
    assert [h.job for h in scene.queue.of("heartbeat")[-1]] == ["a"]


@virtual
async def test_what_runs_is_killed_before_the_lease_ends_when_no_heartbeat_is_answered() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(12)  # heartbeats at 5 and 10 s were answered
    scene.queue.go_down("heartbeat")
    await scene.until(lambda: scene.executor.did("kill_all"))
    assert now() - scene.began == pytest.approx(10 + LEASE_S - MARGIN_S, abs=0.01)
    assert now() < scene.queue.lease_until["w.0"] - MARGIN_S + 0.01


@virtual
async def test_an_outage_counts_from_the_sending_of_the_last_answered_heartbeat_not_from_its_answer() -> None:
    scene = await Scene().begin()
    scene.queue.delay_back["heartbeat"] = 4.0
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(9.5)  # one heartbeat, sent at 5 and answered at 9
    scene.queue.go_down("heartbeat")
    await scene.until(lambda: scene.executor.did("kill_all"))
    assert now() - scene.began == pytest.approx(5 + LEASE_S - MARGIN_S, abs=0.01)


@virtual
async def test_heartbeats_whose_replies_are_lost_do_not_count() -> None:
    scene = await Scene().begin()
    scene.queue.lose_reply["heartbeat"] = 10_000
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await scene.until(lambda: scene.executor.did("kill_all"))
    assert now() - scene.began == pytest.approx(LEASE_S - MARGIN_S, abs=0.01)


@virtual
async def test_a_heartbeat_that_hangs_is_sent_again_in_time() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(4)
    scene.queue.delay["heartbeat"] = 1000.0
    await asyncio.sleep(5)  # the one sent at 5 s hangs
    scene.queue.delay["heartbeat"] = 0.0
    await asyncio.sleep(30)
    assert scene.executor.did("kill_all") == []


@virtual
async def test_a_heartbeat_that_crosses_a_claim_does_not_count_for_it() -> None:
    """The server promises such a lease no more than what the heartbeat before promised."""
    scene = await Scene(slots=2).begin()
    await asyncio.sleep(4)
    scene.queue.delay_back["claim"] = 2.0  # claimed at 4, the heartbeat at 5 does not name it, told at 6
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(1.5)
    scene.queue.go_down("heartbeat")
    await scene.until(lambda: scene.executor.did("kill_all"))
    assert ("a", 1) in scene.queue.own_end
    assert now() < scene.queue.own_end["a", 1] - MARGIN_S + 0.01


@virtual
async def test_such_a_lease_is_named_at_once() -> None:
    scene = await Scene(slots=2).begin()
    await asyncio.sleep(4)
    scene.queue.delay_back["claim"] = 2.0
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(2.1)
    assert [len(held) for held in scene.queue.of("heartbeat")] == [0, 1]
    assert scene.queue.own_end == {}


@virtual
async def test_after_the_fence_it_tells_what_is_lost_and_registers_anew() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.queue.add(lease("a"))
    await asyncio.sleep(1)
    scene.queue.go_down()
    await asyncio.sleep(20)
    assert scene.executor.did("kill_all") == [[("a", 1)]]
    scene.queue.come_back()
    await scene.until(lambda: list(scene.queue.workers) == ["w.1"], 6)
    assert scene.queue.outcomes == {"a": Outcome.LOST}  # at once, instead of after another lease
    assert scene.queue.left == ["w.0"]
    scene.queue.add(lease("b"))
    await scene.until(lambda: scene.queue.outcomes.get("b") is Outcome.SUCCEEDED, 1)


@virtual
async def test_what_had_finished_before_the_fence_is_not_run_again_if_it_is_still_ours() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = 3.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(1)
    scene.queue.go_down()
    await asyncio.sleep(30)
    scene.queue.come_back()
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED}, 6)


@virtual
async def test_nothing_is_killed_for_an_idle_worker_that_is_cut_off() -> None:
    scene = await Scene().begin()
    scene.queue.go_down()
    await asyncio.sleep(100)
    scene.queue.come_back()
    scene.queue.add(lease("a"))
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED}, 40)
    assert list(scene.queue.workers) == ["w.0"] and scene.executor.did("kill_all") == []


@virtual
async def test_a_worker_that_was_stopped_past_its_lease_kills_before_it_does_anything_else() -> None:
    scene = await Scene(slots=3).begin()
    scene.queue.delay["settle"] = 0.5
    scene.executor.lasts.update({"a": None, "b": 6.2, "c": 6.0})
    scene.queue.add(lease("a"), lease("b"), lease("c"))
    await asyncio.sleep(6.1)  # c's settle is on its way
    scene.queue.add(lease("d"))  # its claim is open, and will be answered at the moment of waking
    virtual_time.loop().jump(60)  # SIGSTOP
    woke, calls = now(), len(scene.queue.calls)
    for job in ("a", "b"):
        scene.queue.take_away(job)
    await scene.until(lambda: scene.executor.did("kill_all"), 0.01)
    assert scene.executor.when("kill_all") == [woke]
    await scene.until(lambda: "w.1" in scene.queue.workers, 6)
    after = [(verb, what) for _, verb, what in scene.queue.calls[calls:] if verb not in ("claim", "watch")]
    assert [verb for verb, _ in after] == ["settle", "leave", "register"]
    assert ("d", 1) not in scene.executor.did("run")
    assert "a" not in scene.queue.outcomes and "b" not in scene.queue.outcomes
    assert scene.queue.given_back == [("d", 1)]


@virtual
async def test_a_worker_that_was_stopped_for_less_than_its_lease_goes_on() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = 9.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(6)
    virtual_time.loop().jump(7)
    await scene.until(lambda: scene.queue.outcomes == {"a": Outcome.SUCCEEDED}, 10)
    assert scene.executor.did("kill_all") == [] and list(scene.queue.workers) == ["w.0"]


@virtual
async def test_a_claim_that_is_answered_after_a_stop_is_not_started() -> None:
    scene = await Scene().begin()
    scene.queue.delay_back["claim"] = 1.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(0.5)
    virtual_time.loop().jump(60)
    scene.queue.take_away("a")
    await asyncio.sleep(10)
    assert scene.executor.did("run") == []


@virtual
async def test_an_unknown_worker_kills_what_runs_and_registers_again() -> None:
    for verb in ("heartbeat", "claim", "settle", "watch", "tell"):
        await _unknown(verb)


async def _unknown(verb: str) -> None:
    scene = await Scene(slots=3).begin()
    scene.executor.lasts.update({"a": None, "b": 3.0})
    scene.queue.add(lease("a"), lease("b"))
    await asyncio.sleep(1)
    others = [other for other in ("heartbeat", "claim", "settle", "watch", "tell") if other != verb]
    scene.queue.forget_workers()
    scene.queue.go_down(*others)
    if verb == "tell":
        from rota.core.jobs import LogChunk

        scene.supervisor.on_output(LogChunk(job="a", attempt=1, n=0, stream="log", text="x"))
    scene.queue.bell()
    await scene.until(lambda: "w.1" in scene.queue.workers, 31)
    assert scene.executor.did("kill_all") == [[("a", 1)]] or scene.executor.did("kill_all") == [[("a", 1), ("b", 1)]]
    assert scene.executor.running == {}
    assert scene.queue.settled == {} and scene.queue.left == []
    scene.queue.come_back()
    scene.queue.add(lease("c"))
    await scene.until(lambda: "c" in scene.queue.outcomes, 31)
    scene.supervisor.request_stop_now()
    await scene.over()


@virtual
async def test_nothing_new_starts_while_the_killing_takes_its_time() -> None:
    scene = await Scene().begin()
    scene.executor.lasts["a"] = None
    scene.executor.kill_takes = 1.5
    scene.queue.add(lease("a"))
    await asyncio.sleep(1)
    scene.queue.go_down("heartbeat")
    await asyncio.sleep(LEASE_S - MARGIN_S - 1 + 0.5)
    assert scene.executor.did("kill_all") and scene.executor.running
    scene.queue.add(lease("b"))
    await asyncio.sleep(0.9)
    assert ("b", 1) not in scene.executor.did("run")
    assert scene.queue.settled == {}


@virtual
async def test_the_executor_is_told_when_the_leases_end_also_if_the_worker_is_stopped_by_then() -> None:
    scene = await Scene().begin()
    assert scene.executor.leased is None
    scene.executor.lasts["a"] = 20.0
    scene.queue.add(lease("a"))
    await asyncio.sleep(0.01)
    told = [scene.executor.leased]
    assert told[0] is not None and now() + 10 < told[0] < now() + LEASE_S
    await asyncio.sleep(6)
    told.append(scene.executor.leased)
    assert told[1] is not None and told[1] >= told[0] + 4, "a heartbeat has renewed it"
    await asyncio.sleep(21)
    assert scene.executor.leased is None, "nothing runs any more"
