"""A store copied to another, of either kind: all of it, or nothing, and what was not over goes on there."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from rota.core.access import Role
from rota.core.errors import Conflict, Invalid, RotaError, StoreInUse, Unavailable
from rota.core.jobs import Free, HandlerSpec, InputReport, LogChunk, Report, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.service.service import Service
from rota.service.tokens import NewToken
from rota.store.postgres import copying as postgres_copying
from rota.store.protocol import NewEvent, Query, Tx
from rota.store.sqlite import copying as sqlite_copying
from rota.store.sqlite.store import SqliteStore, take_ownership
from rota.wiring.copying import Copy, copy_store
from rota.wiring.stores import open_store
from tests import postgres
from tests.model import test_arrays as array_walks
from tests.model import test_model as job_walks
from tests.model import test_walks

from .postgres_between import Bouncer
from .postgres_race import NoHooks

HELLO = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=9, arrays=True)
ALL = Free(process=9, asynchronous=0, total=9)
KINDS = ["sqlite", "postgres"]


def new(kind: str, folder: Path, name: str) -> str:
    return f"sqlite:///{folder / name}.db" if kind == "sqlite" else postgres.cluster().new_database()


def copied(source: str, target: str, told: Callable[[int, int], None] | None = None) -> Copy:
    return asyncio.run(copy_store(source, target, told, lambda _seconds: None))


@asynccontextmanager
async def served(url: str, lease_s: float = 15.0) -> Any:
    """A service on a store, as a server has it."""
    store = open_store(url)
    await store.open()
    service = Service(store, sender=NoHooks(), lease_s=lease_s, rng=random.Random())
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
        await store.close()


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that a store's file holds."""
    with closing(sqlite3.connect(path)) as con:
        names = [name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: sorted(con.execute(f"SELECT * FROM {name}"), key=repr) for name in names}
        # Counters of nothing say nothing, and so does a table that has not numbered anything.
        found["rota_counts"] = [row for row in found["rota_counts"] if row[3]]
        found["sqlite_sequence"] = [row for row in found["sqlite_sequence"] if row[1]]
        found["sqlite_master"] = sorted(con.execute("SELECT type, name, sql FROM sqlite_master"), key=repr)
    return found


# -- everything goes over


class JobWalk(job_walks.Machine):
    path = Path()

    def new_store(self) -> SqliteStore:
        return SqliteStore(self.path, clock=lambda: self.now, inline=True)


class ArrayWalk(array_walks.Walk):
    path = Path()

    def new_store(self) -> SqliteStore:
        return SqliteStore(self.path, clock=lambda: self.now, inline=True)


@pytest.mark.parametrize(("kind", "seed"), [("jobs", 100), ("arrays", 100)])
def test_a_store_that_came_to_be_at_random_goes_there_and_back(
    kind: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "walk.db"
    monkeypatch.setattr(JobWalk, "path", path)
    monkeypatch.setattr(ArrayWalk, "path", path)
    if kind == "jobs":
        monkeypatch.setattr(test_walks, "STEPS", 80)
        test_walks.walk(random.Random(seed), JobWalk())
    else:
        monkeypatch.setattr(array_walks, "STEPS", 80)
        array_walks.wander(seed, ArrayWalk)
    kinds = enumerate(("postgres", "postgres", "sqlite"))
    urls = [f"sqlite:///{path}", *(new(kind, tmp_path, str(n)) for n, kind in kinds)]
    _ = [
        *(new(kind, tmp_path, str(n)) for n, kind in enumerate(("postgres", "postgres", "sqlite"))),
    ]
    done = [copied(source, target) for source, target in pairwise(urls)]
    assert done[0].tables == done[1].tables == done[2].tables
    assert [one.given_back for one in done[1:]] == [0, 0], "nothing runs in a copy"
    assert dump(path) == dump(tmp_path / "2.db")
    assert dump(path)["rota_jobs"] and dump(path)["rota_events"]
    assert copied(urls[3], new("sqlite", tmp_path, "3")).tables == done[0].tables
    assert dump(path) == dump(tmp_path / "3.db")


def test_both_kinds_have_the_same_tables_and_columns() -> None:
    """A table that is not told of here would be left behind."""
    url = new("postgres", Path(), "")
    asyncio.run(_open_once(url))
    rows = postgres.cluster().sql(
        "SELECT relname, attname FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped "
        "WHERE relname LIKE 'rota\\_%' AND relkind = 'r'", url.rpartition("/")[2],
    )  # fmt: skip
    theirs = {tuple(line.split("|")) for line in rows.splitlines()}
    ours = {(table.name, column) for table in sqlite_copying.tables() for column in table.columns}
    assert all(table.key for table in sqlite_copying.tables())
    assert ours <= theirs
    assert {f"{table}.{column}" for table, column in theirs - ours if table not in ("rota_schema", "rota_listed")} == {
        "rota_counts.part",
        "rota_run_counts.part",
        "rota_kept.part",
        "rota_events.horizon",
    }


async def _open_once(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.close()


async def at_once(url: str, do: Callable[[Tx], Awaitable[Any]]) -> Any:
    """Run a transaction on a store that nobody serves."""
    store = open_store(url)
    await store.open()
    try:
        return await store.write(do)
    finally:
        await store.close()


@pytest.mark.parametrize(("source", "target"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_a_server_on_the_copy_goes_on(source: str, target: str, tmp_path: Path) -> None:
    a, b = new(source, tmp_path, "a"), new(target, tmp_path, "b")
    hello = WorkerHello(name="w", handlers=HELLO.handlers, slots=9, arrays=True, queues=["q"])
    plain = Submission(handler="h", data=Raw('{"x":"é"}'.encode()))

    async def before() -> dict[str, Any]:
        async with served(a) as service:
            jobs, work = service.jobs, service.work
            token = (await service.tokens.add(NewToken(role=Role.USER, owner="ana")))[1]
            over = await jobs.submit(Submission(handler="h", queue="q", hook="http://127.0.0.1:9/x"))
            array = await jobs.submit(Submission(handler="h", queue="q", inputs=Raw(b"[1,2,3]"), parallel=1))
            running = await jobs.submit(Submission(handler="h", queue="q"))
            worker = (await work.register(hello)).worker
            leases = {lease.job: lease.attempt for lease in await work.claim(worker, ALL)}
            assert set(leases) == {over.id, array.id, running.id}
            said = LogChunk(job=over.id, attempt=1, n=0, stream="stdout", at=0, text="a\0b")
            ended = InputReport(job=array.id, attempt=leases[array.id], index=0, outcome=Outcome.SUCCEEDED)
            await work.tell(worker, [said], [], [], [ended])
            report = Report(job=over.id, attempt=1, outcome=Outcome.SUCCEEDED, result=Raw(b'{"r":1}'))
            await work.settle(worker, [report])
            return {
                "over": await jobs.get(over.id), "array": array.id, "running": running.id, "worker": worker, "token": token,
                "waiting": (await jobs.submit(plain, key="mine")).id,
                "after": (await jobs.submit(Submission(handler="h", after=[running.id]))).id,
                "delayed": await jobs.submit(Submission(handler="h", delay="1h")),
                "cursor": await service.store.read(lambda tx: tx.last_event()),
            }  # fmt: skip

    async def then() -> None:
        async with served(b) as service:
            jobs, work, store = service.jobs, service.work, service.store
            assert await jobs.get(was["delayed"].id) == was["delayed"]
            assert await jobs.get(was["over"].id) == was["over"]
            assert [c.text for c in await store.read(lambda tx: tx.logs_of(was["over"].id, None, (0, 0), 9))] == [
                "a\0b"
            ]
            assert [row.job for row in await store.read(lambda tx: tx.deliveries_of(was["over"].id))] == [
                was["over"].id
            ]
            assert await service.tokens.find(was["token"]) is not None
            assert (await jobs.submit(plain, key="mine")).id == was["waiting"], "its key is known"
            late = Report(job=was["running"], attempt=1, outcome=Outcome.SUCCEEDED)
            assert not (await work.settle(was["worker"], [late]))[0].accepted, "it was given back"
            worker = (await work.register(HELLO)).worker
            leases = {lease.job: lease for lease in await work.claim(worker, ALL)}
            assert set(leases) == {was["array"], was["running"], was["waiting"]}
            assert leases[was["array"]].first == 1, "the first input is over"
            assert leases[was["running"]].attempt == 2
            assert (await jobs.get(was["running"])).failures == 0
            report = Report(job=was["running"], attempt=2, outcome=Outcome.SUCCEEDED)
            assert (await work.settle(worker, [report]))[0].accepted
            assert (await jobs.get(was["after"])).state is State.QUEUED
            news = [(e.job, e.kind) for e in await store.read(lambda tx: tx.events_after(was["cursor"], 99))]
            assert (was["running"], "started") in news and (was["after"], "released") in news
            listed = (await jobs.find(Query(queue="q", handler="h", limit=9)))[0]
            assert [job.id for job in listed] == [was["running"], was["array"], was["over"].id]
            counted = (await service.stats()).jobs
            assert {state: n for state, n in counted.items() if n} == {
                "succeeded": 2, "running": 2, "queued": 1, "scheduled": 1,
            }  # fmt: skip

    was = asyncio.run(before())
    asyncio.run(at_once(a, lambda tx: tx.clamp_leases(tx.now + 300_000)))
    waits: list[float] = []
    done = asyncio.run(copy_store(a, b, None, waits.append))
    assert done.given_back == 2 and all(0 < seconds <= 0.3 for seconds in waits)
    asyncio.run(then())


def test_what_postgresql_cannot_hold_is_replaced_and_told(tmp_path: Path) -> None:
    a, b = new("sqlite", tmp_path, "a"), new("postgres", tmp_path, "b")
    event = NewEvent("j", "o", "x", State.QUEUED, 0, None, "no\0no")
    asyncio.run(at_once(a, lambda tx: tx.append_events([event])))
    assert copied(a, b).replaced == 1
    (found,) = asyncio.run(at_once(b, lambda tx: tx.events_after(0, 9)))
    assert found.why == "no\N{REPLACEMENT CHARACTER}no"


def test_through_a_pooler(tmp_path: Path) -> None:
    a, b, c = filled(tmp_path / "a.db", 1000), new("postgres", tmp_path, "b"), new("postgres", tmp_path, "c")
    bouncer = Bouncer(postgres.cluster(), size=2)
    try:
        assert copied(a, bouncer.url(b)).tables == copied(bouncer.url(b), bouncer.url(c)).tables
    finally:
        bouncer.close()


# -- or nothing


def filled(path: Path, n: int) -> str:
    """Make a store's file with `n` jobs."""
    asyncio.run(_open_once(f"sqlite:///{path}"))
    with closing(sqlite3.connect(path)) as con, con:
        con.execute(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?) INSERT INTO rota_jobs "
            "(id, state, kind, lane, handler, data, args, owner, queue, priority, run_at, submitted_at, grace_s) "
            "SELECT printf('j%09d', n), 'queued', 'handler', 'h', 'h', '{}', '[]', 'o', 'default', 0, 1, 1, 5 FROM n", (n,),
        )  # fmt: skip
        con.execute("INSERT INTO rota_counts VALUES ('default', 'h', 'queued', ?)", (n,))
    return f"sqlite:///{path}"


def is_there(url: str) -> bool:
    if url.startswith("sqlite"):
        return Path(url.removeprefix("sqlite:///")).exists()
    return (
        postgres.cluster().sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'rota%'", url.rpartition("/")[2])
        != "0"
    )


ENDED = """
import asyncio, os, sys
from rota.wiring.copying import copy_store
by = [int(sys.argv[3])]
def told(done, whole):
    if done > whole * float(sys.argv[4]) and by:
        os.kill(os.getpid(), by.pop())
asyncio.run(copy_store(sys.argv[1], sys.argv[2], told, print))
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("by", "at"), [(signal.SIGKILL, 0.7), (signal.SIGINT, 0.3)])
def test_a_copy_that_is_ended_in_the_middle_is_none(kind: str, by: signal.Signals, at: float, tmp_path: Path) -> None:
    a, b = filled(tmp_path / "a.db", 4000), new(kind, tmp_path, "b")
    command = [sys.executable, "-c", ENDED, a, b, str(int(by)), str(at)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == -by, ended.stderr  # Python ends itself by SIGINT too
    postgres.wait_for(lambda: not is_there(b))
    assert (tmp_path / "b.db.copying").exists() is (kind == "sqlite" and by == signal.SIGKILL)
    again = copied(a, b)
    assert {one.table: one.rows for one in again.tables}["rota_jobs"] == 4000
    assert is_there(b) and not (tmp_path / "b.db.copying").exists()
    if kind == "sqlite":
        assert stat.S_IMODE((tmp_path / "b.db").stat().st_mode) == 0o600
        assert dump(tmp_path / "a.db") == dump(tmp_path / "b.db")


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_that_differs_is_none(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = filled(tmp_path / "a.db", 10), new(kind, tmp_path, "b")
    end = sqlite_copying.SqliteEnd if kind == "sqlite" else postgres_copying.PostgresEnd
    write = end.write

    async def worse(self: Any, table: Any, rows: Any) -> None:
        place = table.columns.index("priority") if table.name == "rota_jobs" else None
        await write(
            self, table, rows if place is None else [*rows[:-1], (*rows[-1][:place], 1, *rows[-1][place + 1 :])]
        )

    monkeypatch.setattr(end, "write", worse)
    with pytest.raises(Unavailable, match=r"differs in rota_jobs: 10 rows .* nothing was kept"):
        copied(a, b)
    assert not is_there(b) and not (tmp_path / "b.db.copying").exists()
    monkeypatch.undo()
    copied(a, b)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    a = filled(tmp_path / "a.db", 20000)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this user may not mount a file system of a megabyte")
    try:
        with pytest.raises(Unavailable, match="full"):
            copied(a, f"sqlite:///{disk}/b.db")
        assert [path.name for path in disk.iterdir()] == ["b.db.lock"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_nothing_is_overwritten_and_only_a_store_is_copied(tmp_path: Path) -> None:
    a, b, c = filled(tmp_path / "a.db", 1), new("postgres", tmp_path, "b"), new("sqlite", tmp_path, "c")
    copied(a, b)
    (tmp_path / "text").write_text("no store\n" * 999)
    empty = new("postgres", tmp_path, "")
    wrong: list[tuple[type[RotaError], str, str, str]] = [
        (Conflict, "a.db is there already", a, a),
        (Conflict, "there is a store in this database already", a, b),
        (Conflict, "there is a store in this database already", b, b),
        (Invalid, "there is no store", c, f"sqlite:///{tmp_path}/new.db"),
        (Invalid, "there is no store in this database", empty, c),
        (Invalid, "is no store of Rota", f"sqlite:///{tmp_path}/text", c),
        (Invalid, "the folder .* does not exist", a, f"sqlite:///{tmp_path}/none/c.db"),
        (Unavailable, "refuses us", a, b.rpartition("/")[0] + "/none"),
    ]
    before = dump(tmp_path / "a.db")
    for kind, message, source, target in wrong:
        with pytest.raises(kind, match=message):
            copied(source, target)
    assert dump(tmp_path / "a.db") == before
    assert not is_there(c) and not is_there(empty)


def test_a_store_that_is_served_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = filled(tmp_path / "a.db", 1), new("postgres", tmp_path, "b"), new("sqlite", tmp_path, "c")
    copied(a, b)
    owned = take_ownership(tmp_path / "a.db")
    with pytest.raises(StoreInUse, match="is owned by process"):
        copied(a, c)
    os.close(owned)
    owned = take_ownership(tmp_path / "c.db")
    with pytest.raises(StoreInUse, match="is owned by process"):
        copied(a, c)
    os.close(owned)
    monkeypatch.setattr(postgres_copying, "_SILENT_S", 1.0)

    async def beside() -> None:
        async with served(b):
            with pytest.raises(StoreInUse, match="servers, or workers with --store, are on the store"):
                await copy_store(b, c, None, print)

    asyncio.run(beside())
    assert not is_there(c)
    copied(b, c)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_writes_to_a_store_that_is_being_read(kind: str, tmp_path: Path) -> None:
    """An application's `submit_in` waits, or is told: it must not be answered and then left behind."""
    a, b, c = filled(tmp_path / "a.db", 100), new("postgres", tmp_path, "b"), new("sqlite", tmp_path, "c")
    copied(a, b)
    refused = []

    def write(_done: int, _whole: int) -> None:
        if kind == "sqlite":
            with closing(sqlite3.connect(tmp_path / "a.db", timeout=0)) as con, pytest.raises(sqlite3.OperationalError):
                con.execute("DELETE FROM rota_jobs")
        else:
            script = "SET lock_timeout = 1; DELETE FROM rota_jobs"
            done = postgres.cluster().run("psql", "-XAtq", "-d", b, "-c", script, check=False)
            assert "lock timeout" in done.stderr
        refused.append(1)

    copied(a if kind == "sqlite" else b, c, write)
    assert refused
