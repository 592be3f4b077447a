"""Schedules, their firings and their history."""

from __future__ import annotations

import pytest
from msgspec import Raw
from msgspec.structs import replace

from rota.core.schedules import Change, Fate, Firing, Missed, OpenFiring, Overlap, Schedule
from rota.core.states import State
from rota.store.protocol import Tx

from .bench import SECOND, START, Bench, a_job


def a_schedule(id_: str, **fields: object) -> Schedule:
    rest = {
        "name": f"name of {id_}", "owner": "ana", "rule": "0 9 * * *", "timezone": "Europe/Berlin",
        "job": Raw(b'{"handler":"h"}'), "seen": START, "next_at": START + 60 * SECOND, "zone_mark": "2026:a",
        "created_at": START, "updated_at": START, **fields,
    }  # fmt: skip
    return Schedule(id=id_, **rest)  # type: ignore[arg-type]


def a_firing(slot: int, schedule: str = "a", **fields: object) -> Firing:
    rest = {"at": START, "fate": Fate.SUBMITTED, "job": f"j{slot}", **fields}
    return Firing(schedule=schedule, slot=slot, **rest)  # type: ignore[arg-type]


def insert(bench: Bench, *schedules: Schedule) -> None:
    for schedule in schedules:
        bench.write(lambda tx, schedule=schedule: tx.insert_schedule(schedule))


def ids(schedules: list[Schedule]) -> str:
    return "".join(schedule.id for schedule in schedules)


def test_a_schedule_is_given_back_as_it_was_written(bench: Bench):
    full = a_schedule(
        "a", name="näme", missed=Missed.ALL, missed_limit=7, overlap=Overlap.ABORT, jitter_s=1.5, starts_at=1, ends_at=2,
        waiting=3, revision=4,
    )  # fmt: skip
    paused = a_schedule("b", paused_at=START, next_at=None)
    insert(bench, full, paused)
    bench.reopen()
    assert bench.read(lambda tx: tx.get_schedule("a")) == full
    assert bench.write(lambda tx: tx.lock_schedule("b")) == paused
    changed = replace(paused, name="other", paused_at=None, next_at=7, revision=2, job=Raw(b'{"handler":"i"}'))
    bench.write(lambda tx: tx.update_schedule(changed))
    assert bench.read(lambda tx: tx.get_schedule("b")) == changed
    assert bench.read(lambda tx: tx.get_schedule("none")) is None
    assert bench.write(lambda tx: tx.lock_schedule("none")) is None


def test_a_name_is_its_owners_alone(bench: Bench):
    insert(bench, a_schedule("a", name="n"), a_schedule("b", name="n", owner="bob"))
    with pytest.raises(bench.kind.refusal):
        insert(bench, a_schedule("c", name="n"))
    assert bench.read(lambda tx: tx.schedules_named("n", None, 9)) == ["a", "b"]
    assert bench.read(lambda tx: tx.schedules_named("n", None, 1)) == ["a"]
    assert bench.read(lambda tx: tx.schedules_named("n", "bob", 9)) == ["b"]
    assert bench.read(lambda tx: tx.schedules_named("n", "eve", 9)) == []


def test_a_paused_one_has_no_next_slot(bench: Bench):
    for wrong in (a_schedule("a", paused_at=1), a_schedule("a", paused_at=1, next_at=None, waiting=1)):
        with pytest.raises(bench.kind.refusal):
            insert(bench, wrong)


def test_they_are_listed_by_id_a_page_at_a_time(bench: Bench):
    insert(bench, *(a_schedule(id_, owner="ana" if id_ in "ac" else "bob") for id_ in "dbca"))
    assert ids(bench.read(lambda tx: tx.list_schedules(None, "", 3))) == "abc"
    assert ids(bench.read(lambda tx: tx.list_schedules(None, "c", 3))) == "d"
    assert ids(bench.read(lambda tx: tx.list_schedules("bob", "", 9))) == "bd"
    assert ids(bench.read(lambda tx: tx.list_schedules("ana", "a", 9))) == "c"


def test_due_ones_come_in_the_order_of_their_slots(bench: Bench):
    insert(
        bench,
        a_schedule("a", next_at=START + 2),
        a_schedule("b", next_at=START + 1),
        a_schedule("c", next_at=START + 3),
    )
    insert(bench, a_schedule("p", next_at=None))
    seen = bench.read(lambda tx: tx.wakeups())
    assert (seen.slot, seen.waits) == (START + 1, False)
    upcoming = bench.read(lambda tx: tx.next_schedules(2))
    assert [(one.id, one.next_at) for one in upcoming] == [("b", START + 1), ("a", START + 2)]
    assert ids(bench.write(lambda tx: tx.due_schedules(9))) == ""
    bench.now += 2
    assert ids(bench.write(lambda tx: tx.due_schedules(9))) == "ba"
    assert ids(bench.write(lambda tx: tx.due_schedules(1))) == "b"
    assert bench.write(lambda tx: tx.due_schedules(1)) == [bench.read(lambda tx: tx.get_schedule("b"))]

    async def move(tx: Tx) -> None:
        b, a = await tx.due_schedules(9)
        b.seen, b.next_at, b.zone_mark = START + 2, START + 60, "2027:b"
        a.seen, a.next_at, a.waiting = START + 2, None, START + 2
        await tx.move_schedules([a, b])

    bench.write(move)
    assert ids(bench.write(lambda tx: tx.due_schedules(9))) == ""
    moved = bench.read(lambda tx: tx.list_schedules(None, "", 2))
    assert [(s.seen, s.next_at, s.waiting, s.zone_mark) for s in moved] == [
        (START + 2, None, START + 2, "2026:a"), (START + 2, START + 60, None, "2027:b"),
    ]  # fmt: skip
    seen = bench.read(lambda tx: tx.wakeups())
    assert (seen.slot, seen.waits) == (START + 3, True)


def test_a_slot_fires_once(bench: Bench):
    first = [a_firing(1), a_firing(2, fate=Fate.MISSED, job=None, why="late"), a_firing(1, schedule="b", manual=True)]
    bench.write(lambda tx: tx.insert_firings(first))
    with pytest.raises(bench.kind.refusal):
        bench.write(lambda tx: tx.insert_firings([a_firing(3), a_firing(2)]))
    bench.write(lambda tx: tx.insert_firings([]))
    wanted = [("a", 3), ("a", 2), ("b", 1), ("b", 2)]
    assert bench.read(lambda tx: tx.fired_slots(wanted)) == {("a", 2), ("b", 1)}
    assert bench.read(lambda tx: tx.fired_slots([])) == set()
    assert bench.read(lambda tx: tx.firings_of("a", 1 << 62, 9)) == [first[1], first[0]]
    assert bench.read(lambda tx: tx.firings_of("a", 3, 1)) == [first[1]]
    assert bench.read(lambda tx: tx.firings_of("b", 9, 9)) == [first[2]]


def test_a_slot_that_waits_is_free_when_every_open_job_is_over(bench: Bench):
    insert(bench, a_schedule("a", waiting=9, next_at=None), a_schedule("b", waiting=9, next_at=None), a_schedule("c"))
    bench.insert(a_job("j1"), a_job("j2", priority=1))
    bench.register()
    bench.claim("j2")
    firings = [
        a_firing(1, open=True),
        a_firing(2, open=True),
        a_firing(3, job="pruned", open=True),
        a_firing(4, job="j1"),
    ]
    bench.write(lambda tx: tx.insert_firings([*firings, a_firing(9, fate=Fate.WAITING, job=None)]))
    assert ids(bench.write(lambda tx: tx.free_schedules(9))) == "b"
    found = bench.read(lambda tx: tx.open_firings(["a", "b"]))
    assert found == [
        OpenFiring("a", 1, "j1", State.QUEUED), OpenFiring("a", 2, "j2", State.RUNNING), OpenFiring("a", 3, "pruned", None),
    ]  # fmt: skip
    assert [firing.lives for firing in found] == [True, True, False]
    bench.settle("j2")
    assert ids(bench.write(lambda tx: tx.free_schedules(9))) == "b"
    bench.write(lambda tx: tx.close_firings([found[0], found[2]]))
    assert ids(bench.write(lambda tx: tx.free_schedules(9))) == "ab"
    assert ids(bench.write(lambda tx: tx.free_schedules(1))) == "a"
    assert [f.slot for f in bench.read(lambda tx: tx.open_firings(["a"]))] == [2]
    fired = a_firing(9, at=START + 1, job="j9", why="late", open=True)
    bench.write(lambda tx: tx.update_firings([fired]))
    assert bench.read(lambda tx: tx.firings_of("a", 99, 1)) == [replace(fired, open=False)]
    assert [f.slot for f in bench.read(lambda tx: tx.open_firings(["a"]))] == [2, 9]


def test_those_ahead_of_the_clock_are_found(bench: Bench):
    insert(bench, *(a_schedule(id_, seen=START + n) for n, id_ in enumerate("abcd")))
    assert ids(bench.write(lambda tx: tx.schedules_ahead(START, 2))) == "bc"
    assert ids(bench.write(lambda tx: tx.schedules_ahead(START + 3, 2))) == ""


def test_zones_are_told_with_the_marks_that_were_used(bench: Bench):
    marks = [("A", "2026:y"), ("A", "2026:x"), ("B", "2026:x"), ("A", "2026:x")]
    insert(bench, *(a_schedule(id_, timezone=z, zone_mark=m) for id_, (z, m) in zip("abcd", marks, strict=True)))
    insert(bench, a_schedule("p", timezone="C", next_at=None))
    assert bench.read(lambda tx: tx.zone_marks()) == sorted(set(marks))
    assert sorted(ids(bench.write(lambda tx: tx.schedules_by_mark("A", "2026:x", 9)))) == ["b", "d"]
    assert len(bench.write(lambda tx: tx.schedules_by_mark("A", "2026:x", 1))) == 1


def test_old_firings_are_forgotten(bench: Bench):
    bench.write(lambda tx: tx.insert_firings([a_firing(slot, at=START + slot) for slot in range(5)]))
    bench.write(lambda tx: tx.insert_firings([a_firing(0, schedule="b", open=True)]))
    assert bench.write(lambda tx: tx.forget_firings(START + 3, 2)) == 2
    assert [f.slot for f in bench.read(lambda tx: tx.firings_of("a", 99, 9))] == [4, 3, 2]
    assert bench.write(lambda tx: tx.forget_firings(START + 3, 9)) == 1
    assert [f.slot for f in bench.read(lambda tx: tx.firings_of("a", 99, 9))] == [4, 3]
    bench.write(lambda tx: tx.close_all_firings("b"))
    assert bench.read(lambda tx: tx.open_firings(["b"])) == []
    assert bench.write(lambda tx: tx.forget_firings(START + 3, 9)) == 1


def test_the_history_goes_with_its_schedule_and_firings_stay(bench: Bench):
    insert(bench, a_schedule("a"), a_schedule("b"))
    changes = [
        Change(schedule=id_, revision=n, at=START + n, by=None if n == 1 else "ana", what="made", settings=Raw(b'{"n":%d}' % n))
        for id_, n in (("a", 1), ("a", 2), ("b", 1))
    ]  # fmt: skip
    for change in changes:
        bench.write(lambda tx, change=change: tx.append_schedule_change(change))
    bench.write(lambda tx: tx.insert_firings([a_firing(1)]))
    assert bench.read(lambda tx: tx.schedule_changes("a", 1 << 62, 9)) == [changes[1], changes[0]]
    assert bench.read(lambda tx: tx.schedule_changes("a", 2, 9)) == [changes[0]]
    bench.write(lambda tx: tx.delete_schedule("a"))
    assert ids(bench.read(lambda tx: tx.list_schedules(None, "", 9))) == "b"
    assert bench.read(lambda tx: tx.schedule_changes("a", 9, 9)) == []
    assert bench.read(lambda tx: tx.schedule_changes("b", 9, 9)) == [changes[2]]
    assert len(bench.read(lambda tx: tx.firings_of("a", 9, 9))) == 1
