"""What every part of a transaction on SQLite shares: the connection, the named statements, the counters."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any


class BaseTx:
    """A transaction at a moment: `now` is the store's clock, in microseconds."""

    def __init__(self, connection: sqlite3.Connection | sqlite3.Cursor, now: int, statements: dict[str, str]) -> None:
        self.now = now
        self._con = connection
        self._sql = statements
        self._deltas: Counter[tuple[str, str, str]] = Counter()

    def _one(self, name: str, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._con.execute(self._sql[name], values).fetchone()
        return row

    def _all(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._con.execute(self._sql[name], values).fetchall()

    def _run(self, name: str, *values: Any) -> None:
        self._con.execute(self._sql[name], values)

    def _many(self, name: str, rows: Iterable[Sequence[Any] | dict[str, Any]]) -> None:
        self._con.executemany(self._sql[name], rows)

    def _moved(self, queue: str, lane: str, old: str | None, new: str | None) -> None:
        if old is not None:
            self._deltas[queue, lane, old] -= 1
        if new is not None:
            self._deltas[queue, lane, new] += 1

    def flush_counts(self) -> None:
        """Write what has become of the counters; the runner calls it at the end of a function."""
        rows = [{"queue": q, "lane": lane, "state": s, "n": n} for (q, lane, s), n in self._deltas.items() if n]
        self._deltas.clear()
        if rows:
            self._many("add_count", rows)
