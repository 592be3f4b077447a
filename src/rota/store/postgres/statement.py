"""What every part of a transaction on PostgreSQL shares: connection, named statements, what is held, turns, counters, events.

Rows are waited for in one order: a schedule, the quotas of owners, a worker, then jobs by id; after them come the rows that
belong to those (shards by attempt, then the rest), rows of turns, and counters last. So no two transactions wait for each
other. A transaction that finds out late that it needs another job does not wait for it: it begins again (`StartOver`) and
takes all that it knows of at once, in order. Claims, and upkeep's steps, leave out what others hold and so wait for none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from itertools import accumulate
from typing import Any

from asyncpg import Connection
from asyncpg.exceptions import LockNotAvailableError
from asyncpg.prepared_stmt import PreparedStatement

from rota.core.owners import Owner
from rota.store.deltas import Deltas
from rota.store.events import rows_of
from rota.store.postgres.connections import Prepared
from rota.store.postgres.pipeline import send
from rota.store.rows import NewEvent

Row = Sequence[Any]

_LARGE = 1 << 15  # characters and bytes of a statement's values
_TAKES_NONE = frozenset({"charge_turns", "dependents_of"})  # statements by which no job is held that was not
_BLOCK = 1000  # events for each number that the sequence gives; `append_events` knows it too
_SAVEPOINT = "SAVEPOINT rota_numbered"
_BETWEEN = "\x1f"  # two texts of an array while it is written; where it comes in a text each is looked at


class StartOver(Exception):
    """The transaction needs rows that somebody else holds, while it holds some itself: again, with these held first."""

    def __init__(self, workers: Iterable[str], jobs: Iterable[str], owners: Iterable[str]) -> None:
        super().__init__("began again, to lock rows in order")
        self.workers = sorted(workers)
        self.jobs = sorted(jobs)
        self.owners = sorted(owners)


class BaseTx(Deltas):
    """A transaction at a moment: `now` is the store's clock, in microseconds. Only one that `writes` locks anything.

    `prepared` are the statements of its connection's session, if they can be kept there; `ahead` are messages that go with
    its first statement.
    """

    def __init__(
        self,
        connection: Connection[Any],
        now: int,
        statements: dict[str, str],
        *,
        writes: bool,
        prepared: Prepared | None = None,
        ahead: Iterable[bytes] = (),
    ) -> None:
        super().__init__()
        self.now = now
        self.has_limits = False
        self.has_keys = False
        self.xid: str | None = None  # of a transaction that has numbered events
        # Its id, and the numbers for its next events. A job's events are in order because they are numbered while it is held:
        # so these are good until another job may be held.
        self.number: tuple[str, int] | None = None
        self.last_event_written: tuple[int, str] | None = None  # (number, job)
        self._con = connection
        self._sql = statements
        self._prepared = prepared
        self._ahead = list(ahead)
        self.answered: dict[tuple[str, Any], list[Row]] = {}  # what was asked together with the beginning; used once
        self._sent: asyncio.Future[list[Any]] | None = None
        self._writes = writes
        self._events: list[NewEvent] = []
        self._held_workers: set[str] = set()
        self._held: set[str] = set()
        self._held_owners: set[str] = set()
        self._quotas: dict[str, Owner | None] = {}  # as they were found

    async def _one(self, name: str, *values: Any) -> Row | None:
        rows = await self._all(name, *values)
        return rows[0] if rows else None

    async def _all(self, name: str, *values: Any) -> list[Row]:
        if self.answered and (known := self.answered.pop((name, values), None)) is not None:
            return known
        if name not in _TAKES_NONE:
            self.number = None
        return await self._asked(name, self._sql[name], values)

    async def _all_numbered(self, name: str, *values: Any) -> list[Row]:
        """Run a statement that takes jobs, and have numbers for their events with its answer."""
        rows = await self._asked(f"{name}_numbered", numbered(self._sql[name], self._sql["number_events"]), values)
        self.number = rows[0][0], rows[0][1]
        return [row[3:] for row in rows if row[2]]

    async def _asked(self, name: str, sql: str, values: Sequence[Any]) -> list[Row]:
        rows: list[Row]
        if self._prepared is None:
            rows = await self._con.fetch(sql, *values)
        else:
            await self._arrived()
            rows = await self._ask(await self._prepared.get(name, sql), *values)
        return rows

    async def _arrived(self) -> None:
        """Wait for the statement that was sent and not waited for, if there is one. Raises what it raised."""
        if self._sent is not None:
            sent, self._sent = self._sent, None
            await sent

    async def quiet(self) -> None:
        """Wait for whatever was sent, however it ends: the transaction has failed, and is to be rolled back."""
        with suppress(Exception):
            await self._arrived()

    async def _ask(self, statement: PreparedStatement[Any], *values: Any) -> list[Any]:
        """Run a statement, and before it what was to go along."""
        along = bool(self._ahead)
        send(self._con, self._ahead)
        try:
            rows: list[Any] = await statement.fetch(*values)
            return rows
        except BaseException as error:
            if (
                along and getattr(error, "severity", None) is None
            ):  # not PostgreSQL's: perhaps nothing asked it to answer
                self._con.terminate()
            raise

    async def _run(self, name: str, *values: Any) -> None:
        """Run a statement that returns no rows; where it can, it goes along with the next one, and fails in its place.

        A large one is sent at once, and not waited for: PostgreSQL works while the next one is made.
        """
        if self._prepared is None or sum(len(value) for value in values if isinstance(value, str | bytes)) < _LARGE:
            await self._command(name, self._sql[name], values)
            return
        await self._arrived()
        statement = await self._prepared.get(name, self._sql[name])
        self._sent = asyncio.ensure_future(self._ask(statement, *values))
        await asyncio.sleep(0)  # to write it

    async def _command(self, name: str, sql: str, values: Sequence[Any] = ()) -> None:
        if self._prepared is None:
            await self._con.fetch(sql, *values)
        else:
            await self._arrived()
            self._ahead.append(await self._prepared.execution(name, sql, [_texts(value) for value in values]))

    async def commit(self) -> str:
        """Commit, and return what PostgreSQL says that it did: ROLLBACK, when an error in it was caught."""
        done: str
        if self._prepared is None:
            done = await self._con.execute("COMMIT")
        else:
            await self._arrived()
            statement = await self._prepared.get("commit", "COMMIT")
            await self._ask(statement)
            done = statement.get_statusmsg()
        return done

    # -- rows that are held

    async def hold(self, order: StartOver) -> None:
        """Wait for what a transaction that starts over needs, in order: it does so first."""
        await self._hold_quotas(order.owners)
        await self._hold_workers(order.workers)
        await self._hold_jobs(order.jobs)

    async def _hold_quotas(self, owners: Iterable[str]) -> None:
        """Hold the quotas of owners, from a look at what is kept for them until the end of the transaction."""
        wanted = set(owners) - self._held_owners
        if not wanted or not self._writes:
            return
        numbers = sorted({number_of("quotas", owner) for owner in wanted})
        if not (self._held or self._held_workers or self._held_owners):
            await self._all("hold_quotas", numbers)
        elif not all(held for (held,) in await self._all("hold_quotas_now", numbers)):
            raise StartOver(self._held_workers, self._held, self._held_owners | wanted)
        self._held_owners |= wanted

    async def _hold_workers(self, workers: Iterable[str]) -> list[Row]:
        """Lock those of these workers that exist, and return them, in the order of their ids."""
        wanted = sorted(set(workers))
        if not wanted:
            return []
        if not self._writes:
            return [row for worker in wanted if (row := await self._one("get_worker", worker)) is not None]
        if not (self._held or self._held_workers) or self._held_workers.issuperset(wanted):
            rows = await self._all("lock_worker", array(wanted))
        else:
            try:
                rows = await self._all("lock_worker_now", array(wanted))
            except LockNotAvailableError:
                raise StartOver(self._held_workers.union(wanted), self._held, self._held_owners) from None
        self._held_workers.update(wanted)
        return rows

    async def _hold_jobs(self, jobs: Iterable[str]) -> list[Row]:
        """Lock those of these jobs that exist, and return what decides, in the order of their ids."""
        wanted = sorted(set(jobs))
        if not wanted:
            return []
        if not self._writes:
            return await self._all("look_at_job", array(wanted))
        if self._held:
            try:
                rows = await self._all("lock_job_now", array(wanted))
            except LockNotAvailableError:
                raise StartOver(self._held_workers, self._held.union(wanted), self._held_owners) from None
        else:
            rows = await self._all("lock_job", array(wanted))
        self._held.update(row[0] for row in rows)
        return rows

    # -- whose turn it is, counters and events, which are written last

    async def flush(self) -> None:
        """Write whose turn comes, the counters, and the events; the runner calls it at the end of a function."""
        await self._count_in_runs()
        if self._readied:
            readied, self._readied = sorted(self._readied), set()
            await self._run("put_turns", *columns(readied, 4), self.now)
        events, self._events = self._events, []
        if not events:
            deltas, kept = self._counted(), self._kept_rows()
            if deltas or kept:
                await self._run("add_count", *columns(deltas, 4), *columns(kept, 3))
            return
        for at in range(0, len(events), _BLOCK):
            await self._append(events[at : at + _BLOCK])

    async def _count_in_runs(self) -> None:
        if rows := [(*key, n) for key, n in sorted(self._in_runs.items()) if n]:
            await self._run("add_run_count", *columns(rows, 3))
        self._in_runs.clear()
        if self._started:
            await self._run("start_run", self.now, array(sorted(self._started)))
            self._started.clear()

    async def _append(self, events: Sequence[NewEvent]) -> None:
        # What is written from here on has a new id, higher than that of any transaction with a lower number: each got its
        # id before its numbers, and those before ours.
        number, self.number = self.number, None
        if number is None:
            ((id_, first),) = await self._all("number_events")
            number = id_, first
        self.xid, first = number
        shared = rows_of(events)
        upto = accumulate(row.n for row in shared)
        written = [(last, *row[1:7], _clean(row.why), row.others) for last, row in zip(upto, shared, strict=True)]
        self.last_event_written = first + len(events) - 1, shared[-1].job
        await self._command("savepoint", _SAVEPOINT)
        counted = columns(self._counted() or [("", "", "none", 0)], 4)
        await self._run("append_events", self.now, *counted, *columns(written, 9), *columns(self._kept_rows(), 3))

    def _counted(self) -> list[Row]:
        """Return what has become of the counters, and begin anew; sorted, for they too are waited for in one order."""
        deltas: list[Row] = [(*key, n) for key, n in sorted(self._deltas.items()) if n]
        self._deltas.clear()
        return deltas

    def _kept_rows(self) -> list[Row]:
        """Return how what is kept for owners changes, and begin anew; sorted, as the counters are."""
        kept: list[Row] = [(owner, *kept) for owner, kept in sorted(self._kept.items()) if kept != [0, 0]]
        self._kept.clear()
        return kept


@cache
def numbered(sql: str, number: str) -> str:
    """Return a statement that answers what `number` does, a true value and a row, for each row of this one; or `number` alone.

    The numbers are taken when all rows of `sql` are locked and written.
    """
    last = number + " WHERE (SELECT count(*) FROM d) >= 0"  # noqa: S608  # our own
    rows = "SELECT n.*, d.* FROM n LEFT JOIN (SELECT true, d.* FROM d) AS d ON true"
    return f"WITH d AS ({sql}), n AS MATERIALIZED ({last}) {rows}"


def number_of(kind: str, name: str) -> int:
    """Return the number by which a limit is held, or the quotas of an owner; two that have the same one wait for each other."""
    return int.from_bytes(blake2b(f"rota {kind} {name}".encode(), digest_size=8).digest(), signed=True)


def _texts(value: Any) -> Any:
    """Return a value as `pipeline.execution` takes it: a list as the text of an array, bytes as their text."""
    if isinstance(value, list):
        return array(value)
    return "\\x" + value.hex() if isinstance(value, bytes) else value


def _clean(why: str | None) -> str | None:
    return None if why is None else why.replace("\0", "\N{REPLACEMENT CHARACTER}")


def columns(rows: Sequence[Row], width: int) -> list[str]:
    """Turn rows into columns, `width` of them also when there are no rows, each as the text of an array.

    Texts take asyncpg a tenth of the time of arrays. A column of nothing is empty: `unnest` fills it with NULLs.
    """
    return [array(column) for column in zip(*rows, strict=True)] if rows else ["{}"] * width


def array(column: Sequence[Any]) -> str:
    """Write the text of an array of texts, bytes, numbers or truth values, None among them."""
    empty = column.count(None)
    if empty == len(column):
        return "{}"
    kind = type(column[0] if empty == 0 else next(value for value in column if value is not None))
    if kind is bytes:
        return "{" + ",".join("NULL" if value is None else f'"\\\\x{value.hex()}"' for value in column) + "}"
    if empty == 0 and kind in (int, float, bool):
        return "{" + repr(list(column))[1:-1] + "}"
    if not issubclass(kind, str):
        return "{" + ",".join("NULL" if value is None else str(value) for value in column) + "}"
    if empty == 0:
        joined = _BETWEEN.join(column)
        if joined.count(_BETWEEN) == len(column) - 1:
            return '{"' + _escaped(joined).replace(_BETWEEN, '","') + '"}'
    return "{" + ",".join("NULL" if value is None else f'"{_escaped(value)}"' for value in column) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
