"""What every part of a transaction on SQLite shares: the connection, the named statements, the counters, whose turn it is."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from rota.core.fairness import TurnName
from rota.core.quotas import kept_by
from rota.store.rows import counted_in_run


class BaseTx:
    """A transaction at a moment: `now` is the store's clock, in microseconds."""

    def __init__(self, connection: sqlite3.Connection | sqlite3.Cursor, now: int, statements: dict[str, str]) -> None:
        self.now = now
        self.has_limits = False
        self.has_keys = False
        self._con = connection
        self._sql = statements
        self._deltas: Counter[tuple[str, str, str]] = Counter()
        self._in_runs: Counter[tuple[str, str]] = Counter()
        self._started: set[str] = set()  # runs of which a job was claimed
        self._readied: set[TurnName] = set()
        self._kept: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])  # for owners: jobs that wait, and bytes

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

    def _moved(
        self,
        queue: str,
        lane: str,
        old: str | None,
        new: str | None,
        n: int = 1,
        *,
        run: str | None = None,
        why: str | None = None,
        owner: str | None = None,
        size: int = 0,
    ) -> None:
        if owner is not None:
            self._keeps(owner, *kept_by(old, new, size), n)
        if old is not None:
            self._deltas[queue, lane, old] -= n
        if new is not None:
            self._deltas[queue, lane, new] += n
        if run is not None:
            for counter, change in counted_in_run(run, old, new, why).items():
                self._in_runs[counter] += n * change
            if new == "running":
                self._started.add(run)

    def _came(self, queue: str, lane: str, owner: str, priority: int) -> None:
        """Note that a job became ready: whatever made it so, its row of turns must be."""
        self._readied.add(TurnName(queue, priority, owner, lane))

    def _keeps(self, owner: str, waiting: int, size: int, n: int = 1) -> None:
        if waiting or size:
            kept = self._kept[owner]
            kept[0] += n * waiting
            kept[1] += n * size

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
