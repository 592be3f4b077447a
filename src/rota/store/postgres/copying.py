"""A PostgreSQL store as one end of `rota copy`: read as a whole, or made anew in one transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

from asyncpg import Connection, PostgresError

from rota.core.errors import Conflict, Invalid, StoreInUse, Unavailable
from rota.store.copying import PIECE_BYTES, PIECE_ROWS, Row, Table
from rota.store.postgres.connections import LOST, SERVERS, connect
from rota.store.postgres.migrate import lock, migrate

_NAME = "rota copy"
_LIMITS = """SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL lock_timeout = '30s'; SET LOCAL synchronous_commit = on"""
_LOOK_S = 0.5
_SILENT_S = 6.0  # a server asks once a second; one that was stopped is forgotten after 3
_ALIVE = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1
  AND (state IS DISTINCT FROM 'idle' OR state_change > clock_timestamp() - interval '3 seconds')"""
_COLUMNS = """
SELECT attname, typname FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"""
_INDEXES = """
SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
WHERE i.indrelid = to_regclass($1) AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)"""
_SEQUENCE = "coalesce(pg_get_serial_sequence('{0}', '{1}'), '{0}_seq')::regclass"
# A number of a counter is the sum of its parts.
_VIEWS = {
    "rota_counts": "(SELECT queue, lane, state, sum(n)::bigint AS n FROM rota_counts GROUP BY 1, 2, 3 HAVING sum(n) <> 0) v",
    "rota_kept": "(SELECT owner, sum(waiting)::bigint AS waiting, sum(size)::bigint AS size FROM rota_kept GROUP BY 1) v",
    "rota_run_counts": "(SELECT run, state, sum(n)::bigint AS n FROM rota_run_counts GROUP BY 1, 2 HAVING sum(n) <> 0) v",
}
# What SQLite has not. A horizon that is below every transaction's id: all that comes before has long been committed.
_OWN = {
    "rota_counts": {"part": 0},
    "rota_run_counts": {"part": 0},
    "rota_kept": {"part": 0},
    "rota_events": {"horizon": 1},
}
MADE_FROM_JOBS = "rota_listed"


class PostgresEnd:
    """See store/copying.py."""

    def __init__(self, con: Connection[Any]) -> None:
        self._con = con
        self._indexes: list[str] = []
        self._types: dict[str, dict[str, str]] = {}
        self.replaced = 0  # texts that had a NUL

    async def hold(self, tables: Sequence[Table]) -> None:
        """Let nobody write until the transaction ends, and see what is there."""
        await self._con.execute(f"LOCK TABLE {', '.join(table.name for table in tables)} IN SHARE MODE")
        await self._learn(tables)

    async def begin(self, tables: Sequence[Table]) -> None:
        """Make an empty store; its indexes come last, when each can be sorted once. Raises Conflict."""
        await lock(self._con)
        await _check_free(self._con)
        await migrate(self._con)
        await self._learn(tables)
        for name in (*(table.name for table in tables), MADE_FROM_JOBS):
            for index, definition in await self._con.fetch(_INDEXES, name):
                await self._con.execute(f"DROP INDEX {index}")
                self._indexes.append(definition)

    async def count(self, table: Table) -> int:
        n: int = await self._con.fetchval(f"SELECT count(*) FROM {_view(table)}")  # noqa: S608  # our own names
        return n

    async def rows(self, table: Table) -> AsyncGenerator[Sequence[Row], None]:
        types = self._types[table.name]
        columns = ", ".join(f"{c}::int" if types[c] == "bool" else c for c in table.columns)
        key = ", ".join(f'{c} COLLATE "C"' if c in table.texts else c for c in table.key)
        await self._con.execute(f"DECLARE piece CURSOR FOR SELECT {columns} FROM {_view(table)} ORDER BY {key}")  # noqa: S608
        fetch = f"FETCH {await self._at_once(table)} FROM piece"
        coded = [n for n, c in enumerate(table.columns) if c in table.texts and types[c] == "bytea"]
        while rows := await self._con.fetch(fetch):
            yield [_decoded(row, coded) for row in rows] if coded else [tuple(row) for row in rows]
        await self._con.execute("CLOSE piece")

    async def _at_once(self, table: Table) -> int:
        """Return how many rows may be fetched together, were each as large as the largest."""
        types = self._types[table.name]
        sizes = [f"coalesce(octet_length({c}), 0)" for c in table.columns if types[c] in ("text", "bytea")]
        largest = await self._con.fetchval(f"SELECT max({' + '.join(sizes)}) FROM {_view(table)}")  # noqa: S608
        return max(1, min(PIECE_ROWS, PIECE_BYTES // max(1, largest or 1)))

    async def last_number(self, table: Table) -> int:
        sequence = await self._con.fetchval(f"SELECT {_sequence(table)}::text")
        last: int = await self._con.fetchval(f"SELECT last_value - (NOT is_called)::int FROM {sequence}")  # noqa: S608
        return last

    def fitted(self, table: Table, rows: Sequence[Row]) -> Sequence[Row]:
        """Replace NUL characters, which PostgreSQL's texts may not have, as this store does with those of events."""
        types = self._types[table.name]
        texts = [n for n, c in enumerate(table.columns) if types[c] == "text"]
        if not any("\0" in "".join([row[n] or "" for row in rows]) for n in texts):
            return rows
        return [[self._fitted(value) if n in texts else value for n, value in enumerate(row)] for row in rows]

    def _fitted(self, text: str | None) -> str | None:
        if text is None or "\0" not in text:
            return text
        self.replaced += 1
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}")

    async def write(self, table: Table, rows: Sequence[Row]) -> None:
        types = self._types[table.name]
        own = _OWN.get(table.name, {})
        flags = [n for n, c in enumerate(table.columns) if types[c] == "bool"]
        coded = [n for n, c in enumerate(table.columns) if c in table.texts and types[c] == "bytea"]
        await self._con.copy_records_to_table(
            table.name,
            columns=[*table.columns, *own],
            records=[_encoded(row, flags, coded, (*own.values(),)) for row in rows],
        )

    async def set_last_number(self, table: Table, number: int) -> None:
        await self._con.execute(f"SELECT setval({_sequence(table)}, {max(1, number)}, {number > 0})")

    async def complete(self) -> None:
        await self._con.execute(f"INSERT INTO {MADE_FROM_JOBS} SELECT id, owner, queue, handler, run FROM rota_jobs")  # noqa: S608
        for definition in self._indexes:
            await self._con.execute(definition)
        for name in (*self._types, MADE_FROM_JOBS):
            await self._con.execute(f"ANALYZE {name}")

    async def _learn(self, tables: Sequence[Table]) -> None:
        for table in tables:
            self._types[table.name] = dict(await self._con.fetch(_COLUMNS, table.name))


@asynccontextmanager
async def reading(url: str, tables: Sequence[Table]) -> AsyncIterator[PostgresEnd]:
    """Read a store, to which nobody can write meanwhile. Raises Unavailable."""
    async with _transaction(url, "repeatable_read") as con:
        end = PostgresEnd(con)
        await end.hold(tables)
        yield end


@asynccontextmanager
async def writing(url: str, tables: Sequence[Table]) -> AsyncIterator[PostgresEnd]:
    """Make a new store, in one transaction: all of it is there in the end, or nothing. Raises Conflict, Unavailable."""
    async with _transaction(url, "read_committed") as con:
        end = PostgresEnd(con)
        await end.begin(tables)
        yield end


@asynccontextmanager
async def _transaction(
    url: str, isolation: Literal["read_committed", "repeatable_read"]
) -> AsyncIterator[Connection[Any]]:
    with _told():
        con = await connect(url, name=_NAME, answer_s=None)
        try:
            async with con.transaction(isolation=isolation):
                await con.execute(_LIMITS)
                yield con
            await con.close(timeout=5)
        finally:
            con.terminate()


async def check_source(url: str) -> None:
    """Raise Invalid when there is no store, StoreInUse when servers, or workers beside them, are on it."""
    with _told():
        con = await connect(url, name=_NAME, answer_s=20)
        try:
            if await con.fetchval("SELECT to_regclass('rota_schema')") is None:
                raise Invalid("store", "there is no store in this database")
            until = time.monotonic() + _SILENT_S
            while alive := await con.fetchval(_ALIVE, SERVERS):
                if time.monotonic() > until:
                    raise StoreInUse(
                        f"servers, or workers with --store, are on the store ({alive} connections are in use); stop them first"
                    )
                await asyncio.sleep(_LOOK_S)
        finally:
            con.terminate()


async def check_target(url: str) -> None:
    """Raise Conflict when there is a store already."""
    with _told():
        con = await connect(url, name=_NAME, answer_s=20)
        try:
            await _check_free(con)
        finally:
            con.terminate()


async def _check_free(con: Connection[Any]) -> None:
    if await con.fetchval("SELECT to_regclass('rota_schema')") is not None:
        raise Conflict("there is a store in this database already; name a new database")


def _view(table: Table) -> str:
    return _VIEWS.get(table.name, table.name)


def _sequence(table: Table) -> str:
    return _SEQUENCE.format(table.name, table.columns[0])


def _decoded(row: Row, coded: Sequence[int]) -> Row:
    return [value.decode() if n in coded else value for n, value in enumerate(row)]


def _encoded(row: Row, flags: Sequence[int], coded: Sequence[int], own: Row) -> Row:
    values = [*row, *own]
    for n in flags:
        values[n] = None if values[n] is None else bool(values[n])
    for n in coded:
        values[n] = values[n].encode()
    return values


@contextmanager
def _told() -> Iterator[None]:
    """Turn what asyncpg raises into Unavailable."""
    try:
        yield
    except LOST as error:
        raise Unavailable(f"PostgreSQL cannot be reached: {error or type(error).__name__}") from error
    except PostgresError as error:
        raise Unavailable(f"PostgreSQL cannot do it: {error}") from error
