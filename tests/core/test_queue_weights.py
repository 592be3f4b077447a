"""Queues of one priority take turns by their weights, within a job or two, whatever their owners; and no credit is saved up."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from rota.core.fairness import QueueStarts, QueueTurns, Turn, TurnName, choose


def row(queue: str, weight: float, *, owner: str = "o", age: int = 0) -> Turn:
    """A row with more jobs than anybody takes."""
    return Turn(TurnName(queue, 0, owner, "h"), 0, 0, 1.0, 0, ((age, queue),), True, queue_weight=weight)


def chosen(turns: list[Turn], room: int, queues: QueueTurns) -> Counter[str]:
    """Choose as a claim does; nothing is charged yet."""
    order = choose(turns, [{"all": 1}] * len(turns), {"all": room}, {}, queues).rows
    return Counter(turns[at].name.queue for at in order)


def charge(turns: list[Turn], starts: Counter[str], queues: QueueTurns) -> None:
    weights = {turn.name.queue: turn.queue_weight for turn in turns}
    queues.charge({(0, queue): QueueStarts(starts[queue], weight, waits=True) for queue, weight in weights.items()})


def started(turns: list[Turn], room: int, queues: QueueTurns) -> Counter[str]:
    """Let a claim of a server take what it chooses."""
    starts = chosen(turns, room, queues)
    charge(turns, starts, queues)
    return starts


@settings(max_examples=50, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=2, max_size=4).filter(
        lambda w: any(x != 1 for x in w)
    ),
    rooms=st.lists(st.integers(1, 20), min_size=1, max_size=30),
    owners=st.integers(1, 3),
)
def test_starts_follow_the_weights_of_queues(weights: list[float], rooms: list[int], owners: int) -> None:
    turns = [row(f"q{n}", w, owner=f"o{n}{i}", age=n) for n, w in enumerate(weights) for i in range(owners)]
    queues, total = QueueTurns(), Counter[str]()
    for room in rooms:
        total += started(turns, room, queues)
    each = sum(rooms) / sum(weights)
    for n, weight in enumerate(weights):
        assert abs(total[f"q{n}"] - each * weight) <= 1 + weight / min(weights), (total, weights)


def test_three_to_one_is_three_to_one_in_whatever_pieces() -> None:
    for room in (1, 2, 3, 7, 40):
        queues, total = QueueTurns(), Counter[str]()
        while total.total() < 400:
            total += started([row("a", 3.0, age=1), row("b", 1.0)], room, queues)
        assert abs(total["a"] - 3 * total["b"]) <= 4, (room, total)


def test_three_to_one_is_three_to_one_when_many_claims_are_under_way_at_once() -> None:
    """None of eight sees what the others take: they all take the same; but that is not forgotten."""
    turns = [row("a", 3.0, age=1), row("b", 1.0)]
    queues, total = QueueTurns(), Counter[str]()
    while total.total() < 800:
        at_once = [chosen(turns, 1, queues) for _ in range(8)]
        for starts in at_once:
            charge(turns, starts, queues)
            total += starts
    assert abs(total["a"] - 3 * total["b"]) <= 4 * 8, total


def test_a_queue_that_was_idle_has_no_credit() -> None:
    queues = QueueTurns()
    for _ in range(50):
        started([row("a", 3.0)], 10, queues)
    total = started([row("a", 3.0), row("b", 1.0)], 40, queues)
    assert abs(total["a"] - 30) <= 2
    queues.charge({(0, "a"): QueueStarts(100, 3.0, waits=False)})  # its last job has started: nobody waits
    assert queues.due(0, "new") == queues.due(0, "a") - 333_333


def test_without_weights_the_order_is_as_it_was() -> None:
    turns = [row("a", 1.0, age=5), row("b", 1.0, age=1), row("b", 1.0, owner="p", age=2)]
    pools = [{"all": 1}] * 3
    queues = QueueTurns()
    queues.charge({(0, "b"): QueueStarts(100, 1.0, waits=True)})
    assert choose(turns, pools, {"all": 20}, {}, queues) == choose(turns, pools, {"all": 20}, {})
