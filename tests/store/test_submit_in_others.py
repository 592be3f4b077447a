"""`rota.submit_in` through the connections that applications have: psycopg, asyncpg, and SQLAlchemy on all of these."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio

from rota.core.errors import Invalid
from rota.core.jobs import Job
from rota.service.service import Service
from rota.store.postgres.bell import CHANNEL
from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Store
from rota.store.sqlite.store import SqliteStore
from rota.wiring.inside import submit_in
from tests import postgres
from tests.store.test_sqlite import NoHooks

pytestmark = pytest.mark.xdist_group("submit_in")  # one database for all
_TABLE = "CREATE TABLE IF NOT EXISTS orders (n integer)"
_ORDER = "INSERT INTO orders VALUES ({})"


class Caller:
    """A connection in hands that are awaited, whatever it is."""

    def __init__(self, connection: Any, run: Callable[[str], Any], commit: Any = None, rollback: Any = None) -> None:
        self.connection = connection
        self._run = run
        self._commit = commit or connection.commit
        self._rollback = rollback or connection.rollback

    async def run(self, sql: str) -> None:
        await done(self._run(sql))

    async def submit(self, *args: Any, **options: Any) -> str:
        return str(await done(submit_in(self.connection, *args, **options)))

    async def commit(self) -> None:
        await done(self._commit())

    async def rollback(self) -> None:
        await done(self._rollback())


async def done(value: Any) -> Any:
    return await value if isinstance(value, Awaitable) else value


def text(execute: Callable[..., Any]) -> Callable[[str], Any]:
    return lambda sql: execute(sa.text(sql))


@contextlib.asynccontextmanager
async def psycopg_blocking(url: str) -> AsyncIterator[Caller]:
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as con:
        yield Caller(con, con.execute)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def psycopg_awaited(url: str) -> AsyncIterator[Caller]:
    async with await psycopg.AsyncConnection.connect(url) as con:
        yield Caller(con, con.execute)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def asyncpg_awaited(url: str) -> AsyncIterator[Caller]:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as con:
        await con.execute("BEGIN")
        end = lambda word: lambda: con.execute(f"{word}; BEGIN")  # noqa: E731
        yield Caller(con, con.execute, end("COMMIT"), end("ROLLBACK"))
        await con.execute("ROLLBACK")


@contextlib.asynccontextmanager
async def sa_connection(url: str) -> AsyncIterator[Caller]:
    engine = sa.create_engine(url)
    with engine.connect() as con:
        yield Caller(con, text(con.execute))
    engine.dispose()


@contextlib.asynccontextmanager
async def sa_session(url: str) -> AsyncIterator[Caller]:
    engine = sa.create_engine(url)
    session = orm.scoped_session(orm.sessionmaker(engine))
    yield Caller(session, text(session.execute))
    session.remove()
    engine.dispose()


@contextlib.asynccontextmanager
async def sa_awaited(url: str) -> AsyncIterator[Caller]:
    engine = sa_asyncio.create_async_engine(url)
    async with engine.connect() as con:
        yield Caller(con, text(con.execute))
    await engine.dispose()


@contextlib.asynccontextmanager
async def sa_awaited_session(url: str) -> AsyncIterator[Caller]:
    engine = sa_asyncio.create_async_engine(url)
    async with sa_asyncio.AsyncSession(engine) as session:
        yield Caller(session, text(session.execute))
    await engine.dispose()


WAYS: dict[str, tuple[Callable[[str], contextlib.AbstractAsyncContextManager[Caller]], str]] = {
    "psycopg": (psycopg_blocking, ""),
    "psycopg async": (psycopg_awaited, ""),
    "asyncpg pool": (asyncpg_awaited, ""),
    "Connection, psycopg": (sa_connection, "psycopg"),
    "Session, psycopg": (sa_session, "psycopg"),
    "AsyncConnection, psycopg": (sa_awaited, "psycopg"),
    "AsyncSession, psycopg": (sa_awaited_session, "psycopg"),
    "AsyncConnection, asyncpg": (sa_awaited, "asyncpg"),
    "AsyncSession, asyncpg": (sa_awaited_session, "asyncpg"),
    "Connection, sqlite": (sa_connection, "sqlite"),
    "Session, sqlite": (sa_session, "sqlite"),
    "AsyncConnection, aiosqlite": (sa_awaited, "sqlite+aiosqlite"),
    "AsyncSession, aiosqlite": (sa_awaited_session, "sqlite+aiosqlite"),
}


@pytest.fixture(scope="module")
def database() -> str:
    async def make() -> str:
        url = postgres.cluster().new_database()
        store = PostgresStore(url)
        await store.open()
        await store.close()
        return url

    return asyncio.run(make())


def url_of(driver: str, database: str, folder: Path) -> str:
    if driver.startswith("sqlite"):
        return f"{driver}:///{folder / 'app.db'}"
    return database if not driver else database.replace("postgresql://", f"postgresql+{driver}://", 1)


async def jobs_of(driver: str, database: str, folder: Path, owner: str) -> list[Job]:
    from rota.store.protocol import Query

    store: Store = SqliteStore(folder / "app.db") if driver.startswith("sqlite") else PostgresStore(database)
    await store.open()
    found, _ = await Service(store, sender=NoHooks(), rng=random.Random(1)).jobs.find(Query(owner=owner))
    for job in found:
        assert [e.kind for e in await store.read(lambda tx, job=job: tx.events_of(job.id, 0, 9))] == ["submitted"]
    await store.close()
    return found


async def until(told: Callable[[], bool]) -> bool:
    for _ in range(6000):
        if told():
            return True
        await asyncio.sleep(0.01)
    return False


@pytest.mark.parametrize("way", WAYS)
def test_the_job_comes_and_goes_with_the_callers_transaction(way: str, database: str, tmp_path: Path) -> None:
    opened, driver = WAYS[way]

    async def main() -> None:
        await jobs_of(driver, database, tmp_path, way)  # makes the file
        heard: list[str] = []
        listening = await asyncpg.connect(database)
        await listening.add_listener(CHANNEL, lambda *args: heard.append(args[3]))
        async with opened(url_of(driver, database, tmp_path)) as caller:
            await caller.run(_TABLE)
            await caller.commit()
            await caller.submit("ship", {"order": 1}, owner=way)  # also as the first thing in a transaction
            await caller.rollback()
            await caller.run(_ORDER.format(7))
            first = await caller.submit("ship", {"order": 7}, owner=way, labels={"kind": "parcel"})
            second = await caller.submit("bill", {"order": 7}, owner=way, after=first)
            third = await caller.submit("pack", owner=way, inputs=["a", 'b"\\'])
            assert heard == []
            await caller.commit()
            with pytest.raises(Invalid, match="no job 'nobody'"):
                await caller.submit("ship", owner=way, after="nobody")
            await caller.rollback()
        found = {job.id: job for job in await jobs_of(driver, database, tmp_path, way)}
        assert {(job.id, job.state) for job in found.values()} == {
            (first, "queued"), (second, "blocked"), (third, "queued"),
        }  # fmt: skip
        assert bytes(found[first].data) == b'{"order":7}' and found[third].array is not None
        if not driver.startswith("sqlite"):
            assert await until(lambda: all(any(name in news for news in heard) for name in ('"ship"', '"array:pack"')))
        await listening.close()

    asyncio.run(main())


def test_connections_that_cannot_be_used_are_told_apart(database: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"is a builtins\.str; it can be one of sqlite3, psycopg"):
        submit_in("postgresql://", "ship")  # type: ignore[call-overload]
    closed = sqlite3.connect(":memory:")
    closed.close()
    with pytest.raises(Invalid, match="closed"):
        submit_in(closed, "ship")
    with psycopg.connect(database, autocommit=True) as con:
        with pytest.raises(Invalid, match="in no transaction"):
            submit_in(con, "ship")
        with con.transaction():
            assert submit_in(con, "ship", owner="auto")
    with pytest.raises(Invalid, match="is closed"):
        submit_in(con, "ship")
    nowhere = sa.create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    with nowhere.connect() as other, pytest.raises(Invalid, match="a file that is no store of Rota; rota migrate"):
        submit_in(other, "ship")
    nowhere.dispose()
    empty = postgres.cluster().new_database()
    with psycopg.connect(empty) as bare, pytest.raises(Invalid, match="a database that is no store of Rota"):
        submit_in(bare, "ship")

    async def awaited() -> None:
        con = await asyncpg.connect(database)
        with pytest.raises(Invalid, match="in no transaction"):
            await submit_in(con, "ship")
        await con.close()
        with pytest.raises(Invalid, match="is closed"):
            await submit_in(con, "ship")
        engine = sa_asyncio.create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://", 1))
        async with engine.connect() as alone:
            alone = await alone.execution_options(isolation_level="AUTOCOMMIT")
            with pytest.raises(Invalid, match="in no transaction"):
                await submit_in(alone, "ship")
        await engine.dispose()

    asyncio.run(awaited())
