"""Rows of turns: whose it is, which jobs come first, what starts cost; and that none hides a ready job."""

from __future__ import annotations

import pytest

from rota.core.fairness import START as COST
from rota.core.fairness import Charge, Turn, TurnName
from rota.core.jobs import Job
from rota.core.settling import Settlement, cancel
from rota.core.states import Outcome, Reason, State
from rota.store.protocol import Take, Tx
from rota.store.rows import QueueRow

from .bench import SECOND, START, Bench, a_job, turn_of

ANA, BO = TurnName("default", 0, "ana", "h"), TurnName("default", 0, "bo", "h")


def turns(bench: Bench, *lanes: str, room: int = 9) -> list[Turn]:
    return bench.read(lambda tx: tx.turns([("default", lane, 99) for lane in lanes or ("h",)], room))[1]


def charge(bench: Bench, name: TurnName, n: int, *, due: int = 0) -> None:
    spent = Charge(name.whose, n * COST, 0, due, due + (n - 1) * COST, (name.lane,))
    assert bench.write(lambda tx: tx.charge_turns([spent])) == {name.whose}


def missing(bench: Bench) -> list[TurnName]:
    found, after = bench.read(lambda tx: tx.missing_turns(TurnName("", 0, "", ""), 99))
    assert after is None
    return found


def test_lanes_with_jobs_and_the_first_rows_of_those_that_are_asked_for(bench: Bench):
    bench.insert(
        a_job("a", run_at=START + 2), a_job("b", run_at=START + 1), a_job("c", run_at=START + 1), a_job("d", priority=5),
        a_job("e", priority=-1), a_job("f", queue="other"), a_job("g", handler="i"), a_job("h", state=State.SCHEDULED),
        a_job("i", owner="ana"),
    )  # fmt: skip
    ready, rows = bench.read(lambda tx: tx.turns([("default", "h", 99), ("default", "x", 99)], 9))
    assert sorted(ready) == [("default", "h"), ("default", "i"), ("other", "h")]
    assert sorted(ready) == sorted(bench.read(lambda tx: tx.ready_lanes()))
    found = {(turn.name.priority, turn.name.owner): [job for _, job in turn.heads] for turn in rows}
    assert found == {(5, "default"): ["d"], (0, "ana"): ["i"], (0, "default"): ["b", "c", "a"], (-1, "default"): ["e"]}
    assert [turn.name.priority for turn in rows] == [5, 0, 0, -1]
    assert rows[1].heads[0][0] in (START, START + 1)
    assert not any(turn.more for turn in rows)
    assert [(t.turn, t.clock, t.weight, t.served_at) for t in rows] == [(0, 0, 1.0, START)] * 4
    _, few = bench.read(lambda tx: tx.turns([("default", "h", 2)], 9))
    assert [turn.name.priority for turn in few] == [5, 0]


def test_as_many_jobs_of_each_row_are_told_as_may_be_needed(bench: Bench):
    bench.insert(*(a_job(f"a{n}", owner="ana") for n in range(8)))
    (turn,) = turns(bench)
    assert ([job for _, job in turn.heads], turn.more) == (["a0", "a1"], True)
    bench.insert(*(a_job(f"b{n}", owner="bo") for n in range(3)))
    of = {turn.name.owner: turn for turn in turns(bench, room=4)}
    assert ([job for _, job in of["ana"].heads], of["ana"].more) == (["a0", "a1", "a2", "a3", "a4"], True)
    assert ([job for _, job in of["bo"].heads], of["bo"].more) == (["b0", "b1", "b2"], False)
    assert bench.read(lambda tx: tx.ready_counts([(ANA, 5), (BO, 5)])) == [5, 3]
    job = bench.lock("a3")
    assert bench.read(lambda tx: tx.older_than(job, job.lane, 9)) == 3
    assert bench.read(lambda tx: tx.older_than(job, job.lane, 2)) == 2


def test_starts_cost_and_the_clock_goes_on_with_them(bench: Bench):
    bench.insert(a_job("a", owner="ana"), a_job("b", owner="ana", handler="i"), a_job("c", owner="bo"))
    bench.now += SECOND
    charge(bench, ANA, 3)
    of = {turn.name: turn for turn in turns(bench, "h", "i")}
    other = TurnName("default", 0, "ana", "i")
    assert (of[ANA].turn, of[ANA].clock, of[ANA].served_at) == (3 * COST, 2 * COST, START + SECOND)
    assert (of[other].turn, of[other].served_at) == (3 * COST, START), "the lanes of an owner share its turn"
    assert (of[BO].turn, of[BO].due) == (0, 2 * COST), "what lies behind the clock is no credit"
    charge(bench, BO, 1, due=2 * COST)
    assert {turn.name.owner: turn.turn for turn in turns(bench)} == {"ana": 3 * COST, "bo": 3 * COST}
    assert [turn.clock for turn in turns(bench)] == [2 * COST] * 2, "a clock does not go back"


def test_who_comes_new_is_due_at_the_clock_and_who_comes_again_not_before_its_turn(bench: Bench):
    bench.insert(a_job("a", owner="ana"), a_job("b", owner="bo"))
    bench.claim("b")
    bench.write(lambda tx: tx.empty_turns([BO]))
    charge(bench, ANA, 10)
    bench.insert(a_job("c", owner="new"), a_job("d", owner="bo"))
    assert {t.name.owner: t.turn for t in turns(bench)} == {"ana": 10 * COST, "bo": 9 * COST, "new": 9 * COST}
    bench.claim("a")
    bench.write(lambda tx: tx.empty_turns([ANA]))
    bench.insert(a_job("e", owner="ana"), a_job("f", owner="ana", handler="i"))
    assert {t.name.lane: t.turn for t in turns(bench, "h", "i") if t.name.owner == "ana"} == {
        "h": 10 * COST,
        "i": 10 * COST,
    }


def test_an_owners_weight_is_read_when_it_matters(bench: Bench):
    bench.insert(a_job("a", owner="ana"))
    bench.kind.sql("INSERT INTO rota_owners (owner, weight) VALUES ('ana', 2.5)")
    assert [turn.weight for turn in turns(bench)] == [2.5]
    assert [turn.weight for turn in bench.read(lambda tx: tx.oldest_turns([("default", "h")], START + 1, 3))] == [2.5]


def test_a_queues_weight_is_read_when_it_matters_and_pauses_leave_it(bench: Bench):
    bench.insert(a_job("a", owner="ana"), a_job("b", owner="ana", queue="q"))
    bench.write(lambda tx: tx.put_queue_weight("q", 2.5))
    bench.write(lambda tx: tx.put_queue(QueueRow("q", START, "ben")))
    assert bench.read(lambda tx: tx.queue_rows()) == [QueueRow("q", START, "ben", 2.5)]
    bench.write(lambda tx: tx.put_queue_weight("q", 0.5))
    assert bench.read(lambda tx: tx.queue_rows()) == [QueueRow("q", START, "ben", 0.5)]
    bench.write(lambda tx: tx.put_queue(QueueRow("q")))
    lanes = [("default", "h"), ("q", "h")]
    for found in (
        bench.read(lambda tx: tx.turns([(*lane, 9) for lane in lanes], 9))[1],
        bench.read(lambda tx: tx.oldest_turns(lanes, START + 1, 3)),
    ):
        assert {turn.name.queue: turn.queue_weight for turn in found} == {"default": 1.0, "q": 0.5}
    bench.write(lambda tx: tx.put_queue_weight("q", None))
    assert bench.read(lambda tx: tx.queue_rows()) == [QueueRow("q")]


def test_a_row_is_emptied_only_if_it_has_no_job_and_gone_when_it_says_nothing_more(bench: Bench):
    bench.insert(a_job("a", owner="ana"), a_job("b", owner="bo"))
    bench.write(lambda tx: tx.empty_turns([ANA, BO, TurnName("default", 0, "nobody", "h")]))
    assert {turn.name for turn in turns(bench)} == {ANA, BO}
    bench.claim("a")
    assert [turn.heads for turn in turns(bench) if turn.name == ANA] == [()]
    bench.write(lambda tx: tx.empty_turns([ANA, BO]))
    assert [turn.name for turn in turns(bench)] == [BO]
    charge(bench, ANA, 1)
    assert bench.write(lambda tx: tx.forget_turns(START, 9)) == 0, "its turn is still to come"
    charge(bench, BO, 2)
    assert bench.write(lambda tx: tx.forget_turns(START, 9)) == 1
    bench.claim("b")
    bench.write(lambda tx: tx.empty_turns([BO]))
    assert bench.write(lambda tx: tx.forget_turns(START + 1, 9)) == 1, "it is long idle"
    assert bench.kind.sql("SELECT count(*) FROM rota_turns") == [(0,)]


def test_rows_that_were_served_longest_ago(bench: Bench):
    for at, owner in enumerate("abc"):
        bench.now = START + at
        bench.insert(a_job(owner, owner=owner), a_job(owner + "i", owner=owner, handler="i"))
    bench.now = START + 9
    charge(bench, TurnName("default", 0, "a", "h"), 1)
    lanes = [("default", "h"), ("default", "i"), ("default", "x")]
    found = bench.read(lambda tx: tx.oldest_turns(lanes, START + 2, 1))
    assert sorted((turn.name.lane, turn.name.owner) for turn in found) == [("h", "b"), ("i", "a")]
    assert [turn.heads for turn in found if turn.name.lane == "h"] == [((START, "b"),)]


async def _claim_one(tx: Tx, job: str) -> Job:
    locked = (await tx.lock_jobs([job]))[job]
    await tx.claim_jobs("w", [Take(turn_of(locked), 1, None)])
    return (await tx.lock_jobs([job]))[job]


@pytest.mark.parametrize("way", ["submitted", "due", "edited", "again", "moved to another queue", "made ready"])
def test_whatever_makes_a_job_ready_makes_its_row_ready(bench: Bench, way: str):
    state = State.QUEUED if way in ("submitted", "again", "made ready") else State.SCHEDULED
    bench.insert(a_job("a", owner="ana", state=state))
    name = ANA

    async def write(tx: Tx) -> None:
        nonlocal name
        job = (await tx.lock_jobs(["a"]))["a"]
        queued = Settlement(state=State.QUEUED, run_at=START, failures=0, crashes=0)
        if way == "due":
            await tx.move_jobs([(job, queued)])
        elif way == "edited":
            name = name._replace(priority=7)
            await tx.edit_job(job, priority=7, run_at=START, queue="default", state="queued")
        elif way == "moved to another queue":
            name = name._replace(queue="q")
            await tx.edit_job(job, priority=0, run_at=START, queue="q", state="queued")
        elif way == "again":
            await tx.settle_jobs([(await _claim_one(tx, "a"), queued)])
        elif way == "made ready":
            await tx.move_jobs([(job, cancel(job, tx.now, Reason.REQUESTED))])
            await tx.make_ready([ANA])

    bench.write(write)
    rows = bench.kind.sql("SELECT queue, priority, owner, lane, state FROM rota_turns")
    assert rows == [(*name, "ready")]
    assert missing(bench) == []


def test_ready_jobs_whose_row_is_not_there_are_found(bench: Bench):
    bench.insert(*(a_job(f"{o}{n}", owner=o, priority=n % 2) for n in range(4) for o in "xyz"), a_job("q", queue="a"))
    rows = {TurnName("default", n, o, "h") for n in (0, 1) for o in "xyz"} | {TurnName("a", 0, "default", "h")}
    assert missing(bench) == []
    bench.kind.sql("UPDATE rota_turns SET state = 'empty' WHERE owner = 'x'")
    bench.kind.sql("DELETE FROM rota_turns WHERE owner <> 'x'")
    assert set(missing(bench)) == rows
    found, after = [], TurnName("", 0, "", "")
    while after is not None:
        more, after = bench.read(lambda tx, after=after: tx.missing_turns(after, 2))
        assert len(more) <= 2
        found += more
    assert sorted(found) == sorted(rows)
    bench.write(lambda tx: tx.make_ready(found))
    assert missing(bench) == []
    assert {turn.name for turn in turns(bench)} == rows - {TurnName("a", 0, "default", "h")}


def test_a_full_row_is_in_nobodys_way_and_is_not_missing(bench: Bench):
    bench.insert(a_job("a", owner="ana"))
    bench.kind.sql("UPDATE rota_turns SET state = 'full'")
    assert turns(bench) == []
    bench.insert(a_job("b", owner="ana"))
    assert turns(bench) == [] and missing(bench) == []
    bench.write(lambda tx: tx.empty_turns([ANA]))
    assert bench.kind.sql("SELECT state FROM rota_turns") == [("full",)]


def test_what_is_settled_makes_no_row(bench: Bench):
    bench.insert(a_job("a", owner="ana"))
    bench.claim("a")
    bench.kind.sql("DELETE FROM rota_turns")
    bench.settle("a", Outcome.SUCCEEDED)
    assert bench.kind.sql("SELECT count(*) FROM rota_turns") == [(0,)]
