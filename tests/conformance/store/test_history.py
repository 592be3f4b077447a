"""Events, attempts, output, calls of hooks, answers."""

from __future__ import annotations

import pytest

from rota.core.jobs import Attempt, Failure, LogChunk, Proof
from rota.core.states import Outcome, State
from rota.store.protocol import NewEvent, Tx
from rota.store.rows import Try

from .bench import START, Bench, a_job


def test_events_are_numbered_in_the_order_of_commits_and_carry_the_stores_time(bench: Bench):
    assert bench.read(lambda tx: tx.last_event()) == 0
    bench.write(
        lambda tx: tx.append_events(
            [NewEvent("a", "ana", "submitted", State.QUEUED), NewEvent("b", "bob", "submitted", State.QUEUED)]
        )
    )
    bench.now += 7
    bench.write(lambda tx: tx.append_events([NewEvent("a", "ana", "started", State.RUNNING, 1, "w", "because")]))
    every = bench.read(lambda tx: tx.events_after(0, 9))
    assert [(e.job, e.owner, e.kind, e.state, e.attempt, e.by, e.why, e.at) for e in every] == [
        ("a", "ana", "submitted", State.QUEUED, 0, None, None, START),
        ("b", "bob", "submitted", State.QUEUED, 0, None, None, START),
        ("a", "ana", "started", State.RUNNING, 1, "w", "because", START + 7),
    ]  # fmt: skip
    seqs = [e.seq for e in every]
    assert seqs == sorted(set(seqs))
    assert bench.read(lambda tx: tx.last_event()) == seqs[-1]
    assert bench.read(lambda tx: tx.events_after(seqs[0], 1)) == [every[1]]
    assert bench.read(lambda tx: tx.events_of("a", 0, 9)) == [every[0], every[2]]
    assert bench.read(lambda tx: tx.events_of("a", seqs[0], 9)) == [every[2]]
    assert bench.read(lambda tx: tx.events_of("a", 0, 1)) == [every[0]]


def test_numbers_of_events_are_never_used_again(bench: Bench):
    """A reader that resumes after an event that was pruned must miss nothing."""
    bench.insert(a_job("a"))
    bench.write(lambda tx: tx.append_events([NewEvent("a", "o", "submitted", State.QUEUED)]))
    last = bench.read(lambda tx: tx.last_event())
    bench.claim("a")
    bench.settle("a")
    bench.write(lambda tx: tx.delete_jobs([("a", "default", "h", "succeeded")]))
    bench.reopen()
    bench.write(lambda tx: tx.append_events([NewEvent("b", "o", "submitted", State.QUEUED)]))
    assert bench.read(lambda tx: tx.last_event()) > last


def test_attempts_come_the_first_first(bench: Bench):
    second = Attempt(
        attempt=2, worker="w", started_at=3, finished_at=4, outcome=Outcome.ERRORED, exit_code=7,
        error=Failure(type="exit", message="7"), proof=Proof(signals=[("TERM", 0.0)], processes=3, took_s=0.5),
    )  # fmt: skip
    first = Attempt(attempt=1, worker="v", started_at=1, finished_at=2, outcome=Outcome.LOST)
    bench.write(lambda tx: tx.insert_attempts([("a", second)]))
    bench.write(lambda tx: tx.insert_attempts([("a", first), ("b", first)]))
    assert bench.read(lambda tx: tx.attempts_of("a")) == [first, second]
    assert bench.read(lambda tx: tx.attempts_of("nobody")) == []


def test_the_end_of_an_attempt_is_written_once(bench: Bench):
    attempt = Attempt(attempt=1, worker="v", started_at=1, finished_at=2, outcome=Outcome.LOST)
    bench.write(lambda tx: tx.insert_attempts([("a", attempt)]))
    with pytest.raises(bench.kind.refusal):
        bench.write(lambda tx: tx.insert_attempts([("a", attempt)]))


def chunk(attempt: int, n: int, text: str = "x") -> LogChunk:
    return LogChunk(job="a", attempt=attempt, n=n, stream="stdout", text=text)


def test_output_comes_in_order_and_a_repeated_piece_adds_nothing(bench: Bench):
    bench.write(lambda tx: tx.append_logs([chunk(2, 0, "c"), chunk(1, 1, "b"), chunk(1, 0, "a\n\x07ü")]))
    bench.now += 5
    bench.write(lambda tx: tx.append_logs([chunk(1, 1, "other"), chunk(1, 2, "d")]))
    every = bench.read(lambda tx: tx.logs_of("a", None, (0, -1), 9))
    assert [(c.attempt, c.n, c.text, c.at) for c in every] == [
        (1, 0, "a\n\x07ü", START), (1, 1, "b", START), (1, 2, "d", START + 5), (2, 0, "c", START),
    ]  # fmt: skip
    assert bench.read(lambda tx: tx.logs_of("a", None, (1, 1), 9)) == every[2:]
    assert bench.read(lambda tx: tx.logs_of("a", None, (0, -1), 2)) == every[:2]
    assert bench.read(lambda tx: tx.logs_of("a", 1, (0, -1), 9)) == every[:3]
    assert bench.read(lambda tx: tx.logs_of("a", 1, (1, 0), 1)) == every[1:2]
    assert bench.read(lambda tx: tx.logs_of("a", 2, (0, -1), 9)) == every[3:]
    assert bench.read(lambda tx: tx.logs_of("b", None, (0, -1), 9)) == []


def test_output_of_one_attempt_from_a_place_in_another(bench: Bench):
    bench.write(lambda tx: tx.append_logs([chunk(a, n) for a in (1, 2) for n in (0, 1)]))
    places = bench.read(lambda tx: tx.logs_of("a", 2, (1, 0), 9))
    assert [(c.attempt, c.n) for c in places] == [(2, 0), (2, 1)]
    assert bench.read(lambda tx: tx.logs_of("a", 1, (2, 0), 9)) == [], "what is asked for lies before that place"


def test_calls_of_hooks_are_taken_hidden_and_noted(bench: Bench):
    bench.write(lambda tx: tx.insert_deliveries([("m1", "a", "http://h", "{}"), ("m2", "a", "http://i", "[]")]))
    bench.write(lambda tx: tx.insert_deliveries([("m1", "a", "http://other", "1")]))
    (first,) = bench.write(lambda tx: tx.take_deliveries(1, START + 10))
    (second,) = bench.write(lambda tx: tx.take_deliveries(9, START + 10))
    assert {first.id, second.id} == {"m1", "m2"}
    assert (first.url, first.body, first.tries) == ("http://h", "{}", 0)
    assert bench.write(lambda tx: tx.take_deliveries(9, START + 10)) == []
    bench.now = START + 10
    row = next(r for r in bench.write(lambda tx: tx.take_deliveries(9, START + 20)) if r.id == "m1")
    row.tries, row.next_at, row.log = (
        1,
        START + 99,
        [Try(at=START, status=500, took_s=0.1), Try(at=START, error="refused")],
    )
    bench.write(lambda tx: tx.note_delivery(row))
    assert bench.read(lambda tx: tx.wakeups()).delivery == START + 20
    row.tries, row.next_at, row.done_at, row.gave_up = 2, None, START + 30, True
    bench.write(lambda tx: tx.note_delivery(row))
    bench.now = START + 1000
    assert [r.id for r in bench.write(lambda tx: tx.take_deliveries(9, bench.now + 1))] == ["m2"]
    assert bench.read(lambda tx: tx.deliveries_of("a"))[0] == row
    assert bench.read(lambda tx: tx.deliveries_of("b")) == []


def test_answers_are_kept_once_and_forgotten(bench: Bench):
    assert bench.read(lambda tx: tx.get_answer("k")) is None
    bench.write(lambda tx: tx.put_answer("k", "print", b"\x00body"))
    assert bench.read(lambda tx: tx.get_answer("k")) == ("print", b"\x00body")
    with pytest.raises(bench.kind.refusal):
        bench.write(lambda tx: tx.put_answer("k", "print", b"2"))
    bench.now += 5
    bench.write(lambda tx: tx.put_answer("l", "p", b""))
    bench.write(lambda tx: tx.forget_answers(START, 9))
    assert bench.read(lambda tx: tx.get_answer("k")) is not None
    bench.write(lambda tx: tx.forget_answers(START + 1, 9))
    assert bench.read(lambda tx: tx.get_answer("k")) is None
    assert bench.read(lambda tx: tx.get_answer("l")) is not None

    async def three(tx: Tx) -> None:
        for key in "xyz":
            await tx.put_answer(key, "p", b"")

    bench.write(three)
    bench.write(lambda tx: tx.forget_answers(START + 99, 2))
    left = [key for key in "lxyz" if bench.read(lambda tx, key=key: tx.get_answer(key)) is not None]
    assert len(left) == 2
