"""Keys: what runs of them is counted; what is held is out of the way of claims, counts as queued, and comes back in order."""

from __future__ import annotations

from rota.core.fairness import TurnName
from rota.core.jobs import Job
from rota.core.limits import Limit
from rota.core.settling import cancel
from rota.core.states import Reason, State
from rota.store.protocol import Take

from .bench import START, Bench, a_job

ANA = TurnName("default", 0, "ana", "h")
FIRST = TurnName("", 0, "", "")


def keyed(name: str, key: str | None = "k", **fields: object) -> Job:
    job = a_job(name, **{"owner": "ana", **fields})
    job.limit_key = key
    return job


def heads(bench: Bench, room: int = 9) -> list[tuple[str, str | None]]:
    _, turns = bench.read(lambda tx: tx.turns([("default", "h", 99)], room))
    return [(job, key) for turn in turns for (_, job), key in zip(turn.heads, turn.keys or [None] * 9, strict=False)]


def test_keys_are_told_and_regarded_only_where_some_key_has_a_limit(bench: Bench):
    bench.insert(keyed("a"), keyed("b", None), keyed("c"))
    assert heads(bench) == [("a", None), ("b", None)]
    take = Take(ANA, 1, None)
    assert [c.lease.job for c in bench.write(lambda tx: tx.claim_jobs("w", [take]))[0]] == ["a"]
    bench.write(lambda tx: tx.put_limit(Limit(kind="key", name="x", concurrency=1)))
    bench.insert(keyed("d", "l", run_at=START + 1))
    assert heads(bench) == [("b", None), ("c", "k"), ("d", "l")]

    async def claim(tx):
        await tx.turns([("default", "h", 99)], 9)
        return await tx.claim_jobs("w", [Take(ANA, 3, None)]), await tx.claim_jobs("w", [Take(ANA, 2, None, ["d"])])

    unnamed, named = bench.write(claim)
    assert [c.lease.job for c in unnamed[0]] == ["b"], "of the first those without a key"
    assert [c.lease.job for c in named[0]] == ["d"]
    assert bench.read(lambda tx: tx.count_keys(["k", "l", "none"], 9)) == {"k": 1, "l": 1, "none": 0}
    assert bench.read(lambda tx: tx.running_of_key("k", 9)) == ["a"]
    assert bench.read(lambda tx: tx.ready_of_key("k", "default", "h", 9)) == 1


def test_what_is_held_is_out_of_the_way_and_comes_back_in_order(bench: Bench):
    bench.insert(
        *(keyed(f"j{n}") for n in range(4)), keyed("z", priority=1), keyed("o", "other"), keyed("b", owner="bo")
    )
    place = ("k", "default", "h")
    assert bench.write(lambda tx: tx.hold_jobs([place], 99)) == 6
    assert bench.write(lambda tx: tx.hold_jobs([place], 99)) == 0
    assert heads(bench) == [("o", None)]
    assert bench.read(lambda tx: tx.missing_turns(FIRST, 99)) == ([], None)
    assert {row.n for row in bench.read(lambda tx: tx.counts()) if row.state is State.QUEUED} == {7}
    assert bench.lock("j1").held
    assert bench.lock("j1").lane == "h"
    assert bench.read(lambda tx: tx.held_keys("", 9)) == ["k"]
    assert bench.read(lambda tx: tx.held_keys("k", 9)) == []
    assert bench.read(lambda tx: tx.are_held(["k", "other"])) == {"k"}
    turns = bench.read(lambda tx: tx.held_turns("k", FIRST, 99, 3))
    assert [(t.name.owner, t.name.priority, [job for _, job in t.heads]) for t in turns] == [
        ("ana", 0, ["j0", "j1", "j2"]), ("ana", 1, ["z"]), ("bo", 0, ["b"]),
    ]  # fmt: skip
    assert [t.name.owner for t in bench.read(lambda tx: tx.held_turns("k", turns[1].name, 99, 3))] == ["bo"]
    released = bench.write(lambda tx: tx.release_jobs([("j0", ANA), ("o", ANA), ("gone", ANA)]))
    assert released == [("j0", ANA)]
    assert [job for job, _ in heads(bench)] == ["j0", "o"]
    assert bench.read(lambda tx: tx.wakeups()).held


def test_whatever_is_done_to_what_is_held_ends_that(bench: Bench):
    bench.insert(*(keyed(f"j{n}") for n in range(3)))
    bench.write(lambda tx: tx.hold_jobs([("k", "default", "h")], 99))
    canceled, moved, _ = (bench.lock(f"j{n}") for n in range(3))
    bench.write(lambda tx: tx.move_jobs([(canceled, cancel(canceled, START, Reason.REQUESTED))]))
    bench.write(lambda tx: tx.edit_job(moved, priority=0, run_at=START, queue="default", state="queued"))
    assert [job for job, _ in heads(bench)] == ["j1"]
    assert not bench.lock("j0").held
    assert {(row.lane, row.state, row.n) for row in bench.read(lambda tx: tx.counts()) if row.n} == {
        ("h", State.QUEUED, 2), ("h", State.CANCELED, 1),
    }  # fmt: skip


def test_buckets_of_keys_that_are_full_again_are_removed(bench: Bench):
    bench.write(lambda tx: tx.put_buckets([("key", "a", 5), ("key", "b", 7), ("queue", "a", 5)]))
    assert bench.write(lambda tx: tx.forget_buckets(6, 9)) == 1
    pools = [("key", "a"), ("key", "b"), ("queue", "a")]
    assert bench.read(lambda tx: tx.buckets(pools)) == {("key", "b"): 7, ("queue", "a"): 5}
