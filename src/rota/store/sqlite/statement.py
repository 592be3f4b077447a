"""What every part of a transaction on SQLite shares: the connection, the named statements, the counters."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rota.store.rows import counted_in_run


class BaseTx:
    """A transaction at a moment: `now` is the store's clock, in microseconds."""

    def __init__(self, connection: sqlite3.Connection | sqlite3.Cursor, now: int, statements: dict[str, str]) -> None:
        self.now = now
        self._con = connection
        self._sql = statements
        self._deltas: Counter[tuple[str, str, str]] = Counter()
        self._in_runs: Counter[tuple[str, str]] = Counter()
        self._started: set[str] = set()  # runs of which a job was claimed

    def _one(self, name: str, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._con.execute(self._sql[name], values).fetchone()
        return row

    def _all(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._con.execute(self._sql[name], values).fetchall()

    def _run(self, name: str, *values: Any) -> None:
        self._con.execute(self._sql[name], values)

    def _many(self, name: str, rows: Iterable[Sequence[Any] | dict[str, Any]]) -> None:
        self._con.executemany(self._sql[name], rows)

    def _moved(
        self,
        queue: str,
        lane: str,
        old: str | None,
        new: str | None,
        *,
        run: str | None = None,
        why: str | None = None,
    ) -> None:
        if old is not None:
            self._deltas[queue, lane, old] -= 1
        if new is not None:
            self._deltas[queue, lane, new] += 1
        if run is not None:
            self._in_runs.update(counted_in_run(run, old, new, why))
            if new == "running":
                self._started.add(run)

    def flush_counts(self) -> None:
        """Write what has become of the counters; the runner calls it at the end of a function."""
        rows = [{"queue": q, "lane": lane, "state": s, "n": n} for (q, lane, s), n in self._deltas.items() if n]
        self._deltas.clear()
        if rows:
            self._many("add_count", rows)
        if self._in_runs:
            self._many("add_run_count", [(run, state, n) for (run, state), n in self._in_runs.items() if n])
            self._in_runs.clear()
        if self._started:
            self._many("start_run", [(self.now, run) for run in self._started])
            self._started.clear()
