"""New embedded stores whose schema is there already: migrating an empty file costs more than most of what is tried on it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path

from rota.store.sqlite.store import SqliteStore, host_clock, migrate


def store_at(path: Path, *, clock: Callable[[], int] = host_clock, inline: bool = False) -> SqliteStore:
    """Return the store of a file, which is made if it is not there: the file of a new store, as its opening leaves it."""
    if not path.exists():
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(_new_file())
    return SqliteStore(path, clock=clock, inline=inline)


@cache
def _new_file() -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        return connection.serialize()
