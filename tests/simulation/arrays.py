"""What must hold of arrays after every commit: every input is in one place, and the counters say where."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from rota.core.states import FINAL, State

from .world import Broken

if TYPE_CHECKING:
    from .workers import SimulatedWorker

Row = tuple[Any, ...]
_ARRAYS = "SELECT job, inputs, cursor, done, failed, live, parallel, halt, halted, base FROM rota_arrays"
_SHARDS = "SELECT job, attempt, worker, first, n, told FROM rota_shards"
_RANGES = "SELECT first, n, due FROM rota_ranges WHERE job = ?"
_RESULTS = "SELECT n, state, body FROM rota_results WHERE job = ?"
_STATE = "SELECT state, abort_requested_at, open FROM rota_jobs WHERE id = ?"
_TRIES = "SELECT attempt FROM rota_attempts WHERE job = ?"
_LOST = "SELECT attempt FROM rota_attempts WHERE job = ? AND outcome = 'lost'"
_RESULT = "SELECT state FROM rota_results WHERE job = ? AND n = ?"
_BASE = "SELECT base FROM rota_arrays WHERE job = ?"


class ArrayInvariants:
    """Compares the rows of arrays with each other, with what they were, and with what workers run."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._arrays: dict[str, Row] = {}
        self._jobs: dict[str, Row] = {}
        self._shards: dict[tuple[str, int], Row] = {}
        self._results: defaultdict[str, dict[int, Row]] = defaultdict(dict)
        self._running: defaultdict[tuple[str, int], set[SimulatedWorker]] = defaultdict(set)
        self.ended: dict[tuple[str, int], int] = {}  # up to where each shard's worker has run its inputs
        self._at_abort: dict[str, set[int]] = {}  # shards that were leased when their array's abort was asked for

    # -- what workers do

    def begins(self, worker: SimulatedWorker, job: str, attempt: int, what: str) -> None:
        """An input whose end was stored, here or by an array that this one runs again, never runs again."""
        self._running[job, attempt].add(worker)
        index = int(what.removeprefix(job)[1:-1])
        row = self._execute(_RESULT, (job, index)).fetchone()
        if row is not None:
            raise Broken(f"{worker.name} runs {what} (attempt {attempt}), which is over: {row[0]}")
        if index in self._standing(job):
            raise Broken(f"{worker.name} runs {what}, which stands since an earlier array")

    def ends(self, worker: SimulatedWorker, job: str, attempt: int) -> None:
        self._running[job, attempt].discard(worker)

    # -- after every commit

    def check(self, jobs: dict[str, Row]) -> None:
        if not jobs:
            return
        before, self._shards = self._shards, {(row[0], row[1]): row for row in self._execute(_SHARDS)}
        for name in before.keys() - self._shards.keys():
            still = [worker.name for worker in self._running[name] if not worker.stalled]
            if still:
                raise Broken(f"the shard {name} is over while it still ran on {still}")
        for row in self._execute(_ARRAYS).fetchall():
            job = row[0]
            if row != self._arrays.get(job) or jobs[job] != self._jobs.get(job):
                self._arrays[job], self._jobs[job] = row, jobs[job]
                self._check(job, row)

    def changed(self, job: str, before: int, attempt: int, state: State, *, aborted: bool) -> None:
        """Every cut raises the attempt by one; an attempt is leased, or over and written; no cut comes after an abort."""
        if attempt != before and (aborted or state is not State.RUNNING):
            raise Broken(f"a shard of {job} was cut after its abort, or its end: attempt {before} -> {attempt}")
        leased = {a for (_, a) in self._execute("SELECT job, attempt FROM rota_shards WHERE job = ?", (job,))}
        over = {a for (a,) in self._execute(_TRIES, (job,))}
        if leased & over or leased | over != set(range(1, attempt + 1)):
            raise Broken(f"8. {job} is in attempt {attempt}; leased are {leased}, written {over}")
        if self._execute(_STATE, (job,)).fetchone()[1] is not None:
            self._at_abort.setdefault(job, leased)

    def aborted(self, job: str, *, confirmed: bool) -> None:
        """4. When an abort is confirmed, every shard that it met was seen to end."""
        lost = {attempt for (attempt,) in self._execute(_LOST, (job,))} & self._at_abort[job]
        if confirmed and lost:
            raise Broken(f"4. {job} is aborted and confirmed, and its shards {lost} were lost")
        still = [name for name in self._at_abort[job] if self._running[job, name]]
        if confirmed and still:
            raise Broken(f"4. {job} is aborted and confirmed, and the end of its shards {still} was not seen")

    def _check(self, job: str, row: Row) -> None:
        _, inputs, cursor, done, failed, live, parallel, _, halted, _ = row
        state, abort, opened = self._execute(_STATE, (job,)).fetchone()
        ranges = self._execute(_RANGES, (job,)).fetchall()
        shards = [shard for shard in self._shards.values() if shard[0] == job]
        for _, attempt, worker, first, _, told in shards:
            if told > self.ended.get((job, attempt), first):
                raise Broken(f"{told} is told in shard {attempt} of {job}, and {worker} has not run so far")
        results = {result[0]: result for result in self._execute(_RESULTS, (job,))}
        if any(results.get(n) != old for n, old in self._results[job].items()):
            raise Broken(f"a result of {job} has changed: {self._results[job]} -> {results}")
        self._results[job] = results
        standing = self._standing(job)
        self._place(job, row, ranges, shards, results, standing, stopped=abort is not None or halted is not None)
        if done != len(results) + len(standing) or failed != sum(r[1] != State.SUCCEEDED for r in results.values()):
            raise Broken(f"8. {job} counts {done} done, {failed} failed: {results}, and {standing} stand")
        if live != len(shards) or (parallel is not None and live > parallel):
            raise Broken(f"8. {job} counts {live} shards of at most {parallel}: {shards}")
        more = cursor < inputs or any(due for _, _, due in ranges)
        may = state == State.RUNNING and abort is None and halted is None and (parallel is None or live < parallel)
        if bool(opened) != (more and may):
            raise Broken(
                f"{job} is{'' if opened else ' not'} open: cursor {cursor}, {ranges}, {live} live, {state}, {abort}"
            )
        if state in (State.SUCCEEDED, State.FAILED) and halted is None and len(results) + len(standing) != inputs:
            raise Broken(f"{job} is {state} with {len(results)} results and {len(standing)} that stand, of {inputs}")
        if State(state) in FINAL and shards:
            raise Broken(f"{job} is {state}, and these are leased: {shards}")

    def _place(
        self, job: str, row: Row, ranges: list[Row], shards: list[Row], results: dict[int, Row], standing: set[int],
        *, stopped: bool,
    ) -> None:  # fmt: skip
        """Every input has its place: never cut, to run again, leased, over, or it stands. Stopped arrays forget some."""
        inputs, cursor = row[1], row[2]
        places: list[int] = [*range(cursor, inputs), *results, *standing]
        for first, n, _ in ranges:
            places += range(first, first + n)
        for _, _, _, first, n, told in shards:
            places += range(told, first + n)
        if len(set(places)) != len(places) or not set(places) <= set(range(inputs)):
            raise Broken(f"{job} has inputs in two places: cursor {cursor}, {ranges}, {shards}, {results}, {standing}")
        if len(places) != inputs and not stopped:
            raise Broken(f"{job} has lost inputs: cursor {cursor}, {ranges}, {shards}, {results}, {standing}")

    def _standing(self, job: str) -> set[int]:
        """Return what has succeeded in the arrays that this one runs again."""
        found: set[int] = set()
        (base,) = self._execute(_BASE, (job,)).fetchone()
        while base is not None:
            good = {n for n, state, _ in self._execute(_RESULTS, (base,)) if state == State.SUCCEEDED}
            if found & good:
                raise Broken(f"inputs {found & good} of {job} succeeded twice")
            found |= good
            (base,) = self._execute(_BASE, (base,)).fetchone()
        return found
