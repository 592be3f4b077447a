"""A whole store copied to another, table by table, in a form that both kinds of stores share, and compared.

The form is that of SQLite: its tables and columns, in the order of their keys; truth is 0 or 1, a text is a text. What a
store has besides (parts of counters, horizons of events, what listings are found by) it makes from that.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from rota.core.errors import Unavailable

Row = Sequence[Any]
Told = Callable[[int, int], None]
PIECE_ROWS = 2000  # at most so many rows are held at a time,
PIECE_BYTES = 4 << 20  # and hardly more than so many bytes
_pack = msgspec.msgpack.Encoder().encode


class Table(Struct, frozen=True):
    """A table in the common form. Rows come in the order of `key`; `numbered`: the store counts up their first column."""

    name: str
    columns: tuple[str, ...]
    texts: frozenset[str]
    key: tuple[str, ...]
    numbered: bool


class End(Protocol):
    """One store of the two, in a transaction that sees nothing of others, and lets nobody else write."""

    async def count(self, table: Table) -> int:
        """Return how many rows there are."""
        ...

    def rows(self, table: Table) -> AsyncGenerator[Sequence[Row], None]:
        """Yield all rows in order, some at a time."""
        ...

    async def last_number(self, table: Table) -> int:
        """Return the highest number that a numbered table has given, also to rows that are gone."""
        ...

    def fitted(self, table: Table, rows: Sequence[Row]) -> Sequence[Row]:
        """Return rows as this store can hold them."""
        ...

    async def write(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows that are `fitted`."""
        ...

    async def set_last_number(self, table: Table, number: int) -> None:
        """Let a numbered table go on after `number`."""
        ...

    async def complete(self) -> None:
        """Make what is made from other tables, once all rows are there."""
        ...


class Copied(Struct, frozen=True):
    """A table that is the same on both sides: how many rows, and the SHA-256 of them all."""

    table: str
    rows: int
    checksum: str


async def copy(source: End, target: End, tables: Sequence[Table], told: Told | None = None) -> list[Copied]:
    """Write all that `source` holds to `target`, which is empty, read it back and compare.

    `told` hears of the rows that are written or read back, of how many. Raises Unavailable when something differs.
    """
    counts = [await source.count(table) for table in tables]
    progress = _Progress(told, 2 * sum(counts))
    wanted = [await _copy_table(source, target, table, progress) for table in tables]
    await target.complete()
    found = [await _read_back(target, table, progress) for table in tables]
    for copied, there in zip(wanted, found, strict=True):
        if copied != there:
            raise Unavailable(
                f"the copy differs in {copied.table}: {copied.rows} rows with checksum {copied.checksum} were read, "
                f"{there.rows} with {there.checksum} are there; nothing was kept"
            )
    return wanted


class _Progress:
    def __init__(self, told: Told | None, whole: int) -> None:
        self._told = told
        self._whole = whole
        self._done = 0

    async def step(self, rows: int) -> None:
        self._done += rows
        if self._told is not None:
            self._told(self._done, self._whole)
        await asyncio.sleep(0)  # SQLite never lets go of the loop: an interrupt could not get through


class _Sum:
    """Sums up a table: its rows, and the last number that it gave."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows = 0
        self._hash = hashlib.sha256()

    def add(self, rows: Sequence[Row]) -> int:
        """Add rows, and return how many bytes they are."""
        packed = b"".join(map(_pack, rows))
        self._hash.update(packed)
        self._rows += len(rows)
        return len(packed)

    async def of(self, end: End) -> Copied:
        """Return the sum."""
        if self._table.numbered:
            self._hash.update(b"%d" % await end.last_number(self._table))
        return Copied(self._table.name, self._rows, self._hash.hexdigest())


async def _copy_table(source: End, target: End, table: Table, progress: _Progress) -> Copied:
    sum_ = _Sum(table)
    waiting: list[Row] = []
    size = 0
    async with aclosing(source.rows(table)) as pieces:
        async for rows in pieces:
            fitted = target.fitted(table, rows)
            size += sum_.add(fitted)
            waiting += fitted
            if size >= PIECE_BYTES or len(waiting) >= PIECE_ROWS:
                await target.write(table, waiting)
                await progress.step(len(waiting))
                waiting, size = [], 0
    if waiting:
        await target.write(table, waiting)
        await progress.step(len(waiting))
    if table.numbered:
        await target.set_last_number(table, await source.last_number(table))
    return await sum_.of(source)


async def _read_back(target: End, table: Table, progress: _Progress) -> Copied:
    sum_ = _Sum(table)
    async with aclosing(target.rows(table)) as pieces:
        async for rows in pieces:
            sum_.add(rows)
            await progress.step(len(rows))
    return await sum_.of(target)
