"""`rota.submit_in`: a job that exists exactly when the rest of the caller's transaction does."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest
from msgspec import Raw

import rota
from rota.core.errors import Invalid
from rota.core.jobs import Free, HandlerSpec, WorkerHello
from rota.service.service import Service
from rota.store.sqlite.store import SqliteStore
from rota.wiring.inside import submit_in
from tests.store.test_sqlite import NoHooks


def migrated(path: Path) -> sqlite3.Connection:
    async def once() -> None:
        store = SqliteStore(path)
        await store.open()
        await store.close()

    asyncio.run(once())
    return sqlite3.connect(path)


def test_the_job_comes_and_goes_with_the_callers_transaction(tmp_path: Path) -> None:
    con = migrated(tmp_path / "app.db")
    con.row_factory = sqlite3.Row
    con.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, what TEXT)")  # an application has tables of its own
    con.execute("INSERT INTO jobs (what) VALUES ('order 1')")
    submit_in(con, "ship", {"order": 1}, owner="ana")
    con.rollback()
    assert con.execute("SELECT count(*) FROM rota_jobs").fetchone()[0] == 0
    con.execute("INSERT INTO jobs (what) VALUES ('order 2')")
    first = submit_in(con, "ship", {"order": 2}, owner="ana", labels={"kind": "parcel"})
    second = submit_in(con, "bill", {"order": 2}, after=first)
    con.commit()
    con.close()

    async def look() -> None:
        store = SqliteStore(tmp_path / "app.db")
        await store.open()
        jobs = Service(store, sender=NoHooks(), rng=random.Random(1)).jobs
        assert (await jobs.get(first)).state == "queued"
        assert (await jobs.get(second)).state == "blocked"
        assert [e.kind for e in await jobs.events(first)] == ["submitted"]
        counts = {(row.lane, row.state): row.n for row in await store.read(lambda tx: tx.counts())}
        assert counts == {("ship", "queued"): 1, ("bill", "blocked"): 1}
        await store.close()

    asyncio.run(look())


def test_a_running_server_notices_it_without_being_told(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "app.db")
        await store.open()
        service = Service(store, sender=NoHooks(), rng=random.Random(1))
        await service.start()
        hello = WorkerHello(name="w", handlers=[HandlerSpec(name="ship")], slots=1)
        worker = (await service.work.register(hello)).worker
        claim = asyncio.create_task(service.work.claim(worker, Free(process=1, asynchronous=0, total=1), 50))
        await asyncio.sleep(0)

        def elsewhere() -> str:
            con = sqlite3.connect(tmp_path / "app.db")
            job = submit_in(con, "ship", {"order": 1})
            con.commit()
            con.close()
            return job

        job = await asyncio.to_thread(elsewhere)
        async with asyncio.timeout(60):
            assert [lease.job for lease in await claim] == [job]
        await service.stop()
        await store.close()

    asyncio.run(main())


def test_arguments_are_checked(tmp_path: Path) -> None:
    app = rota.App()

    @app.handler
    def ship(order: int) -> None:
        pass

    old = HandlerSpec(name="ship", schema=Raw(b'{"properties": {"old": {}}, "additionalProperties": false}'))

    async def register() -> None:
        store = SqliteStore(tmp_path / "app.db")
        await store.open()
        service = Service(store, sender=NoHooks(), rng=random.Random(1))
        for spec in (old, app.handlers["ship"].spec):
            await service.work.register(WorkerHello(name="w", handlers=[spec]))
        await store.close()

    asyncio.run(register())
    con = sqlite3.connect(tmp_path / "app.db")
    submit_in(con, "ship", {"order": 1})
    submit_in(con, "ship", {"old": 1})  # which the other live worker takes
    with pytest.raises(Invalid, match=r"data\.order: expected int, got str"):
        submit_in(con, "ship", {"order": "1"})
    con.close()


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    con = migrated(tmp_path / "app.db")
    with pytest.raises(Invalid, match="delay"):
        submit_in(con, "ship", delay="soon")
    con.rollback()
    with pytest.raises(Invalid, match="no job"):
        submit_in(con, "ship", after="nobody")
    con.rollback()
    con.close()
    elsewhere = sqlite3.connect(tmp_path / "other.db")
    with pytest.raises(Invalid, match="rota migrate"):
        submit_in(elsewhere, "ship")
    elsewhere.close()
