"""What handlers leave for the next attempt, and what they take."""

from __future__ import annotations

from msgspec import Raw

from rota.core.checkpoints import CheckpointNote, Kept
from rota.core.jobs import Attempt, HandlerSpec
from rota.core.states import Outcome

from .bench import SECOND, START, Bench, a_job


def note(job: str, attempt: int, value: str) -> CheckpointNote:
    return CheckpointNote(job=job, attempt=attempt, value=Raw(value.encode()))


def test_the_newest_checkpoint_of_a_job_is_kept(bench: Bench):
    bench.insert(a_job("a"), a_job("b"))
    bench.write(lambda tx: tx.put_checkpoints([note("b", 1, "[1]"), note("a", 1, '{"é": 1}')]))
    bench.now += SECOND
    bench.write(lambda tx: tx.put_checkpoints([note("b", 2, "null")]))
    bench.write(lambda tx: tx.put_checkpoints([]))
    assert bench.read(lambda tx: tx.checkpoints_of(["b", "nobody", "a"])) == {
        "a": Kept(1, START, 9, Raw('{"é": 1}'.encode())),
        "b": Kept(2, START + SECOND, 4, Raw(b"null")),
    }
    assert bench.read(lambda tx: tx.about_checkpoint("a")) == Kept(1, START, 9)
    assert bench.read(lambda tx: tx.about_checkpoint("nobody")) is None
    assert bench.read(lambda tx: tx.checkpoints_of([])) == {}
    bench.write(lambda tx: tx.delete_jobs([("a", "default", "h", "queued")]))
    assert set(bench.read(lambda tx: tx.checkpoints_of(["a", "b"]))) == {"b"}


def test_snoozes_are_counted_up_to_a_limit(bench: Bench):
    bench.insert(a_job("a"))
    tries = [
        ("a", Attempt(attempt=n, worker="w", started_at=1, finished_at=2, outcome=outcome))
        for n, outcome in enumerate([Outcome.SNOOZED, Outcome.ERRORED, Outcome.SNOOZED, Outcome.SNOOZED], 1)
    ]
    bench.write(lambda tx: tx.insert_attempts(tries))
    assert bench.read(lambda tx: tx.count_snoozes("a", 10)) == 3
    assert bench.read(lambda tx: tx.count_snoozes("a", 2)) == 2
    assert bench.read(lambda tx: tx.count_snoozes("b", 2)) == 0


def test_the_newest_versions_of_what_a_handler_takes_are_kept(bench: Bench):
    for n in range(4):
        bench.now += 1
        signatures = [("h", f"v{n}", Raw(b'{"n":%d}' % n)), ("g", "v", Raw(b"{}"))]
        bench.write(lambda tx, signatures=signatures: tx.put_signatures(signatures, 3))  # type: ignore[misc]
    bench.now += 1
    bench.write(lambda tx: tx.put_signatures([("h", "v1", Raw(b"{}"))], 3))  # comes again, and counts as new
    bench.now += 1
    bench.write(lambda tx: tx.put_signatures([("h", "v9", Raw(b"{}"))], 3))
    named = [("h", f"v{n}") for n in (0, 1, 2, 3, 9)] + [("g", "v")]
    assert bench.read(lambda tx: tx.signatures(named)) == {
        ("h", "v1"): b'{"n":1}', ("h", "v3"): b'{"n":3}', ("h", "v9"): b"{}", ("g", "v"): b"{}",
    }  # fmt: skip
    assert bench.read(lambda tx: tx.signatures([])) == {}


def test_one_handler_is_found_by_its_name(bench: Bench):
    bench.register("w", HandlerSpec(name="h", retries=2, version="v"))
    assert bench.read(lambda tx: tx.get_handler("h")) == (HandlerSpec(name="h", retries=2, version="v"), START)
    assert bench.read(lambda tx: tx.get_handler("g")) is None
