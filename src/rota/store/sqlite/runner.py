"""Runs transaction functions on one SQLite connection, many to a commit.

Group commit, without a timer: whatever is waiting when the thread becomes free shares the next transaction, so a lone
function waits for nobody and a crowd pays for one fsync. Each function has a savepoint of its own, so one that raises
takes nobody along.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from rota.core.errors import RotaError, Unavailable
from rota.store.sqlite.tx import SqliteTx

T = TypeVar("T")
Function = Callable[[SqliteTx], Awaitable[Any]]
_MOST_IN_A_COMMIT = 256


def drive(function: Callable[[SqliteTx], Awaitable[T]], tx: SqliteTx) -> T:
    """Run a transaction function to its end, without an event loop: nothing that it awaits ever suspends."""
    steps = function(tx).__await__()
    try:
        next(steps)
    except StopIteration as end:
        value: T = end.value
        return value
    raise RuntimeError("a transaction function awaited something that is not its transaction")


class InlineRunner:
    """Runs each function at once, in the calling thread: for tools and for tests.

    `boundary` is called with "before" and "after" each commit; a test may raise from it, as a crash would.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], int], statements: dict[str, str]) -> None:
        self._connection = connection
        self._clock = clock
        self._statements = statements
        self.boundary: Callable[[str], None] = lambda _: None

    async def run(self, function: Callable[[SqliteTx], Awaitable[T]]) -> T:
        """Run a function in a transaction of its own."""
        con = self._connection
        con.execute("BEGIN IMMEDIATE")
        try:
            tx = SqliteTx(con, self._clock(), self._statements)
            value = drive(function, tx)
            tx.flush()
            self.boundary("before")
            con.execute("COMMIT")
        except BaseException as error:
            if con.in_transaction:
                con.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise _unavailable(error) from error
            raise
        self.boundary("after")
        return value

    def stop(self) -> None:
        """Close the connection."""
        self._connection.close()


class ThreadRunner:
    """Runs functions in a thread of its own, in the order in which they come."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        clock: Callable[[], int],
        statements: dict[str, str],
        *,
        writes: bool,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._statements = statements
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        self._waiting: SimpleQueue[tuple[Function, asyncio.Future[Any]] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="rota-writer" if writes else "rota-reader", daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[SqliteTx], Awaitable[T]]) -> T:
        """Run a function, perhaps together with others, and return its value after the commit."""
        if self._stopped:
            raise Unavailable("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put((function, future))
        return await future

    def stop(self) -> None:
        """Finish what was begun and end the thread."""
        if not self._stopped:
            self._stopped = True
            self._waiting.put(None)
            self._thread.join()

    def _work(self) -> None:
        connection = self._connect()
        going = True
        while going:
            batch = [self._waiting.get()]
            while len(batch) < _MOST_IN_A_COMMIT and not self._waiting.empty():
                batch.append(self._waiting.get())
            going = None not in batch
            self._commit(connection, [entry for entry in batch if entry is not None])
        connection.close()

    def _commit(self, con: sqlite3.Connection, batch: list[tuple[Function, asyncio.Future[Any]]]) -> None:
        answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        try:
            con.execute(self._begin)
            now = self._clock()
            for function, future in batch:
                answers.append((future, *self._one(con, function, now, alone=len(batch) == 1)))
            if con.in_transaction:
                con.execute("COMMIT")
        except sqlite3.Error as error:  # full or broken disk: nothing of the batch was kept
            if con.in_transaction:
                con.execute("ROLLBACK")
            cause = _unavailable(error)
            answers = [(future, None, cause) for _, future in batch]
        self._loop.call_soon_threadsafe(_answer, answers)

    def _one(
        self, con: sqlite3.Connection, function: Function, now: int, *, alone: bool
    ) -> tuple[Any, BaseException | None]:
        if not alone:
            con.execute("SAVEPOINT one")
        try:
            tx = SqliteTx(con, now, self._statements)
            value = drive(function, tx)
            tx.flush()
        except sqlite3.OperationalError:
            raise
        except BaseException as error:  # kept for the caller, whatever it is: this thread must go on
            con.execute("ROLLBACK" if alone else "ROLLBACK TO one")
            if not alone:
                con.execute("RELEASE one")
            return None, error
        if not alone:
            con.execute("RELEASE one")
        return value, None


def _answer(answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, value, error in answers:
        if future.done():  # its caller went away; the work was done all the same
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


def _unavailable(error: sqlite3.Error) -> RotaError:
    return Unavailable(f"the store cannot be written: {error}; nothing was kept, try again")
