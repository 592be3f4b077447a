"""A store's file copied while its owner works, and put back: SQLite's own online backup, in one read transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from rota.core.errors import Conflict, Invalid, StoreTooNew, Unavailable
from rota.store.sqlite.store import SCHEMA_VERSION, take_ownership

_PAGES = 4096  # copied between two reports of how far it is
Told = Callable[[int, int], None]


def back_up(store: Path, target: Path, told: Told | None = None) -> int:
    """Write what `store` holds at this moment to the new file `target`, and return how many jobs that is.

    The owner of the store goes on reading and writing. `told` hears of the pages that are copied, of how many. The file
    appears whole or not at all, is readable by its user alone, and has been checked. Raises Conflict when `target` is
    there already, Invalid when there is no store to back up, Unavailable when reading or writing fails.
    """
    return _copy(store, target, told)


def restore(backup: Path, store: Path, told: Told | None = None) -> int:
    """Make the new store `store` from a file that `back_up` wrote, and return how many jobs it holds.

    Raises Conflict when there is a store already, StoreInUse when somebody owns it, and what `back_up` raises.
    """
    if store.exists():  # before its lock: an owner's store exists
        raise Conflict(f"{store} is there already; move it away first, with its -wal and -shm")
    owned = take_ownership(store)
    try:
        return _copy(backup, store, told)
    finally:
        os.close(owned)  # the lock's file stays, as after every owner: without it two could own what it names


def _copy(source: Path, target: Path, told: Told | None) -> int:
    if not source.is_file():
        raise Invalid("store", f"there is no store {source}")
    if target.exists():
        raise Conflict(f"{target} is there already; name a new file")
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            jobs = _copy_pages(source, part, told)
            sync(part)
            os.link(part, target)  # unlike a rename, never over a file that came meanwhile
        finally:
            for each in (part, *(part.with_name(part.name + suffix) for suffix in ("-journal", "-wal", "-shm"))):
                each.unlink(missing_ok=True)
        sync(target.parent)
    except FileExistsError as error:
        raise Conflict(f"{error.filename2 or error.filename} is there already; name a new file") from error
    except OSError as error:
        raise Unavailable(f"{target} cannot be written: {error.strerror}") from error
    return jobs


def _copy_pages(source: Path, part: Path, told: Told | None) -> int:
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as from_,
            closing(sqlite3.connect(part, isolation_level=None)) as to,
        ):
            # A transaction that is open for the whole of it: else each commit of the owner would begin the copy anew.
            from_.execute("BEGIN")
            check_version(from_, source)
            from_.backup(to, pages=_PAGES, progress=None if told is None else partial(_tell, told))
            found = [row[0] for row in to.execute("PRAGMA quick_check(1)")]
            if found != ["ok"]:
                raise Unavailable(f"the copy of {source} is damaged: {found[0]}")
            (jobs,) = to.execute("SELECT count(*) FROM rota_jobs").fetchone()
            to.execute("PRAGMA journal_mode = DELETE")  # one file, with no log of its own beside it
    except sqlite3.Error as error:
        raise Unavailable(f"{source} cannot be copied to {part}: {error}") from error
    return int(jobs)


def _tell(told: Told, _status: int, left: int, pages: int) -> None:
    told(pages - left, pages)


def check_version(con: sqlite3.Connection, path: Path) -> None:
    """Raise Invalid when this is no store, StoreTooNew when a later Rota wrote it."""
    try:
        (version,) = con.execute("SELECT max(version) FROM rota_schema").fetchone()
    except sqlite3.DatabaseError as error:
        raise Invalid("store", f"{path} is no store of Rota: {error}") from error
    if version is None or version > SCHEMA_VERSION:
        raise StoreTooNew(f"{path} has schema {version}, this Rota knows up to {SCHEMA_VERSION}: use a newer Rota")


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
