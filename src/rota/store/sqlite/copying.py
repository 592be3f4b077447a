"""A store's file as one end of `rota copy`: read as a whole, or made anew."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from rota.core.errors import Conflict, Invalid, Unavailable
from rota.store.copying import Row, Table
from rota.store.sqlite.backup import check_version, sync
from rota.store.sqlite.store import migrate, take_ownership

_READ_AT_ONCE = 10  # rows; each may be some megabytes
# Counters of nothing are left out: the other kind of store has others of them.
_VIEWS = {
    "rota_counts": "(SELECT * FROM rota_counts WHERE n <> 0)",
    "rota_run_counts": "(SELECT * FROM rota_run_counts WHERE n <> 0)",
}


def tables() -> list[Table]:
    """Return the tables of a store, as its newest schema has them."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as con:
        migrate(con)
        found = con.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name LIKE 'rota\\_%' ESCAPE '\\' ORDER BY name"
        ).fetchall()
        return [_table(con, name, sql) for name, sql in found if name != "rota_schema"]


def _table(con: sqlite3.Connection, name: str, sql: str) -> Table:
    columns = con.execute("SELECT name, type, pk FROM pragma_table_info(?) ORDER BY cid", (name,)).fetchall()
    return Table(
        name,
        tuple(column for column, _, _ in columns),
        frozenset(column for column, kind, _ in columns if kind == "TEXT"),
        tuple(column for _, column in sorted((place, column) for column, _, place in columns if place)),
        "AUTOINCREMENT" in sql,
    )


class SqliteEnd:
    """See store/copying.py. Every method raises Unavailable for what SQLite cannot do."""

    def __init__(self, con: sqlite3.Connection, path: Path) -> None:
        self._con = con
        self._path = path
        self._indexes: list[str] = []

    def hold(self) -> None:
        """Let nobody else write, an application's `submit_in` neither."""
        with _told(self._path):
            self._con.execute("BEGIN IMMEDIATE")

    def begin(self) -> None:
        """Make an empty store; its indexes come last, when each can be sorted once."""
        with _told(self._path):
            self._con.execute("PRAGMA journal_mode = OFF")  # what fails is removed as a whole
            self._con.execute("PRAGMA synchronous = OFF")
            migrate(self._con)
            kept = self._con.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
            for name, sql in kept.fetchall():
                self._con.execute(f"DROP INDEX {name}")
                self._indexes.append(sql)
            self._con.execute("BEGIN")

    async def count(self, table: Table) -> int:
        with _told(self._path):
            (n,) = self._con.execute(f"SELECT count(*) FROM {_view(table)}").fetchone()  # noqa: S608  # our own names
        return int(n)

    async def rows(self, table: Table) -> AsyncGenerator[Sequence[Row], None]:
        columns, key = ", ".join(table.columns), ", ".join(table.key)
        with _told(self._path):
            cursor = self._con.execute(f"SELECT {columns} FROM {_view(table)} ORDER BY {key}")  # noqa: S608
            rows = cursor.fetchmany(_READ_AT_ONCE)
        while rows:
            yield rows
            with _told(self._path):
                rows = cursor.fetchmany(_READ_AT_ONCE)

    async def last_number(self, table: Table) -> int:
        with _told(self._path):
            row = self._con.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,)).fetchone()
        return row[0] if row else 0

    def fitted(self, table: Table, rows: Sequence[Row]) -> Sequence[Row]:  # noqa: ARG002  # all fits
        return rows

    async def write(self, table: Table, rows: Sequence[Row]) -> None:
        columns, marks = ", ".join(table.columns), ", ".join("?" * len(table.columns))
        with _told(self._path):
            self._con.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", rows)  # noqa: S608

    async def set_last_number(self, table: Table, number: int) -> None:
        with _told(self._path):
            self._con.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
            self._con.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table.name, number))

    async def complete(self) -> None:
        with _told(self._path):
            for sql in self._indexes:
                self._con.execute(sql)
            self._con.execute("COMMIT")


@contextmanager
def reading(path: Path) -> Iterator[SqliteEnd]:
    """Read a store's file, which its caller owns."""
    with closing(sqlite3.connect(path, isolation_level=None)) as con:
        end = SqliteEnd(con, path)
        end.hold()
        yield end


@contextmanager
def writing(path: Path) -> Iterator[SqliteEnd]:
    """Make a new store's file; it is there when all went well, and only then.

    Until then it has another name, which nothing takes for a store; what a killed copy left of that is removed by the
    next one. Raises Conflict when there is a store already, StoreInUse when somebody owns it, Unavailable.
    """
    check_target(path)
    owned = take_ownership(path)
    part = path.with_name(f"{path.name}.copying")  # nobody else's: its store's lock is ours
    try:
        with _told(path):
            part.unlink(missing_ok=True)
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(part, isolation_level=None)) as con:
            end = SqliteEnd(con, path)
            end.begin()
            yield end
        with _told(path):
            sync(part)
            os.link(part, path)  # unlike a rename, never over a file that came meanwhile
            part.unlink()
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)
        os.close(owned)  # the lock's file stays, as after every owner


def check_source(path: Path) -> None:
    """Raise Invalid when there is no store, StoreTooNew when a later Rota wrote it."""
    if not path.is_file():
        raise Invalid("store", f"there is no store {path}")
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as con:
        check_version(con, path)


def check_target(path: Path) -> None:
    """Raise Conflict when there is a file already."""
    if path.exists():
        raise Conflict(f"{path} is there already; name a new file")


def _view(table: Table) -> str:
    return _VIEWS.get(table.name, table.name)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system raise into Unavailable."""
    try:
        yield
    except FileExistsError as error:
        raise Conflict(f"{path} is there already; name a new file") from error
    except OSError as error:
        raise Unavailable(f"{path} cannot be copied: {error.strerror}") from error
    except sqlite3.Error as error:
        raise Unavailable(f"{path} cannot be copied: {error}") from error
