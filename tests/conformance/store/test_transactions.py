"""All or nothing, for ever; and no row that the state machine does not know."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rota.core.errors import StoreTooNew
from rota.core.fairness import TurnName
from rota.core.states import State
from rota.store.protocol import NewEvent, Take, Tx

from .bench import KINDS, SECOND, START, Bench, Crash, Postgres, SqliteInline, SqliteThreads, a_job

EVERYTHING = [
    "jobs",
    "labels",
    "dependencies",
    "attempts",
    "events",
    "counts",
    "turns",
    "clocks",
    "workers",
    "handlers",
    "logs",
    "deliveries",
    "answers",
]


def rows(bench: Bench) -> dict[str, list[tuple[Any, ...]]]:
    return {table: bench.kind.sql(f"SELECT * FROM rota_{table}") for table in EVERYTHING}


async def a_lot(tx: Tx) -> str:
    await tx.insert_jobs([a_job("n", labels={"k": "v"}), a_job("o", state=State.BLOCKED, waiting_for=1, after=["n"])])
    await tx.append_events([NewEvent("n", "o", "submitted", State.QUEUED)])
    await tx.claim_jobs("w", [Take(TurnName("default", 0, "default", "h"), 1, None)])
    await tx.put_answer("k", "p", b"")
    return "done"


def prepare(bench: Bench) -> None:
    bench.register()
    bench.insert(a_job("a"), a_job("b"))


def test_what_raises_leaves_nothing(bench: Bench):
    prepare(bench)
    before = rows(bench)

    class Oops(Exception):
        pass

    async def fails(tx: Tx) -> None:
        await a_lot(tx)
        raise Oops

    with pytest.raises(Oops):
        bench.write(fails)
    assert rows(bench) == before
    assert bench.write(a_lot) == "done", "and the store goes on"


def test_a_row_that_is_refused_takes_its_whole_transaction_along(bench: Bench):
    prepare(bench)
    before = rows(bench)

    async def twice(tx: Tx) -> None:
        await a_lot(tx)
        await tx.insert_jobs([a_job("b")])

    with pytest.raises(bench.kind.refusal):
        bench.write(twice)
    assert rows(bench) == before


def test_functions_that_run_together_fail_alone(bench: Bench):
    async def one(n: int) -> Any:
        async def write(tx: Tx) -> int:
            await tx.insert_jobs([a_job(f"j{n}")])
            if n % 3 == 0:
                raise ValueError(n)
            return n

        return await bench.store.write(write)

    async def together() -> list[Any]:
        return await asyncio.gather(*(one(n) for n in range(30)), return_exceptions=True)

    answers = bench.run(together())
    for n, answer in enumerate(answers):
        assert isinstance(answer, ValueError) if n % 3 == 0 else answer == n
    assert bench.counts() == {("default", "h", "queued"): 20}
    assert {job for (job,) in bench.kind.sql("SELECT id FROM rota_jobs")} == {f"j{n}" for n in range(30) if n % 3}


def test_the_clock_stands_still_in_a_transaction(bench: Bench):
    async def write(tx: Tx) -> tuple[int, int]:
        first = tx.now
        bench.now += 5
        await tx.append_events([NewEvent("a", "o", "x", State.QUEUED)])
        return first, tx.now

    assert bench.write(write) == (START, START)
    assert bench.read(lambda tx: tx.events_of("a", 0, 1))[0].at == START


def test_what_was_answered_is_there_after_a_restart(bench: Bench):
    prepare(bench)
    bench.write(a_lot)
    before = rows(bench)
    bench.reopen()
    assert rows(bench) == before
    assert bench.get("n").state is State.QUEUED


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("kind", [SqliteInline, Postgres])
def test_a_crash_at_the_commit_leaves_all_or_nothing(tmp_path: Path, kind: type[SqliteInline | Postgres], side: str):
    bench = Bench(kind(tmp_path))
    prepare(bench)
    before = rows(bench)
    bench.kind.crash_at(bench.store, side)
    with pytest.raises(Crash):
        bench.write(a_lot)
    bench.reopen()
    if side == "before":
        assert rows(bench) == before
    else:
        assert bench.get("a").state is State.RUNNING
        assert bench.get("o").after == ["n"]
        assert bench.counts() == {
            ("default", "h", "queued"): 2,
            ("default", "h", "running"): 1,
            ("default", "h", "blocked"): 1,
        }
        assert bench.read(lambda tx: tx.get_answer("k")) is not None
    bench.close()


def test_opening_again_changes_nothing(bench: Bench):
    prepare(bench)
    before, schema = rows(bench), bench.kind.sql("SELECT version FROM rota_schema")
    for _ in range(3):
        bench.reopen()
    assert rows(bench) == before
    assert bench.kind.sql("SELECT version FROM rota_schema") == schema


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_schema_of_a_later_rota_is_refused_and_left_alone(tmp_path: Path, kind: str):
    bench = Bench(KINDS[kind](tmp_path))
    prepare(bench)
    bench.close()
    bench.kind.sql(bench.kind.later)
    before = rows(bench)
    with pytest.raises(StoreTooNew):
        Bench(bench.kind)
    assert rows(bench) == before


IMPOSSIBLE = {
    "a state that does not exist": "UPDATE rota_jobs SET state = 'sleeping' WHERE id = 'queued'",
    "no state at all": "UPDATE rota_jobs SET state = NULL WHERE id = 'queued'",
    "over, without an end": "UPDATE rota_jobs SET finished_at = NULL WHERE id = 'over'",
    "queued, with an end": f"UPDATE rota_jobs SET finished_at = {START} WHERE id = 'queued'",
    "running, with an end": f"UPDATE rota_jobs SET finished_at = {START} WHERE id = 'running'",
    "running, without a worker": "UPDATE rota_jobs SET worker = NULL WHERE id = 'running'",
    "running, never started": "UPDATE rota_jobs SET started_at = NULL WHERE id = 'running'",
    "running, in no attempt": "UPDATE rota_jobs SET attempt = 0 WHERE id = 'running'",
    "running, and waiting for others": "UPDATE rota_jobs SET waiting_for = 1 WHERE id = 'running'",
    "queued, and waiting for others": "UPDATE rota_jobs SET waiting_for = 1 WHERE id = 'queued'",
    "blocked, and waiting for nobody": "UPDATE rota_jobs SET waiting_for = 0 WHERE id = 'blocked'",
    "blocked, and queued all the same": "UPDATE rota_jobs SET state = 'queued' WHERE id = 'blocked'",
    "a lease of what does not run": f"UPDATE rota_jobs SET lease_until = {START} WHERE id = 'queued'",
    "a lease of what is over": f"UPDATE rota_jobs SET lease_until = {START} WHERE id = 'over'",
    "an abort of what does not run": f"UPDATE rota_jobs SET abort_requested_at = {START} WHERE id = 'queued'",
    "a success after an abort": f"UPDATE rota_jobs SET abort_requested_at = {START} WHERE id = 'over'",
    "aborted, without a request": (
        f"UPDATE rota_jobs SET state = 'aborted', finished_at = {START}, confirmed = TRUE WHERE id = 'running'"
    ),
    "aborted, nobody says whether confirmed": f"UPDATE rota_jobs SET state = 'aborted', finished_at = {START}, abort_requested_at = {START} WHERE id = 'running'",  # noqa: E501
    "failed, without a reason": f"UPDATE rota_jobs SET state = 'failed', finished_at = {START} WHERE id = 'running'",
    "canceled, without a reason": f"UPDATE rota_jobs SET state = 'canceled', finished_at = {START} WHERE id = 'queued'",
    "a handler's job without a handler": "UPDATE rota_jobs SET handler = NULL WHERE id = 'queued'",
    "a job with a handler and a script": "UPDATE rota_jobs SET script = 'true' WHERE id = 'queued'",
    "a kind that does not exist": "UPDATE rota_jobs SET kind = 'poem' WHERE id = 'queued'",
    "a budget of nothing": "UPDATE rota_jobs SET max_failures = 0 WHERE id = 'queued'",
    "a timeout of nothing": "UPDATE rota_jobs SET timeout_s = 0 WHERE id = 'queued'",
    "a job twice": "INSERT INTO rota_jobs SELECT * FROM rota_jobs WHERE id = 'queued'",
    "a call of a hook that is due and done": f"UPDATE rota_deliveries SET done_at = {START}",
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_impossible_row_is_refused(bench: Bench, what: str):
    bench.register()
    bench.insert(
        a_job("queued"),
        a_job("running", priority=1),
        a_job("over", priority=1),
        a_job("blocked", state=State.BLOCKED, waiting_for=1, after=["queued"]),
    )
    bench.write(lambda tx: tx.insert_deliveries([("m", "queued", "http://h", "{}")]))
    bench.claim("over", "running")
    bench.settle("over")
    before = rows(bench)
    with pytest.raises(bench.kind.refusal):
        bench.kind.sql(IMPOSSIBLE[what])
    assert rows(bench) == before


@pytest.mark.parametrize(
    "kind", [SqliteThreads, SqliteInline]
)  # elsewhere it is the sum of parts, which may be negative
def test_a_counter_below_nothing_is_refused(tmp_path: Path, kind: type[SqliteThreads]):
    bench = Bench(kind(tmp_path))
    bench.insert(a_job("queued"))
    with pytest.raises(bench.kind.refusal):
        bench.kind.sql("UPDATE rota_counts SET n = -1")
    bench.close()


def test_times_and_counts_of_any_size_that_people_may_send(bench: Bench):
    far = START + 100 * 366 * 86400 * SECOND
    bench.insert(a_job("a", run_at=far, state=State.SCHEDULED, priority=-1_000_000, max_failures=100_001))
    assert bench.get("a").run_at == far
