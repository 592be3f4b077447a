"""Events that share a row: whoever reads sees the same as if each had one of its own."""

from __future__ import annotations

import pytest

from rota.core.jobs import Event
from rota.core.states import State
from rota.store.protocol import NewEvent

from .bench import START, Bench, a_job

JOBS = [f"job-{n}" for n in range(5)]


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """Five jobs that were submitted, claimed and settled together, and one of another owner."""
    bench.insert(*[a_job(job, submitted_at=START) for job in JOBS], a_job("hers", owner="eva", submitted_at=START))
    submitted = [NewEvent(job, "default", "submitted", State.QUEUED, shared=True) for job in JOBS]
    submitted.insert(2, NewEvent("hers", "eva", "submitted", State.QUEUED, shared=True))
    bench.write(lambda tx: tx.append_events(submitted))
    bench.now += 1
    bench.claim(*JOBS)
    bench.write(
        lambda tx: tx.append_events(
            [NewEvent(job, "default", "started", State.RUNNING, 1, "w", shared=True) for job in JOBS]
        )
    )
    bench.now += 1
    for job in JOBS:
        bench.settle(job)
    bench.write(
        lambda tx: tx.append_events(
            [NewEvent(job, "default", "succeeded", State.SUCCEEDED, 1, "w", shared=True) for job in JOBS]
        )
    )
    return bench


def events_of(bench: Bench, job: str, after: int = 0, limit: int = 9) -> list[Event]:
    return bench.read(lambda tx: tx.events_of(job, after, limit))


def events_after(bench: Bench, seq: int = 0, limit: int = 100) -> list[Event]:
    return bench.read(lambda tx: tx.events_after(seq, limit))


def is_event(bench: Bench, seq: int) -> bool:
    return bench.read(lambda tx: tx.is_event(seq))


def delete(bench: Bench, jobs: list[str]) -> None:
    bench.write(lambda tx: tx.delete_jobs([(job, "default", "h", "succeeded") for job in jobs]))


def rows(bench: Bench) -> int:
    return int(bench.kind.sql("SELECT count(*) FROM rota_events")[0][0])


def test_jobs_share_rows_and_each_has_its_events_all_the_same(filled: Bench):
    assert rows(filled) == 4
    for job in JOBS:
        events = events_of(filled, job)
        assert [(e.kind, e.state, e.attempt, e.by, e.at) for e in events] == [
            ("submitted", State.QUEUED, 0, None, START),
            ("started", State.RUNNING, 1, "w", START + 1),
            ("succeeded", State.SUCCEEDED, 1, "w", START + 2),
        ]
        assert events_of(filled, job, events[0].seq, 1) == [events[1]]
    assert [e.owner for e in events_of(filled, "hers")] == ["eva"]
    assert events_of(filled, "job-") == []


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_a_stream_goes_through_them_one_by_one_from_wherever_it_stopped(filled: Bench, limit: int):
    every = events_after(filled)
    assert len(every) == 16 and [e.seq for e in every] == sorted({e.seq for e in every})
    assert filled.read(lambda tx: tx.last_event()) == every[-1].seq
    seen, seq = [], 0
    while page := events_after(filled, seq, limit):
        assert len(page) <= limit
        seen += page
        seq = page[-1].seq
    assert seen == every
    assert all(is_event(filled, e.seq) for e in every)
    assert not is_event(filled, every[-1].seq + 1)


def test_a_deleted_job_is_in_none_of_them_and_the_others_keep_their_numbers(filled: Bench):
    every = events_after(filled)
    for gone in (JOBS[:1], JOBS[4:], JOBS[2:3]):  # the first, the last, one between
        delete(filled, gone)
        left = [e for e in every if e.job not in gone]
        assert events_after(filled) == left
        assert all(is_event(filled, e.seq) == (e in left) for e in every)
        for job in (*JOBS, "hers"):
            assert events_of(filled, job) == [e for e in left if e.job == job]
        every = left
    assert rows(filled) == 4
    delete(filled, [JOBS[1], JOBS[3]])
    assert [e.job for e in events_after(filled)] == ["hers"]
    assert rows(filled) == 1


def test_what_is_told_between_stays_between(bench: Bench):
    """Of one job in one transaction the order is what counts."""
    told = [
        ("a", "x", True),
        ("b", "x", True),
        ("a", "edited", False),
        ("b", "y", True),
        ("a", "y", True),
        ("b", "x", True),
    ]
    bench.write(lambda tx: tx.append_events([NewEvent(j, "o", k, State.QUEUED, shared=s) for j, k, s in told]))
    every = events_after(bench)
    for job in "ab":
        assert [e.kind for e in every if e.job == job] == [k for j, k, _ in told if j == job]


def test_a_row_has_at_most_five_hundred(bench: Bench):
    events = [NewEvent(f"j{n}", "o", "submitted", State.QUEUED, shared=True) for n in range(1201)]
    bench.write(lambda tx: tx.append_events(events))
    assert rows(bench) <= 4
    assert [e.job for e in events_after(bench, 0, 5000)] == [e.job for e in events]
