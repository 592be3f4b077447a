"""The PostgreSQL store: many servers, one database. What SQLite's one writer decides by coming first, locks decide here.

Transactions are READ COMMITTED; statement.py says in which order they lock rows. The database's clock is the store's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from asyncpg import Connection, exceptions

from rota.core.errors import Invalid, Unavailable
from rota.store import statements
from rota.store.postgres.connections import BAD_VALUE, LOST, NOT_OURS, Connections
from rota.store.postgres.migrate import SCHEMA_VERSION, migrate
from rota.store.postgres.pipeline import send
from rota.store.postgres.statement import Row, StartOver, array
from rota.store.postgres.tx import PostgresTx
from rota.store.protocol import Begins

T = TypeVar("T")
Function = Callable[[PostgresTx], Awaitable[T]]

CONNECTIONS = 10
_STATEMENT_S = 20
# A server that stops in the middle of a transaction keeps others waiting for what it holds so long, and no longer.
_LIMITS = (f"statement_timeout = '{_STATEMENT_S}s'", "idle_in_transaction_session_timeout = '10s'")
_LOCAL = "".join(f"; SET LOCAL {limit}" for limit in _LIMITS)
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# What was answered must be durable. A plan that is kept is made before anybody knows how many rows there will be: all that is
# asked often goes by indexes, from row to row, and shall never be done otherwise. So a plan is good for all values; another
# one for each would cost more than most statements do.
_PLANS = (
    "enable_seqscan = off",
    "enable_hashjoin = off",
    "enable_mergejoin = off",
    "jit = off",
    "plan_cache_mode = force_generic_plan",
)
SESSION = "".join(f"SET {each}; " for each in (*_LIMITS, *_PLANS)) + (
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
)
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_PAUSES_S = (0.0, 0.1, 0.3, 0.6)  # before a transaction runs again that lost its connection
# What a function begins with that tells events, unless it fails or was answered before: their numbers come with it.
_TELLS = frozenset({"get_answer", "get_quotas", "get_answer_and_quotas"})
_MOST_STARTS = 50  # of one that begins again for its locks, or lost against another one
_ENDING_S = 2.0  # how long a store that closes waits for the ends of transactions that only read
_DOUBT_S = 15.0  # how long we try to learn what became of a commit whose answer was lost
# What several servers may make at once: the answer to an Idempotency-Key, the token that a file of theirs holds.
_MADE_ONCE = frozenset({"rota_answers_pkey", "rota_tokens_pkey"})
_TOO_MUCH = (exceptions.InsufficientResourcesError, exceptions.QueryCanceledError, exceptions.LockNotAvailableError)


class _InDoubt(Exception):
    """The connection was lost while the transaction was committed: it is there, or it is not."""

    def __init__(self, tx: PostgresTx, value: Any, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.tx = tx
        self.value = value


class PostgresStore:
    """See store/protocol.py. `clock`, which tests set, takes the place of the database's own."""

    exclusive = False
    schema_version = SCHEMA_VERSION

    def __init__(self, url: str, *, clock: Callable[[], int] | None = None, connections: int = CONNECTIONS) -> None:
        self._clock = clock
        self._sql = statements.load("rota.store.postgres.sql")
        self._url = url
        self._most = connections
        self._connections: Connections | None = None
        self._endings: set[asyncio.Future[None]] = set()  # of transactions that only read
        self._local = _LOCAL  # what a pooler makes us say in each transaction
        self.boundary: Callable[[str], None] = lambda _: None  # tests: "before" and "after" each commit

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises Unavailable (`away`: nobody answers), StoreTooNew."""
        self._connections = Connections(self._url, most=self._most, answer_s=_STATEMENT_S + 5, session=SESSION)
        try:
            await self._retried(self._prepare)
        except BaseException:
            await self.close()
            raise

    async def write(self, function: Function[T]) -> T:
        """Run a transaction function, again when it lost its connection or its locks; return when it is durable."""
        return await _to_its_end(self._retried(lambda: self._write(function)))

    async def read(self, function: Function[T]) -> T:
        """Run a function that only reads, on one snapshot."""
        return await _to_its_end(self._retried(lambda: self._read(function)))

    async def close(self) -> None:
        """Let go of all connections."""
        if self._endings:
            await asyncio.wait(self._endings, timeout=_ENDING_S)
        if self._connections is not None:
            await self._connections.close()
            self._connections = None

    async def _prepare(self) -> None:
        con = await self._take()
        good = False
        try:
            await migrate(con)
            if await con.fetchval("SHOW synchronous_commit") == "off":
                self._local = f"{_LOCAL}; SET LOCAL synchronous_commit = on"
            good = True
        finally:
            self._give(con, good=good)

    async def _write(self, function: Function[T]) -> T:
        again: StartOver | None = None
        answered = False
        for _ in range(_MOST_STARTS):
            try:
                return await self._write_once(function, again)
            except StartOver as order:
                again = order
            except (exceptions.SerializationError, exceptions.DeadlockDetectedError):
                await asyncio.sleep(random.uniform(0.001, 0.05))  # noqa: S311  # spreads, and is no secret
            except exceptions.UniqueViolationError as error:
                if error.constraint_name not in _MADE_ONCE or answered:
                    raise
                answered = True  # another server has done just this meanwhile: look again
        raise Unavailable("the store is too busy: others hold what this needs; nothing was kept, try again")

    async def _write_once(self, function: Function[T], again: StartOver | None) -> T:
        con = await self._take()
        good = False
        try:
            tx = await self._begin(con, function if again is None else None, writes=True)
            try:
                if again is not None:
                    await tx.hold(again)
                value = await function(tx)
                await tx.flush()
                self.boundary("before")
                await _commit(tx, value)
            except (_InDoubt, *LOST):
                raise
            except BaseException:
                await tx.quiet()
                await con.execute("ROLLBACK")
                good = True
                raise
            good = True
            self.boundary("after")
            return value
        finally:
            self._give(con, good=good)

    async def _read(self, function: Function[T]) -> T:
        con = await self._take()
        try:
            return await function(await self._begin(con, None, writes=False))
        finally:
            # Nobody waits for the end of what only looked: its answer is there.
            ending = asyncio.ensure_future(self._end_read(con))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def _end_read(self, con: Connection[Any]) -> None:
        good = False
        try:
            with suppress(Exception):  # a connection that cannot do even this is thrown away
                await con.execute("ROLLBACK")
                good = True
        finally:
            self._give(con, good=good)

    async def _begin(self, con: Connection[Any], function: Function[Any] | None, *, writes: bool) -> PostgresTx:
        """Begin a transaction, and ask for what its function says that it asks for first: all in one message if it can be."""
        assert self._connections is not None, "the store is open"
        prepared = self._connections.prepared(con)
        begin = _WRITE if writes else _READ
        ahead: list[bytes] = []
        answered: dict[tuple[str, Any], list[Row]] = {}
        numbers: tuple[str, int] | None = None
        if prepared is None:
            await con.execute(begin + self._local)
            now = await con.fetchval(_NOW) if self._clock is None else self._clock()
        else:
            ahead.append(await prepared.execution("write" if writes else "read", begin, ()))
            if self._clock is None:
                name, values = _first_of(function) if writes else ("", ())
                number = self._sql["number_events"] if name in _TELLS else ""
                asked = with_clock(self._sql[name], number) if name else _NOW
                statement = await prepared.get(f"now_{name}", asked)
                send(con, ahead)
                rows = await statement.fetch(*values)
                now = rows[-1][0]
                if name:
                    answered = _answered(name, values, [row[4:] for row in rows if row[3]])
                if number:
                    numbers = rows[0][1], rows[0][2]
            else:
                now = self._clock()
        tx = PostgresTx(con, now, self._sql, writes=writes, prepared=prepared, ahead=ahead)
        tx.answered = answered
        tx.number = numbers
        return tx

    async def _retried(self, run: Callable[[], Awaitable[T]]) -> T:
        """Run it, and again when the connection is lost; a commit in doubt is looked for first."""
        for last, pause_s in ((pause_s is _PAUSES_S[-1], pause_s) for pause_s in _PAUSES_S):
            await asyncio.sleep(pause_s)
            try:
                return await run()
            except _InDoubt as doubt:
                if await self._is_committed(doubt.tx):
                    value: T = doubt.value
                    return value
            except NOT_OURS as error:
                assert self._connections is not None, "the store is open"
                self._connections.may_prepare = False
                if last:
                    raise Unavailable(f"a session lost what was prepared: {error}; try again") from error
            except BAD_VALUE as error:
                raise Invalid("", f"a value cannot be stored: {error}") from None
            except LOST as error:
                if last:
                    raise Unavailable(f"PostgreSQL cannot be reached: {_said(error)}; try again", away=True) from error
            except _TOO_MUCH as error:
                raise Unavailable(f"PostgreSQL cannot do it now: {error}; nothing was kept, try again") from error
        raise Unavailable("PostgreSQL was lost again and again; nothing was kept, try again")

    async def _is_committed(self, tx: PostgresTx) -> bool:
        """Learn what became of a transaction. Its event is there, or it is over and the event is not.

        One that wrote no event (a heartbeat, output) may be done twice, and counts as not committed.
        """
        if tx.xid is None or tx.last_event_written is None:
            return False
        until = time.monotonic() + _DOUBT_S
        while True:
            try:
                con = await self._take()
                good = False
                try:
                    over = await con.fetchval(self._sql["transaction_status"], tx.xid) != "in progress"
                    there = await con.fetchval(self._sql["has_event"], *tx.last_event_written, tx.now) is not None
                    good = True
                finally:
                    self._give(con, good=good)
                if there or over:
                    return there
            except LOST:
                pass
            except exceptions.InvalidParameterValueError:  # a standby took over that never heard of it
                return False
            if time.monotonic() > until:
                raise Unavailable("PostgreSQL was lost during a commit; whether it was kept is not known")
            await asyncio.sleep(0.1)

    async def _take(self) -> Connection[Any]:
        assert self._connections is not None, "the store is not open"
        return await self._connections.take()

    def _give(self, con: Connection[Any], *, good: bool) -> None:
        if self._connections is None:  # closed meanwhile
            con.terminate()
        else:
            self._connections.give(con, good=good)


@asynccontextmanager
async def transaction_of(con: Connection[Any]) -> AsyncIterator[PostgresTx]:
    """Take part in the transaction that a caller has begun on a connection of its own; it commits, or does not."""
    tx = PostgresTx(con, await con.fetchval(_NOW), statements.load("rota.store.postgres.sql"), writes=True)
    yield tx
    await tx.flush()
    await con.execute("RELEASE SAVEPOINT rota_numbered")  # none of a caller's own


def with_clock(sql: str, number: str = "") -> str:
    """Return a statement that answers the clock, what `number` does, a true value and a row, for each row of this one.

    Without a `number`, NULLs in its place; without rows, the rest alone.
    """
    first = number or "VALUES (NULL::text, NULL::bigint)"
    rows = f"SELECT true, s.* FROM ({sql}) AS s"  # noqa: S608  # our own
    return f"WITH n AS MATERIALIZED ({first}) SELECT ({_NOW}), n.*, f.* FROM n LEFT JOIN LATERAL ({rows}) AS f ON true"  # noqa: S608


def _first_of(function: Function[Any] | None) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that a function begins with, and its values; no name if it does not say."""
    if isinstance(function, Begins):
        if function.workers:
            return "lock_worker", (array(function.workers),)
        if function.jobs:
            return "lock_job", (array(function.jobs),)
        if function.answer is not None and function.owners:
            return "get_answer_and_quotas", (function.answer, array(function.owners))
        if function.answer is not None:
            return "get_answer", (function.answer,)
        if function.owners:
            return "get_quotas", (array(function.owners),)
    return "", ()


def _answered(name: str, values: tuple[Any, ...], rows: list[Row]) -> dict[tuple[str, Any], list[Row]]:
    """Return what was asked at the beginning, by the statements that a function asks for."""
    if name != "get_answer_and_quotas":
        return {(name, values): rows}
    key, owners = values
    return {
        ("get_answer", (key,)): [row[:2] for row in rows[:1] if row[0] is not None],
        ("get_quotas", (owners,)): [row[2:] for row in rows if row[2] is not None],
    }


async def _commit(tx: PostgresTx, value: Any) -> None:
    try:
        done = await tx.commit()
    except LOST as error:
        raise _InDoubt(tx, value, error) from error
    if done != "COMMIT":  # an error in it was caught by its function, and PostgreSQL has not forgotten
        raise RuntimeError(f"a transaction with an error in it was to be committed: {done}")


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Do all of it even if the caller goes away: a transaction that was begun is not cut in the middle."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # its caller may not be there to hear
    return await asyncio.shield(task)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
