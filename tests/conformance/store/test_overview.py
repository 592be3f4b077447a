"""What those see who look at the whole: sums over time, attempts and jobs by the time of their end, texts in errors."""

from __future__ import annotations

import pytest

from rota.core.arrays import Shard
from rota.core.jobs import Array, Attempt, Failure
from rota.core.states import Outcome, State
from rota.store.protocol import Query, Tx
from rota.store.rows import SeriesRow

from .bench import START, Bench, a_job


def test_sums_of_a_minute_are_replaced_and_servers_keep_their_own(bench: Bench):
    def put(*rows: tuple[int, str, int, str, str]) -> None:
        bench.write(lambda tx: tx.put_series([SeriesRow(*row) for row in rows]))

    put((60, "", 120, "a", "1"), (60, "", 60, "a", "2"), (60, "q", 60, "a", "3"))
    put((60, "", 120, "a", "4"), (60, "", 120, "b", "5"), (3600, "", 120, "a", "6"))
    put()

    def read(step: int, queue: str, begin: int, end: int, limit: int = 9) -> list[tuple[int, str, str]]:
        return [(r.at, r.server, r.sums) for r in bench.read(lambda tx: tx.series(step, queue, begin, end, limit))]

    assert read(60, "", 0, 999) == [(60, "a", "2"), (120, "a", "4"), (120, "b", "5")]
    assert read(60, "", 120, 999, 1) == [(120, "a", "4")]
    assert read(60, "", 60, 120) == [(60, "a", "2")]
    assert read(60, "q", 0, 999) == [(60, "a", "3")]
    assert read(3600, "", 0, 999) == [(120, "a", "6")]
    recent = bench.read(lambda tx: tx.recent_series(60, 61, 9))
    assert sorted((r.queue, r.at, r.server, r.sums) for r in recent) == [("", 120, "a", "4"), ("", 120, "b", "5")]
    assert len(bench.read(lambda tx: tx.recent_series(60, 0, 3))) == 3
    assert bench.write(lambda tx: tx.prune_series(60, 120, 1)) == 1
    assert bench.write(lambda tx: tx.prune_series(60, 120, 9)) == 1
    assert bench.write(lambda tx: tx.prune_series(60, 120, 9)) == 0
    assert read(60, "", 0, 999) == [(120, "a", "4"), (120, "b", "5")]
    assert read(3600, "", 0, 999) == [(120, "a", "6")]


def attempt(n: int, finished_at: int, outcome: Outcome, **fields: object) -> Attempt:
    return Attempt(attempt=n, worker="w", started_at=START, finished_at=finished_at, outcome=outcome, **fields)  # type: ignore[arg-type]


def test_attempts_that_went_wrong_are_found_by_their_time_the_newest_first(bench: Bench):
    bench.insert(a_job("a", owner="ana", queue="q"), a_job("b"))
    error = Failure(type="E", message="m" * 5000)
    tries = [
        ("a", attempt(1, 10, Outcome.ERRORED, error=error)), ("a", attempt(2, 30, Outcome.SUCCEEDED)),
        ("b", attempt(1, 20, Outcome.LOST)), ("b", attempt(2, 40, Outcome.TIMED_OUT)),
    ]  # fmt: skip
    bench.write(lambda tx: tx.insert_attempts(tries))
    found = bench.read(lambda tx: tx.bad_attempts(10, 40, 9))
    assert [(t.job, t.attempt, t.finished_at, t.outcome, t.owner, t.queue, t.handler) for t in found] == [
        ("b", 1, 20, "lost", "default", "default", "h"),
        ("a", 1, 10, "errored", "ana", "q", "h"),
    ]
    assert found[1].error is not None
    assert found[1].error.startswith('{"type":"E","message":"mmm')
    assert len(found[1].error) == 1000
    assert [t.finished_at for t in bench.read(lambda tx: tx.bad_attempts(0, 99, 1))] == [40]
    bench.write(lambda tx: tx.insert_attempts([("a", attempt(7, 50, Outcome.SUCCEEDED, first=3, inputs=4))]))
    (shard,) = bench.read(lambda tx: tx.good_shards(0, 99, 9))
    assert (shard.job, shard.attempt, shard.first, shard.inputs) == ("a", 7, 3, 4)


def test_jobs_are_found_by_the_time_of_their_end(bench: Bench):
    for n, job in enumerate("abc"):
        bench.insert(a_job(job))
        bench.claim(job)
        bench.now = START + 10 * n
        bench.settle(job, Outcome.ERRORED if job == "b" else Outcome.SUCCEEDED)
    found = bench.read(lambda tx: tx.ended_between(START, START + 20, 9))
    assert [(t.job, t.attempt, t.worker, t.outcome, t.finished_at) for t in found] == [
        ("b", 1, "w", "failed", START + 10),
        ("a", 1, "w", "succeeded", START),
    ]
    assert [t.job for t in bench.read(lambda tx: tx.ended_between(START, START + 99, 1))] == ["c"]
    assert [t.job for t in bench.read(lambda tx: tx.ended_after(START + 10, 1))] == ["b"]
    assert bench.read(lambda tx: tx.failed_arrays(0, START + 99, 9)) == []


def test_arrays_that_failed_and_shards_that_run_are_found(bench: Bench):
    bench.insert(a_job("a", array=Array(inputs=5, root="r")), a_job("b"))

    async def fail(tx: Tx) -> None:
        await tx.cut_array((await tx.lock_jobs(["a"]))["a"], None)

    bench.write(fail)
    bench.claim("b")
    assert [(t.job, t.worker) for t in bench.read(lambda tx: tx.running_now(9))] == [("b", "w")]
    bench.write(lambda tx: tx.insert_shard(Shard("a", 1, "v", 2, 3, 2, started_at=START)))
    found = bench.read(lambda tx: tx.running_now(9))
    assert {(t.job, t.worker, t.first, t.inputs, t.finished_at, t.outcome) for t in found} == {
        ("a", "v", 2, 3, None, None), ("b", "w", None, None, None, None),
    }  # fmt: skip
    assert len(bench.read(lambda tx: tx.running_now(1))) == 1
    bench.settle("a", Outcome.ERRORED, error=Failure(type="inputs", message="2 of 5 inputs failed"))
    (array,) = bench.read(lambda tx: tx.failed_arrays(START, START + 1, 9))
    assert (array.job, array.inputs, array.error) == ("a", 5, '{"type":"inputs","message":"2 of 5 inputs failed"}')


def find(bench: Bench, **query: object) -> list[str]:
    found, more = bench.read(lambda tx: tx.find_ids(Query(**query)))  # type: ignore[arg-type]
    assert more is None
    return [job for job, _ in found]


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        ("NO ROUTE", ["d", "b"]), ('say "hi"', ["a"]), ("ü\n", ["c"]), ("%", []), ("_", []), ("\\", []), ("trace.py", ["c"]),
        ("KeyError", ["a"]),
    ],
)  # fmt: skip
def test_jobs_are_found_by_a_text_in_their_error(bench: Bench, text: str, jobs: list[str]):
    errors = {
        "a": Failure(type="KeyError", message='they say "hi"'),
        "b": Failure(type="OSError", message="No route to host"),
        "c": Failure(type="E", message="für\nü\n", traceback="in trace.py"),
        "d": Failure(type="OSError", message="no route"),
        "e": None,
    }
    for job, error in errors.items():
        owner = "ana" if job in "bc" else "bob"
        bench.insert(a_job(job, owner=owner, labels={"k": "v"} if job == "b" else None))
        bench.claim(job)
        bench.settle(job, Outcome.SUCCEEDED if error is None else Outcome.ERRORED, error=error)
    assert find(bench, error=text) == jobs
    assert find(bench, error=text, owner="ana") == [job for job in jobs if job in "bc"]
    assert find(bench, error=text, states=[State.QUEUED]) == []
    assert find(bench, error=text, labels=[("k", "v")]) == [job for job in jobs if job == "b"]


def test_every_filter_holds_whichever_index_is_walked(bench: Bench):
    for n in range(40):
        fields = {"owner": "ana" if n % 2 else "bob", "queue": "q" if n % 3 else "r", "handler": "h" if n % 5 else "i"}
        bench.insert(a_job(f"j{n:02}", state=State.SCHEDULED if n % 7 == 0 else State.QUEUED, **fields))
    every = [bench.get(f"j{n:02}") for n in reversed(range(40))]
    for states in ([], [State.SCHEDULED], [State.QUEUED, State.SCHEDULED]):
        for owner in (None, "ana"):
            for queue in (None, "q"):
                for handler in (None, "i"):
                    wanted = [
                        job.id for job in every
                        if (not states or job.state in states) and owner in (None, job.owner) and queue in (None, job.queue)
                        and handler in (None, job.handler)
                    ]  # fmt: skip
                    assert find(bench, states=states, owner=owner, queue=queue, handler=handler) == wanted
