"""A file of an earlier Rota is brought up to date with all that is in it, and what ran goes on."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from rota.core.jobs import Free, HandlerSpec, Held, Report, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.core.times import SECOND
from rota.service.service import Service
from rota.store.protocol import Query
from rota.store.sqlite import store as sqlite_store
from rota.store.sqlite.store import SqliteStore

START = 1_800_000_000 * SECOND
HELLO = '{"name":"w","handlers":[{"name":"h","retries":1}],"slots":9,"scripts":true}'
PLAIN: dict[str, Any] = {
    "kind": "handler", "lane": "h", "handler": "h", "data": '{"n":1}', "args": "[2]", "owner": "ana", "queue": "default",
    "priority": 3, "labels": '{"k":"v"}', "run_at": START - 9, "submitted_at": START - 99, "grace_s": 2.5,
}  # fmt: skip
OVER = {"started_at": START - 50, "finished_at": START - 5, "attempt": 1, "worker": "w.1"}
JOBS: dict[str, dict[str, Any]] = {
    "blocked": {"waiting_for": 1},
    "scheduled": {"run_at": START + 60 * SECOND, "failures": 1, "attempt": 1, "error": '{"type":"E","message":"m"}'},
    "queued": {"attempt": 2, "crashes": 1, "hook": "http://a.example/x", "backoff": '{"base":3.0}'},
    "running": {"started_at": START - 5, "attempt": 3, "worker": "w.1", "max_failures": 2, "progress": '{"fraction":0.5}',
                "timeout_s": 60.0, "deadline_at": START + 55 * SECOND},
    "succeeded": {**OVER, "result": '{"r":1}'},
    "failed": {**OVER, "reason": "error", "error": '{"type":"E","message":"m"}', "failures": 2},
    "aborted": {**OVER, "reason": "requested", "abort_requested_at": START - 7, "confirmed": 0},
    "canceled": {"finished_at": START - 5, "reason": "dependency", "retry_of": "failed"},
}  # fmt: skip
MORE: dict[str, dict[str, Any]] = {
    "aborting": {**JOBS["running"], "state": "running", "abort_requested_at": START - 1, "attempt": 1},
    "unnamed": {**JOBS["running"], "state": "running", "lease_until": START + 10 * SECOND, "attempt": 1, "deadline_at": None},
    "script": {"state": "queued", "kind": "script", "lane": "script:", "handler": None, "script": "echo {{x}}",
               "variables": '{"x":"1"}', "priority": 0},
}  # fmt: skip
SMALL = """
INSERT INTO rota_labels SELECT 'k', 'v', id FROM rota_jobs;
INSERT INTO rota_dependencies (after, job, position, met) VALUES ('running', 'blocked', 0, 0);
INSERT INTO rota_attempts VALUES ('succeeded', 1, 'w.1', 1, 2, 'succeeded', 0, NULL, NULL);
INSERT INTO rota_attempts VALUES ('running', 1, 'w.1', 1, 2, 'errored', 1, '{"type":"E","message":"m"}', '{"processes":2}');
INSERT INTO rota_events (at, job, owner, kind, state, attempt) VALUES (1, 'running', 'ana', 'submitted', 'queued', 0);
INSERT INTO rota_logs VALUES ('running', 3, 0, 'stdout', 1, 'hello');
INSERT INTO rota_deliveries (id, job, url, body, next_at) VALUES ('m', 'queued', 'http://a.example/x', '{}', 5);
INSERT INTO rota_counts SELECT queue, lane, state, count(*) FROM rota_jobs GROUP BY 1, 2, 3;
"""


def write_old(path: Path) -> dict[str, dict[str, Any]]:
    """Write a file as schema 1 had it, with jobs in every state; return their columns."""
    con = sqlite3.connect(path, isolation_level=None)
    con.execute("PRAGMA journal_mode=WAL")
    con.executescript(files("rota.store.sqlite.migrations").joinpath("0001_first.sql").read_text("utf-8"))
    con.execute("CREATE TABLE rota_schema (version INTEGER NOT NULL) STRICT")
    con.execute("INSERT INTO rota_schema VALUES (1)")
    rows = {name: {**PLAIN, "id": name, "state": name, **fields} for name, fields in (JOBS | MORE).items()}
    for row in rows.values():
        con.execute(
            f"INSERT INTO rota_jobs ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
        )
    con.execute(
        "INSERT INTO rota_workers VALUES ('w.1', ?, ?, ?, ?, 0, NULL, NULL)", (HELLO, 1, 1, START + 15 * SECOND)
    )
    con.executescript(SMALL)
    con.close()
    return rows


def columns(path: Path, table: str) -> list[dict[str, Any]]:
    con = sqlite3.connect(path)
    con.row_factory = sqlite3.Row
    rows = [
        dict(row)
        for row in con.execute(
            f"SELECT * FROM {table} ORDER BY rowid"
            if table == "rota_schema"
            else f"SELECT * FROM {table} ORDER BY 1, 2"
        )
    ]
    con.close()
    return rows


def test_every_job_keeps_every_column(tmp_path: Path):
    path = tmp_path / "a.db"
    rows = write_old(path)
    tables = ("labels", "dependencies", "attempts", "events", "logs", "deliveries", "counts", "workers")
    before = {table: columns(path, f"rota_{table}") for table in tables}

    async def main() -> None:
        for _ in range(2):  # the second time there is nothing to do
            store = SqliteStore(path, clock=lambda: START)
            await store.open()
            jobs, _ = await store.read(lambda tx: tx.find_jobs(Query()))
            assert {job.id for job in jobs} == set(rows)
            assert all(job.array is None and job.options is None and not job.open for job in jobs)
            await store.close()

    asyncio.run(main())
    for row in columns(path, "rota_jobs"):
        old = rows[row["id"]]
        defaults = {"waiting_for": 0, "attempt": 0, "failures": 0, "crashes": 0, "open": 0, "spare": 0, "refers": 0}
        assert row == {**dict.fromkeys(row), **defaults, **old}
    for table, kept in before.items():
        now = columns(path, f"rota_{table}")
        assert [{name: row[name] for name in old} for row, old in zip(now, kept, strict=True)] == kept, table
    assert columns(path, "rota_schema") == [{"version": 16}]


def test_what_ran_goes_on_and_ends_and_arrays_run_beside_it(tmp_path: Path):
    write_old(tmp_path / "a.db")

    async def main() -> None:
        store = SqliteStore(tmp_path / "a.db", clock=lambda: START, inline=True)
        await store.open()
        service = Service(store, sender=None, rng=random.Random(1))  # type: ignore[arg-type]  # no hook is due
        work, jobs = service.work, service.jobs
        held = [Held(job="running", attempt=3), Held(job="aborting", attempt=1), Held(job="queued", attempt=2)]
        orders = await work.heartbeat("w.1", held)
        assert [order.job for order in orders.abort] == ["aborting"]
        assert [lost.job for lost in orders.lost] == ["queued"]
        reports = [
            Report(job="running", attempt=3, outcome=Outcome.SUCCEEDED, result=Raw(b"7")),
            Report(job="aborting", attempt=1, outcome=Outcome.ABORTED),
            Report(job="unnamed", attempt=1, outcome=Outcome.ERRORED),
        ]
        assert [answer.state for answer in await work.settle("w.1", reports)] == ["succeeded", "aborted", "scheduled"]
        assert (await jobs.get("blocked")).state is State.QUEUED, "what it waited for has succeeded"
        array = await jobs.submit(Submission(handler="h", inputs=Raw(b"[1]")))
        leases = await work.claim("w.1", Free(process=9, asynchronous=0, total=9))
        assert {lease.job for lease in leases} == {"queued", "blocked", "script"}, "an old worker knows no shards"
        assert [lease.script for lease in leases if lease.job == "script"] == ["echo 1"]
        new = await work.register(WorkerHello(name="new", handlers=[HandlerSpec(name="h")], arrays=True))
        assert [lease.job for lease in await work.claim(new.worker, Free(process=9, asynchronous=0, total=9))] == [
            array.id
        ]
        await store.close()

    asyncio.run(main())
    counted = {
        (row["queue"], row["lane"], row["state"]): row["n"]
        for row in columns(tmp_path / "a.db", "rota_counts")
        if row["n"]
    }
    rows = columns(tmp_path / "a.db", "rota_jobs")
    assert counted == {
        key: sum((row["queue"], row["lane"], row["state"]) == key for row in rows)
        for key in {(row["queue"], row["lane"], row["state"]) for row in rows}
    }


def test_a_step_that_fails_leaves_the_old_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.db"
    rows = write_old(path)
    before = columns(path, "rota_jobs")
    real = sqlite_store._split
    monkeypatch.setattr(sqlite_store, "_split", lambda script: [*real(script), "this is no SQL;"])
    with pytest.raises(Exception, match="syntax error"):
        asyncio.run(SqliteStore(path, clock=lambda: START).open())
    assert columns(path, "rota_jobs") == before
    assert len(before) == len(rows)
    monkeypatch.undo()

    async def main() -> None:
        store = SqliteStore(path, clock=lambda: START)
        await store.open()
        await store.close()

    asyncio.run(main())
    assert len(columns(path, "rota_jobs")) == len(rows)
