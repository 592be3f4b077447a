"""What every part of a transaction on SQLite shares: the connection, the named statements, the counters, whose turn it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from rota.store.deltas import Deltas


class BaseTx(Deltas):
    """A transaction at a moment: `now` is the store's clock, in microseconds."""

    def __init__(self, connection: sqlite3.Connection | sqlite3.Cursor, now: int, statements: dict[str, str]) -> None:
        super().__init__()
        self.now = now
        self.has_limits = False
        self.has_keys = False
        self._con = connection
        self._sql = statements

    def _one(self, name: str, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._con.execute(self._sql[name], values).fetchone()
        return row

    def _all(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._con.execute(self._sql[name], values).fetchall()

    def _run(self, name: str, *values: Any) -> None:
        self._con.execute(self._sql[name], values)

    def _named(self, name: str, **values: Any) -> None:
        self._con.execute(self._sql[name], values)

    def _many(self, name: str, rows: Iterable[Sequence[Any] | dict[str, Any]]) -> None:
        self._con.executemany(self._sql[name], rows)

    def flush(self) -> None:
        """Write whose turn comes, and what has become of the counters; the runner calls it at the end of a function."""
        for name in self._readied:
            if self._one("is_in_turn", *name) is None:
                self._named("put_turns", **name._asdict(), now=self.now)
        self._readied.clear()
        rows = [{"queue": q, "lane": lane, "state": s, "n": n} for (q, lane, s), n in self._deltas.items() if n]
        self._deltas.clear()
        if rows:
            self._many("add_count", rows)
        if self._kept:
            if self._one("any_quota") is not None:
                self._many("add_kept", [{"owner": o, "waiting": w, "size": s} for o, (w, s) in self._kept.items()])
            self._kept.clear()
        if self._in_runs:
            self._many("add_run_count", [(run, state, n) for (run, state), n in self._in_runs.items() if n])
            self._in_runs.clear()
        if self._started:
            self._many("start_run", [(self.now, run) for run in self._started])
            self._started.clear()
