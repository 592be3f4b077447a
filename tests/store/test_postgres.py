"""What is special about PostgreSQL: others write at the same time, connections are lost, a pooler is in between."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import asyncpg
import pytest

from rota.core.access import Role
from rota.core.errors import Invalid, NotFound, StoreTooNew, Unavailable
from rota.core.jobs import Free, HandlerSpec, Report, Submission, WorkerHello
from rota.core.states import Outcome, State
from rota.service.service import Service
from rota.service.tokens import NewToken
from rota.store.postgres.connections import Connections
from rota.store.postgres.statement import array
from rota.store.postgres.store import SESSION, PostgresStore
from rota.store.protocol import NewEvent, Tx
from rota.wiring.inside import submit_in
from tests import postgres

from .postgres_between import Bouncer, Wire
from .postgres_race import NoHooks, Race


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_servers_that_race_do_everything_once(seed: int) -> None:
    cluster = postgres.cluster()
    url = cluster.new_store()
    asyncio.run(Race(url, seed=seed).run())
    deadlocks = f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{url.rpartition('/')[2]}'"
    assert cluster.sql(deadlocks) == "0"


def test_a_reader_stops_before_what_is_not_committed_yet() -> None:
    async def main() -> None:
        url = postgres.cluster().new_store()
        one, other = PostgresStore(url), PostgresStore(url)
        await one.open()
        await other.open()
        numbered, go = asyncio.Event(), asyncio.Event()

        async def slow(tx: Tx) -> None:
            await tx.append_events([NewEvent("first", "o", "x", State.QUEUED)])
            await tx.flush()  # type: ignore[attr-defined]  # has its number, and does not commit
            numbered.set()
            await go.wait()

        async def quick(tx: Tx) -> None:
            await tx.append_events([NewEvent("second", "o", "x", State.QUEUED)])

        async def seen() -> list[str]:
            return [event.job for event in await other.read(lambda tx: tx.events_after(0, 9))]

        writing = asyncio.create_task(one.write(slow))
        await numbered.wait()
        await other.write(quick)
        assert await seen() == []
        assert await other.read(lambda tx: tx.last_event()) == 0
        assert [e.job for e in await other.read(lambda tx: tx.events_of("second", 0, 9))] == ["second"]
        go.set()
        await writing
        assert await seen() == ["first", "second"]
        await one.close()
        await other.close()

    asyncio.run(main())


def test_servers_that_start_together_migrate_once() -> None:
    async def main() -> None:
        url = postgres.cluster().new_database()
        stores = [PostgresStore(url) for _ in range(5)]
        await asyncio.gather(*(store.open() for store in stores))
        for store in stores:
            assert await store.read(lambda tx: tx.last_event()) == 0
            await store.close()

    asyncio.run(main())


def service_over(store: PostgresStore) -> Service:
    return Service(store, sender=NoHooks(), rng=random.Random(1))


@pytest.mark.parametrize(
    "column",
    [
        ("a", 'q"u\\o', "", "null", "NULL", "{}", "a,b", " ", "ü\n\t", "\x1f"),
        ("a", None, 'q"u\\o', "null", ""),
        (1, None, -(2**62)),
        (True, None, False),
        (0.1, None, 1e300, -1e-300),
        (b"", None, b"\0\xff\\"),
        (None, None),
        (),
    ],
)
def test_an_array_that_goes_as_text_comes_as_it_was(column: tuple[Any, ...]) -> None:
    kinds = {str: "text", int: "bigint", bool: "bool", float: "float8", bytes: "bytea"}
    kind = kinds[type(column[0])] if column and column[0] is not None else "text"

    async def main() -> None:
        con = await asyncpg.connect(postgres.cluster().url())
        back = await con.fetchval(f"SELECT $1::text::{kind}[]", array(column))
        assert back == ([] if set(column) == {None} else list(column))
        await con.close()

    asyncio.run(main())


def test_what_is_prepared_is_so_on_straight_connections_only() -> None:
    async def prepared(url: str) -> bool:
        connections = Connections(url, most=1, answer_s=30, session=SESSION)
        con = await connections.take()
        found = connections.prepared(con) is not None
        connections.give(con, good=True)
        await connections.close()
        return found

    cluster = postgres.cluster()
    bouncer = Bouncer(cluster)
    try:
        assert asyncio.run(prepared(cluster.url()))
        assert not asyncio.run(prepared(bouncer.url(cluster.url())))
    finally:
        bouncer.close()


def test_a_session_that_loses_what_was_prepared_is_trusted_no_more() -> None:
    """As it would be behind a pooler that passes on the process it first met."""

    async def main() -> None:
        cluster = postgres.cluster()
        url = cluster.new_store()
        store = PostgresStore(url, connections=1)
        await store.open()
        jobs = service_over(store).jobs
        job = await jobs.submit(Submission(handler="h"))
        con = await store._take()
        await con.execute("DEALLOCATE ALL")
        store._give(con, good=True)
        await jobs.submit(Submission(handler="h"))
        assert (await jobs.get(job.id)).state is State.QUEUED
        assert [row.n for row in await store.read(lambda tx: tx.counts())] == [2]
        con = await store._take()
        assert await con.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0
        store._give(con, good=True)
        await store.close()

    asyncio.run(main())


def test_servers_race_behind_a_pooler_too() -> None:
    cluster = postgres.cluster()
    bouncer = Bouncer(cluster)
    try:
        asyncio.run(Race(bouncer.url(cluster.new_store()), jobs=150).run())
    finally:
        bouncer.close()


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_commit_whose_answer_was_lost_is_done_once(side: str) -> None:
    """Nobody is told that a job was not submitted which was; and none is submitted twice."""

    async def main() -> None:
        cluster = postgres.cluster()
        async with Wire(cluster) as wire:
            store = PostgresStore(wire.url(cluster.new_store()))
            await store.open()
            jobs = service_over(store).jobs
            for key in (None, "a key"):
                wire.cut = side
                job = await jobs.submit(Submission(handler="h"), key=key)
                assert (await jobs.get(job.id)).state is State.QUEUED
            assert wire.cuts == 2
            assert [row.n for row in await store.read(lambda tx: tx.counts())] == [2]
            await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_claim_and_a_report_whose_answers_were_lost_are_done_once(side: str) -> None:
    async def main() -> None:
        cluster = postgres.cluster()
        async with Wire(cluster) as wire:
            store = PostgresStore(wire.url(cluster.new_store()))
            await store.open()
            service = service_over(store)
            job = await service.jobs.submit(Submission(handler="h"))
            hello = WorkerHello(name="w", handlers=[HandlerSpec(name="h")], slots=1)
            worker = (await service.work.register(hello)).worker
            wire.cut = side
            (lease,) = await service.work.claim(worker, Free(process=1, asynchronous=0, total=1))
            assert (lease.job, lease.attempt) == (job.id, 1)
            wire.cut = side
            report = Report(job=job.id, attempt=1, outcome=Outcome.SUCCEEDED)
            (answer,) = await service.work.settle(worker, [report])
            assert (answer.accepted, answer.state) == (True, State.SUCCEEDED)
            assert [event.kind for event in await service.jobs.events(job.id)] == ["submitted", "started", "succeeded"]
            await store.close()

    asyncio.run(main())


def test_a_key_that_two_servers_get_at_once_makes_one_job() -> None:
    async def main() -> None:
        url = postgres.cluster().new_store()
        stores = [PostgresStore(url) for _ in range(3)]
        for store in stores:
            await store.open()
        services = [service_over(store) for store in stores]
        for n in range(10):
            made = await asyncio.gather(*(s.jobs.submit(Submission(handler="h"), key=f"k{n}") for s in services))
            assert len({job.id for job in made}) == 1
        assert [row.n for row in await stores[0].read(lambda tx: tx.counts())] == [10]
        for store in stores:
            await store.close()

    asyncio.run(main())


def test_a_token_that_servers_read_from_a_file_at_once_is_made_once() -> None:
    """Two servers of a compose file start together, and both find the first admin's token."""

    async def main() -> None:
        url = postgres.cluster().new_store()
        stores = [PostgresStore(url) for _ in range(3)]
        for store in stores:
            await store.open()
        services = [service_over(store) for store in stores]
        for n in range(10):
            new = NewToken(role=Role.ADMIN, name="token file")
            made = await asyncio.gather(*(s.tokens.add(new, f"{n}" * 32) for s in services))
            assert len({row.id for row, _ in made}) == 1
        assert len(await stores[0].read(lambda tx: tx.tokens())) == 10
        for store in stores:
            await store.close()

    asyncio.run(main())


def test_a_server_that_is_killed_and_comes_back_has_lost_nothing() -> None:
    """Every job that was acknowledged is there; who waits meanwhile is told so, and goes on within two seconds."""

    async def main() -> None:
        cluster = postgres.Cluster(postgres.programs(), fsync="on", full_page_writes="on")
        store = PostgresStore(cluster.url())
        await store.open()
        jobs = service_over(store).jobs
        kept: list[str] = []
        refused = 0
        going = True

        async def submit() -> None:
            nonlocal refused
            while going:
                try:
                    kept.append((await jobs.submit(Submission(handler="h"))).id)
                except Unavailable:
                    refused += 1

        people = [asyncio.create_task(submit()) for _ in range(8)]
        for _ in range(2):
            before = len(kept)
            await _until(lambda before=before: len(kept) > before + 50)
            await asyncio.to_thread(cluster.stop, "immediate")
            await asyncio.sleep(1.5)
            await asyncio.to_thread(cluster.start)
            began, before = time.monotonic(), len(kept)
            await _until(lambda before=before: len(kept) > before)
            print(f"recovered after {time.monotonic() - began:.2f} s")
        going = False
        await asyncio.gather(*people)
        assert refused > 0
        there = await store.read(lambda tx: tx.lock_jobs(kept))
        assert len(there) == len(kept)
        counted = sum(row.n for row in await store.read(lambda tx: tx.counts()))
        assert int(cluster.sql("SELECT count(*) FROM rota_jobs")) == counted >= len(kept)
        await store.close()
        cluster.remove()

    asyncio.run(main())


async def _until(true: Any, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  # tasks fill a list
            await asyncio.sleep(0.01)


def test_what_only_adds_is_no_reason_to_refuse_a_store() -> None:
    """Servers of before an expanding migration go on, and may be started; a contracting one ends that."""

    async def main() -> None:
        cluster = postgres.cluster()
        url = cluster.new_store()
        store = PostgresStore(url)
        await store.open()
        cluster.sql("INSERT INTO rota_schema (version, expands) VALUES (9001, true)", url.rpartition("/")[2])
        other = PostgresStore(url)
        await other.open()
        await other.close()
        cluster.sql("INSERT INTO rota_schema (version, expands) VALUES (9002, false)", url.rpartition("/")[2])
        with pytest.raises(StoreTooNew, match="9002"):
            await PostgresStore(url).open()
        await store.close()

    asyncio.run(main())


def test_no_password_is_shown() -> None:
    from rota.wiring.stores import shown

    url = "postgresql://ana:s3:cr@et@db.example:6432/rota?sslmode=require&password=s3cret&application_name=rota"
    assert shown(url) == "postgresql://ana@db.example:6432/rota?sslmode=require&application_name=rota"
    assert shown("postgresql:///rota?host=/run") == "postgresql:///rota?host=/run"
    assert shown("sqlite:///rota.db") == "sqlite:///rota.db"

    async def main() -> None:
        with pytest.raises(Unavailable) as refused:
            await PostgresStore(f"postgresql://ana:s3cret@127.0.0.1:{postgres.free_port()}/rota").open()
        assert "s3cret" not in str(refused.value)

    asyncio.run(main())


def test_a_job_comes_and_goes_with_the_callers_transaction() -> None:
    async def main() -> None:
        url = postgres.cluster().new_database()
        mine = await asyncpg.connect(url)
        with pytest.raises(Invalid, match="no transaction"):
            await submit_in(mine, "ship")
        with pytest.raises(Invalid, match="rota migrate"):
            async with mine.transaction():
                await submit_in(mine, "ship")
        store = PostgresStore(url)
        await store.open()
        jobs = service_over(store).jobs
        await mine.execute("CREATE TABLE orders (n integer)")
        for isolation in ("read_committed", "serializable"):
            async with mine.transaction(isolation=isolation):
                await mine.execute("INSERT INTO orders VALUES (1)")
                first = await submit_in(mine, "ship", {"order": 1})
                second = await submit_in(mine, "bill", after=first)
                with pytest.raises(NotFound):
                    await jobs.get(first)
            assert [(await jobs.get(job)).state for job in (first, second)] == [State.QUEUED, State.BLOCKED]
        lost = ""
        with pytest.raises(ZeroDivisionError):
            async with mine.transaction():
                lost = await submit_in(mine, "ship")
                raise ZeroDivisionError
        with pytest.raises(NotFound):
            await jobs.get(lost)
        events = await store.read(lambda tx: tx.events_after(0, 99))
        assert [event.kind for event in events] == ["submitted"] * 4
        await mine.close()
        await store.close()

    asyncio.run(main())


def test_a_synchronous_standby_takes_over_with_all_that_was_acknowledged() -> None:
    """As docs/postgresql.md sets it up: the primary dies for good, the standby is promoted, the servers find it."""

    if not (postgres.programs() / "pg_basebackup").exists():
        pytest.skip("this PostgreSQL comes without pg_basebackup")

    async def main() -> None:
        first = postgres.Cluster(postgres.programs(), wal_level="replica")
        second = postgres.Cluster(postgres.programs(), copy_of=first)
        first.sql("ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (*)'")
        first.sql("SELECT pg_reload_conf()")
        postgres.wait_for(lambda: first.sql("SELECT sync_state FROM pg_stat_replication") == "sync")
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
        store = PostgresStore(f"postgresql://rota@{hosts}/postgres?target_session_attrs=read-write")
        await store.open()
        jobs = service_over(store).jobs
        kept = [(await jobs.submit(Submission(handler="h"))).id for _ in range(50)]
        await asyncio.to_thread(first.stop, "immediate")
        with pytest.raises(Unavailable):
            await jobs.submit(Submission(handler="h"))
        await asyncio.to_thread(second.promote)
        kept.append((await jobs.submit(Submission(handler="h"))).id)
        assert set(await store.read(lambda tx: tx.lock_jobs(kept))) == set(kept)
        assert [row.n for row in await store.read(lambda tx: tx.counts())] == [51]
        seen = [event.job for event in await store.read(lambda tx: tx.events_after(0, 999))]
        assert seen == kept
        await store.close()
        first.remove()
        second.remove()

    asyncio.run(main())


@pytest.mark.parametrize("id_", ["\0", "a\ud800", "x" * 10_000])
def test_an_id_that_cannot_be_is_bad_input_and_no_outage(id_: str) -> None:
    async def main() -> None:
        store = PostgresStore(postgres.cluster().new_store())
        await store.open()
        with pytest.raises((Invalid, NotFound)):
            await service_over(store).jobs.get(id_)
        await store.close()

    asyncio.run(main())
