"""The embedded store copied while it is written to, and put back."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import stat
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace

from rota.core.errors import Conflict, Invalid, RotaError, StoreInUse, StoreTooNew, Unavailable
from rota.core.jobs import Free, HandlerSpec, Job, Lease, Report, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.service.service import Service
from rota.store.protocol import Query
from rota.store.sqlite.backup import back_up, restore
from rota.store.sqlite.store import SCHEMA_VERSION, take_ownership
from tests.embedded import store_at

HELLO = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=4, arrays=True)


class NoHooks:
    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        return 204


class Open:
    """A service over a store's file, as its one owner."""

    def __init__(self, path: Path, lease_s: float = 15.0) -> None:
        self.store = store_at(path)
        self.service = Service(self.store, sender=NoHooks(), lease_s=lease_s, rng=random.Random(1))

    async def __aenter__(self) -> Service:
        await self.store.open()
        await self.service.start()
        return self.service

    async def __aexit__(self, *_: object) -> None:
        await self.service.stop()
        await self.store.close()


async def jobs_in(path: Path) -> dict[str, Job]:
    async with Open(path) as service:
        found: dict[str, Job] = {}
        query = Query(limit=1000)
        while True:
            jobs, following = await service.jobs.find(query)
            found |= {job.id: job for job in jobs}
            if following is None:
                return found
            query = replace(query, cursor=following)


def test_a_backup_under_load_is_one_moment_and_holds_all_that_was_acknowledged_before(tmp_path: Path) -> None:
    store, copy = tmp_path / "rota.db", tmp_path / "copy.db"
    pages: list[tuple[int, int]] = []

    async def test() -> None:
        acknowledged: set[str] = set()
        enough = asyncio.Event()
        async with Open(store) as service:
            data = Raw(b'"%s"' % (b"x" * 3000))

            async def load() -> None:
                while True:
                    pair = [Submission(handler="h", data=data)] * 2  # both or neither
                    acknowledged.update(job.id for job in await service.jobs.submit_many(pair))
                    if len(acknowledged) >= 50:
                        enough.set()

            await service.jobs.submit_many([Submission(handler="h", data=data)] * 8000)
            loads = [asyncio.create_task(load()) for _ in range(4)]
            await enough.wait()
            before = set(acknowledged)
            said = await asyncio.to_thread(back_up, store, copy, lambda done, whole: pages.append((done, whole)))
            grown = len(acknowledged) - len(before)
            for each in loads:
                each.cancel()
            await asyncio.wait(loads)
        found = await jobs_in(copy)
        assert said == len(found) and len(found) % 2 == 0
        assert before <= found.keys() and grown > 0
        with closing(sqlite3.connect(copy)) as con:
            told = con.execute("SELECT others FROM rota_events WHERE kind = 'submitted'").fetchall()
            ((counted,),) = con.execute("SELECT sum(n) FROM rota_counts")
        events = sum(1 if others is None else 2 + others.count(",") for (others,) in told)
        assert events == counted == len(found)

    asyncio.run(test())
    assert len(pages) > 1 and pages[-1][0] == pages[-1][1]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    left = {path.name for path in tmp_path.iterdir()}
    assert not any("part" in name for name in left)


def test_what_ran_at_the_time_of_the_backup_runs_again_where_it_is_put_back(tmp_path: Path) -> None:
    store, copy, back = tmp_path / "rota.db", tmp_path / "copy.db", tmp_path / "back.db"

    async def claim(service: Service) -> list[Lease]:
        worker = (await service.work.register(HELLO)).worker
        while True:
            await service.work.heartbeat(worker, [])
            if leases := await service.work.claim(worker, Free(process=4, asynchronous=0, total=4), 0.2):
                break
        reports = [Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED) for lease in leases]
        await service.work.settle(worker, reports)
        return leases

    async def test() -> None:
        async with Open(store) as service:
            job = (await service.jobs.submit(Submission(handler="h"))).id
            worker = (await service.work.register(HELLO)).worker
            (lease,) = await service.work.claim(worker, Free(process=1, asynchronous=0, total=1))
            back_up(store, copy)
            await service.work.settle(worker, [Report(job=job, attempt=lease.attempt, outcome=Outcome.SUCCEEDED)])
        assert restore(copy, back) == 1
        async with Open(back, lease_s=1.0) as service:
            assert (await service.jobs.get(job)).state in (State.RUNNING, State.QUEUED, State.SCHEDULED)
            async with asyncio.timeout(60):
                (again,) = await claim(service)
            assert (again.job, again.attempt) == (job, 2)
            assert (await service.jobs.get(job)).state is State.SUCCEEDED

    asyncio.run(test())


def made(path: Path) -> Path:
    async def test() -> None:
        async with Open(path) as service:
            await service.jobs.submit(Submission(handler="h"))

    asyncio.run(test())
    return path


def test_nothing_is_overwritten_and_nothing_else_is_taken_for_a_store(tmp_path: Path) -> None:
    store, copy = made(tmp_path / "rota.db"), tmp_path / "copy.db"
    back_up(store, copy)
    text, newer = tmp_path / "text", tmp_path / "newer.db"
    text.write_text("no store\n" * 999)
    back_up(store, newer)
    with closing(sqlite3.connect(newer)) as con, con:
        con.execute("UPDATE rota_schema SET version = ?", (SCHEMA_VERSION + 1,))
    with closing(sqlite3.connect(tmp_path / "other.db")) as con:
        con.execute("CREATE TABLE t (a)")
    names = {path.name for path in tmp_path.iterdir()}
    wrong: list[tuple[type[RotaError], str, Path, Path]] = [
        (Conflict, "is there already", store, copy),
        (Conflict, "is there already", copy, store),
        (Invalid, "there is no store", tmp_path / "none.db", tmp_path / "new.db"),
        (Invalid, "is no store of Rota", text, tmp_path / "new.db"),
        (Invalid, "is no store of Rota", tmp_path / "other.db", tmp_path / "new.db"),
        (StoreTooNew, "use a newer Rota", newer, tmp_path / "new.db"),
        (Unavailable, "cannot be written", store, tmp_path / "no folder" / "new.db"),
    ]
    for kind, message, source, target in wrong:
        with pytest.raises(kind, match=message):
            back_up(source, target)
    with pytest.raises(Conflict, match="move it away first"):
        restore(copy, store)
    assert {path.name for path in tmp_path.iterdir()} - names <= {
        "text-wal",
        "text-shm",
        "other.db-wal",
        "other.db-shm",
    }


def test_a_store_that_somebody_owns_without_a_file_yet_is_not_restored_over(tmp_path: Path) -> None:
    store, copy = made(tmp_path / "rota.db"), tmp_path / "copy.db"
    back_up(store, copy)

    owned = take_ownership(tmp_path / "mine.db")
    with pytest.raises(StoreInUse):
        restore(copy, tmp_path / "mine.db")
    os.close(owned)
    assert restore(copy, tmp_path / "mine.db") == 1


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    store, disk = tmp_path / "rota.db", tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a file system of a few megabytes")

    async def fill() -> None:
        async with Open(store) as service:
            await service.jobs.submit_many([Submission(handler="h", data=Raw(b'"%s"' % (b"x" * 9000)))] * 900)

    try:
        asyncio.run(fill())
        with pytest.raises(Unavailable, match="cannot be copied"):
            back_up(store, disk / "copy.db")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
