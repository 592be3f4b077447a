"""What is special about the embedded store: who owns the file, durability, full disks, and the plans of its statements."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace

from rota.core.errors import Invalid, StoreInUse, StoreTooNew, Unavailable
from rota.core.fairness import TurnName
from rota.core.jobs import Submission
from rota.service.service import Service
from rota.store import statements
from rota.store.sqlite.store import SqliteStore, migrate, take_ownership
from tests.conformance.store.bench import a_job

OWNER = """
import asyncio, os, sys
from rota.store.sqlite.store import SqliteStore
async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    if len(sys.argv) > 2:  # a child that inherits the lock, as the server's own workers do
        import subprocess
        child = subprocess.Popen(["sleep", "60"], pass_fds=[store.lock_fd])
        print(child.pid, flush=True)
    print("open", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


FIRST = TurnName("", 0, "", "")


class NoHooks:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        raise AssertionError("no hook is called here")


def service_over(store: SqliteStore) -> Service:
    return Service(store, sender=NoHooks(), rng=random.Random(1))


def owner(path: Path, *arguments: str) -> tuple[subprocess.Popen[str], list[str]]:
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(path), *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    while (line := process.stdout.readline().strip()) != "open":
        lines.append(line)
    return process, lines


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_second_owner_is_refused_at_once_with_the_pid_of_the_first(tmp_path: Path) -> None:
    process, _ = owner(tmp_path / "a.db")
    try:
        with pytest.raises(StoreInUse, match=str(process.pid)) as refused:
            asyncio.run(SqliteStore(tmp_path / "a.db").open())
        assert refused.value.pid == process.pid
    finally:
        end(process)


def test_the_file_stays_owned_until_the_last_heir_of_the_lock_has_ended(tmp_path: Path) -> None:
    process, (heir,) = owner(tmp_path / "a.db", "with-heir")
    end(process)

    async def take() -> None:
        opening = asyncio.create_task(asyncio.to_thread(take_ownership, tmp_path / "a.db"))
        done, _ = await asyncio.wait((opening,), timeout=0.1)
        assert not done, "the heir still runs"
        os.kill(int(heir), signal.SIGKILL)
        os.close(await opening)

    asyncio.run(take())


def test_a_file_of_a_later_rota_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    con = sqlite3.connect(path)
    con.execute("CREATE TABLE rota_schema (version INTEGER NOT NULL) STRICT")
    con.execute("INSERT INTO rota_schema VALUES (99)")
    con.commit()
    con.close()
    with pytest.raises(StoreTooNew, match="99"):
        asyncio.run(SqliteStore(path).open())
    assert sqlite3.connect(path).execute("SELECT count(*) FROM sqlite_master").fetchone() == (1,)


def test_what_it_writes_is_readable_by_its_user_alone(tmp_path: Path) -> None:
    async def test() -> None:
        store = SqliteStore(tmp_path / "a.db")
        await store.open()
        await service_over(store).jobs.submit(Submission(handler="noop"))
        files = list(tmp_path.iterdir())
        assert {path.name for path in files} == {"a.db", "a.db-wal", "a.db-shm", "a.db.lock"}
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
        await store.close()

    asyncio.run(test())


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_text("this is a letter to my aunt, and no database; " * 100)
    with pytest.raises(Unavailable, match="cannot be opened"):
        asyncio.run(SqliteStore(path).open())
    assert path.read_text().startswith("this is a letter")


def test_a_full_disk_keeps_nothing_of_what_failed_and_recovers(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        assert not os.environ.get("CI"), "CI can mount"
        pytest.skip("a small disk needs the right to mount")
    try:
        asyncio.run(_fill(disk))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


async def _fill(disk: Path) -> None:
    store = SqliteStore(disk / "a.db")
    await store.open()
    jobs = service_over(store).jobs
    kept = []
    filler = disk / "filler"
    filler.write_bytes(b"x" * 1_500_000)
    with pytest.raises(Unavailable, match="nothing was kept"):
        for _ in range(2000):
            kept.append(await jobs.submit(Submission(handler="noop", args=_args(20_000))))
    with pytest.raises(Unavailable):
        await jobs.submit_many([Submission(handler="noop", args=_args(100_000)) for _ in range(50)])
    assert len(await store.read(lambda tx: tx.counts())) == 1
    assert (await store.read(lambda tx: tx.counts()))[0].n == len(kept) > 0
    filler.unlink()
    assert (await jobs.submit(Submission(handler="noop"))).state == "queued"
    for job in kept:
        assert (await jobs.get(job.id)).id == job.id
    await store.close()


def _args(size: int) -> Raw:
    return Raw(b'["' + b"x" * size + b'"]')


def test_functions_that_share_a_commit_fail_alone(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "a.db")
        await store.open()
        jobs = service_over(store).jobs
        made = await asyncio.gather(
            *(jobs.submit(Submission(handler="noop", after=["nobody"] if n % 3 == 0 else [])) for n in range(30)),
            return_exceptions=True,
        )
        assert [isinstance(one, Invalid) for one in made] == [n % 3 == 0 for n in range(30)]
        assert [row.n for row in await store.read(lambda tx: tx.counts())] == [20]
        await store.close()

    asyncio.run(main())


def test_a_transaction_that_awaits_something_else_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "a.db")
        await store.open()
        with pytest.raises(RuntimeError, match="not its transaction"):
            await store.write(lambda tx: asyncio.sleep(0))
        await store.close()

    asyncio.run(main())


LISTS_A_SMALL_TABLE = {
    "counts",
    "ready_lanes",
    "handlers",
    "list_workers",
    "last_event",
    "number_events",
    "clamp_unnamed",
    "clamp_workers",
    "old_uploads",
    "tokens",
    "tokens_version",
    "get_queues",
    "get_limits",
    "any_limit",
    "running_lanes",
}


SORTS_WHAT_ONE_JOB_HAS = {"after_of", "deliveries_of"}


@pytest.fixture(scope="module")
def schema() -> Iterator[sqlite3.Connection]:
    """An empty store that is only asked for plans."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


@pytest.mark.parametrize("name", sorted(statements.load("rota.store.sqlite.sql")))
def test_no_statement_scans_or_sorts(name: str, schema: sqlite3.Connection) -> None:
    """Invariant 10: nothing costs more because there are more jobs."""
    sql = statements.load("rota.store.sqlite.sql")[name]
    named = set(re.findall(r":(\w+)", sql))
    values = dict.fromkeys(named) if named else (None,) * sql.count("?")
    plan = [row[3] for row in schema.execute("EXPLAIN QUERY PLAN " + sql, values)]
    scans = [
        step for step in plan if step.startswith("SCAN") and not re.search(r"json_each|CONSTANT ROW|\(subquery", step)
    ]
    in_order = [step for step in scans if "USING" in step and ("LIMIT" in sql or "find_" in name)]
    assert name in LISTS_A_SMALL_TABLE or scans == in_order, plan
    assert name in LISTS_A_SMALL_TABLE | SORTS_WHAT_ONE_JOB_HAS or not any(
        "TEMP B-TREE FOR ORDER" in step for step in plan
    ), plan


def test_a_walk_over_rows_of_turns_goes_over_none_of_their_jobs(tmp_path: Path) -> None:
    """A plan does not say how far a search goes: a comparison of rows begins at what is equal."""

    async def main() -> None:
        store = SqliteStore(tmp_path / "a.db", inline=True)
        await store.open()
        con = store.inline_runner._connection
        steps: list[int] = []
        for n in (100, 1000):
            jobs = [a_job(f"{n} {at}", limit_key="k") for at in range(n)]
            jobs += [replace(job, id=f"{job.id} b", priority=-1) for job in jobs]
            await store.write(lambda tx, jobs=jobs: tx.insert_jobs(jobs))
            taken = 0

            def count() -> None:
                nonlocal taken
                taken += 1

            con.set_progress_handler(count, 10)
            names, _ = await store.read(lambda tx: tx.missing_turns(FIRST, 9))
            assert names == []
            con.execute("UPDATE rota_jobs SET lane = 'held:' || lane WHERE substr(lane, 1, 5) <> 'held:'")
            taken = 0
            turns = await store.read(lambda tx: tx.held_turns("k", FIRST, 9, 2))
            assert [turn.name.priority for turn in turns] == [-1, 0]
            await store.read(lambda tx: tx.missing_turns(FIRST, 9))
            con.set_progress_handler(None, 0)
            steps.append(taken)
        assert steps[1] < 2 * steps[0], "ten times as many jobs"
        await store.close()

    asyncio.run(main())
