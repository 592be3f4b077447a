"""A store under test, and what only its kind knows: how to open it again, to crash at a commit, to write a row by hand."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncpg

from rota.core.fairness import TurnName
from rota.core.jobs import HandlerSpec, Job, Lease, Report, WorkerHello
from rota.core.settling import settle
from rota.core.states import Outcome, State
from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Store, Take, Tx
from rota.store.sqlite.store import SqliteStore
from tests import postgres
from tests.embedded import store_at

T = TypeVar("T")
START = 1_750_000_000_000_000
SECOND = 1_000_000


class Crash(BaseException):
    """The process ends here."""


class Kind(Protocol):
    """What a new store brings along to be tested by this suite."""

    refusal: type[Exception]  # what it raises for a row that a constraint forbids
    later: str  # a statement that makes it look as if a later Rota had written it

    def make(self, clock: Callable[[], int]) -> Store:
        """Return the store, not open yet; called again it is the same one, with what was committed."""
        ...

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement beside the store, in a transaction of its own."""
        ...

    def crash_at(self, store: Store, side: str) -> None:
        """Let the next commit raise Crash, before or after it is durable; the store is lost then."""
        ...

    async def end(self) -> None:
        """Let go of what the store, which is closed, was kept in."""
        ...


class SqliteThreads:
    """The embedded store as servers use it."""

    refusal = sqlite3.IntegrityError
    later = "UPDATE rota_schema SET version = version + 1"

    def __init__(self, folder: Path) -> None:
        self._file = folder / "rota.db"

    def make(self, clock: Callable[[], int]) -> Store:
        return store_at(self._file, clock=clock)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        con = sqlite3.connect(self._file, isolation_level=None)
        try:
            return con.execute(statement).fetchall()
        finally:
            con.close()

    def crash_at(self, store: Store, side: str) -> None:
        raise NotImplementedError

    async def end(self) -> None:
        pass


class SqliteInline(SqliteThreads):
    """The embedded store as tools and simulations use it: every transaction at once, in the calling thread."""

    def make(self, clock: Callable[[], int]) -> Store:
        return store_at(self._file, clock=clock, inline=True)

    def crash_at(self, store: Store, side: str) -> None:
        assert isinstance(store, SqliteStore)

        def boundary(now: str) -> None:
            if now == side:
                raise Crash

        store.inline_runner.boundary = boundary


class Postgres:
    """A database of its own on a real server."""

    refusal = asyncpg.IntegrityConstraintViolationError
    later = "INSERT INTO rota_schema (version) SELECT max(version) + 1 FROM rota_schema"

    def __init__(self, _folder: Path) -> None:
        self._url = postgres.cluster().take_store()

    def make(self, clock: Callable[[], int]) -> Store:
        return PostgresStore(self._url, clock=clock)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        async def run() -> list[tuple[Any, ...]]:
            con = await asyncpg.connect(self._url)
            try:
                return [tuple(row) for row in await con.fetch(statement)]
            finally:
                await con.close()

        return asyncio.run(run())

    def crash_at(self, store: Store, side: str) -> None:
        assert isinstance(store, PostgresStore)

        def boundary(now: str) -> None:
            if now == side:
                raise Crash

        store.boundary = boundary

    async def end(self) -> None:
        await postgres.cluster().give_store(self._url)


KINDS: dict[str, Callable[[Path], Kind]] = {
    "postgres": Postgres,
    "sqlite": SqliteThreads,
    "sqlite-inline": SqliteInline,
}


class Bench:
    """An open store with a clock that the test sets, and short ways to common rows. Everything runs to its end at once."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.now = START
        self._runner = asyncio.Runner()
        self.store = kind.make(lambda: self.now)
        try:
            self.run(self.store.open())
        except BaseException:
            self._runner.close()
            raise

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def write(self, function: Callable[[Tx], Awaitable[T]]) -> T:
        result: T = self.run(self.store.write(function))
        return result

    def read(self, function: Callable[[Tx], Awaitable[T]]) -> T:
        result: T = self.run(self.store.read(function))
        return result

    def reopen(self) -> None:
        self.run(self.store.close())
        self.store = self.kind.make(lambda: self.now)
        self.run(self.store.open())

    def close(self) -> None:
        self.run(self.store.close())
        self._runner.close()

    # -- rows

    def insert(self, *jobs: Job) -> None:
        self.write(lambda tx: tx.insert_jobs(jobs))

    def get(self, job: str) -> Job:
        found = self.read(lambda tx: tx.get_job(job))
        assert found is not None
        return found

    def lock(self, job: str) -> Job:
        return self.read(lambda tx: tx.lock_jobs([job]))[job]

    def register(self, worker: str = "w", *specs: HandlerSpec, lease_s: float = 15) -> None:
        until = self.now + round(lease_s * SECOND)
        self.write(lambda tx: tx.insert_worker(worker, WorkerHello(name=worker, handlers=list(specs)), until))

    def claim(self, *jobs: str, worker: str = "w", spec: HandlerSpec | None = None) -> list[Lease]:
        """Claim jobs, which are the first ones of their rows of turns."""

        async def write(tx: Tx) -> list[Lease]:
            found = await tx.lock_jobs(jobs)
            rows = Counter(turn_of(found[job]) for job in jobs)
            claimed = await tx.claim_jobs(worker, [Take(row, n, spec) for row, n in rows.items()])
            return [c.lease for of_row in claimed for c in of_row]

        return self.write(write)

    def heads(self, lane: str, room: int = 9) -> list[str]:
        """Return the first jobs of a lane's rows of turns."""
        _, turns = self.read(lambda tx: tx.turns([("default", lane, 99)], room))
        return [job for turn in turns for _, job in turn.heads]

    def settle(self, job: str, outcome: Outcome = Outcome.SUCCEEDED, **report: Any) -> None:
        async def write(tx: Tx) -> None:
            locked = (await tx.lock_jobs([job]))[job]
            made = Report(job=job, attempt=locked.attempt, outcome=outcome, **report)
            await tx.settle_jobs([(locked, settle(locked, made, tx.now, 0.0))])

        self.write(write)

    def counts(self) -> dict[tuple[str, str, str], int]:
        return {(c.queue, c.lane, c.state.value): c.n for c in self.read(lambda tx: tx.counts())}


def turn_of(job: Job) -> TurnName:
    """Return the row of turns that a job belongs to."""
    return TurnName(job.queue, job.priority, job.owner, job.lane)


def a_job(name: str, **fields: Any) -> Job:
    """Return a queued job of handler `h`; ids sort as their names do."""
    values = {
        "state": State.QUEUED,
        "kind": "handler",
        "handler": "h",
        "run_at": START,
        "submitted_at": START,
        **fields,
    }
    return Job(id=name, **values)
