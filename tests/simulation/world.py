"""A cluster in one thread: virtual time, one store, servers that can crash between any two transactions.

Everything that happens is an entry of one heap, in the order of virtual time; whatever has a choice asks the seeded
generator. An operation of a server is a coroutine of the real service: it is suspended before each transaction, so that
operations of all servers interleave as they would with a real store, and it is thrown away when its server crashes.
"""

from __future__ import annotations

import heapq
import random
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from rota.core.errors import RotaError, Unavailable
from rota.service.service import Service
from rota.store import statements
from rota.store.sqlite.runner import InlineRunner
from rota.store.sqlite.store import migrate

T = TypeVar("T")
SECOND = 1_000_000
START = 1_750_000_000 * SECOND
LEASE_S = 15.0


class Broken(AssertionError):
    """Something that must never happen did."""


class Crash(BaseException):
    """Ends a server where it stands. No `except Exception` of the code under test may catch it."""


@cache
def _empty_store() -> bytes:
    con = sqlite3.connect(":memory:", isolation_level=None)
    migrate(con)
    image = con.serialize()
    con.close()
    return image


@cache
def _statements() -> dict[str, str]:
    return statements.load("rota.store.sqlite.sql")


class Turn:
    """What an operation waits for before each transaction."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class SteppedStore:
    """The store as one server sees it. It outlives the server; what is committed stays."""

    exclusive = True  # where there are workers that a server owns, it is the only one

    def __init__(self, world: World, server: Server) -> None:
        self._world = world
        self._server = server

    async def write(self, function: Callable[[Any], Awaitable[T]]) -> T:
        await Turn()
        if self._world.store_down:
            raise Unavailable("the simulated disk is full")
        self._world.running = self._server
        try:
            return await self._world.runner.run(function)
        finally:
            self._world.running = None

    async def read(self, function: Callable[[Any], Awaitable[T]]) -> T:
        return await self.write(function)


class NoHooks:
    """Hooks need a network of their own; no simulated job has one."""

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        raise AssertionError("no simulated job has a hook")


@dataclass(frozen=True)
class Odds:
    """How often each fault happens, per chance to happen."""

    crash: float = 0.004  # of a server, at each commit boundary
    lose: float = 0.06  # a request or a reply
    double: float = 0.04  # a request
    late: float = 0.05  # a message that takes seconds, not milliseconds
    slow: float = 0.03  # a transaction that waits for its turn


CALM = Odds(crash=0.0, lose=0.0, double=0.0, late=0.0, slow=0.0)
HARSH = Odds(
    crash=0.004, lose=0.2, double=0.1, late=0.15, slow=0.1
)  # nearly nothing gets done, and all that is rare happens


class Server:
    """A server: the real service, and the operations that are under way in it."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.service: Service | None = None
        self.ready = False
        self.operations: dict[int, Coroutine[Any, Any, Any]] = {}
        self.start()

    def start(self) -> None:
        world = self.world
        self.service = Service(
            SteppedStore(world, self),  # type: ignore[arg-type]
            sender=NoHooks(),
            lease_s=LEASE_S,
            rng=random.Random(world.rng.getrandbits(64)),
            monotonic=lambda: world.now / SECOND,
            failed=self._failed,
        )
        world.note("server {} starts", self.name)
        self.ready = False
        self.operate("begin", self.service.upkeep.begin(), self._begun)

    def _begun(self, _value: None, error: Exception | None) -> None:
        """Take requests once stock was taken; a server that cannot do that ends."""
        if error is not None:
            self.crash()
        else:
            self.ready = True
            self._round()

    def crash(self) -> None:
        self.world.note("server {} crashes", self.name)
        self.service = None
        operations, self.operations = self.operations, {}
        for operation in operations.values():
            operation.close()
        self.world.crashed(self)
        self.world.after(self.world.rng.uniform(0.01, 8.0), self._restart)

    def _restart(self) -> None:
        if self.service is None:
            self.start()

    def _round(self) -> None:
        if self.service is not None:
            self.operate("upkeep", self.service.upkeep.round(), self._rounded)

    def _rounded(self, pause: float | None, _error: Exception | None) -> None:
        # Hints are lost here on purpose, and the pause overslept: both cost time, never correctness.
        self.world.after(self.world.rng.uniform(0.2, 2.5) if pause else 0.001, self._round)

    def _failed(self, step: str, error: Exception) -> None:
        if not isinstance(error, Unavailable):
            raise Broken(f"upkeep's step {step} failed: {error!r}") from error

    def operate(
        self, what: str, coroutine: Coroutine[Any, Any, Any], done: Callable[[Any, Exception | None], None]
    ) -> None:
        """Run a coroutine of the service, transaction by transaction; `done` hears its value or its error."""
        key = self.world.serial()
        self.operations[key] = coroutine
        self._step(key, what, done)

    def _step(self, key: int, what: str, done: Callable[[Any, Exception | None], None]) -> None:
        operation = self.operations.get(key)
        if operation is None:  # its server has crashed meanwhile
            return
        try:
            operation.send(None)
        except StopIteration as end:
            del self.operations[key]
            done(end.value, None)
        except Crash:
            del self.operations[key]
            self.crash()
        except RotaError as error:
            del self.operations[key]
            done(None, error)
        except Exception as error:
            raise Broken(f"{what} on {self.name} raised {error!r}") from error
        else:
            self.world.after(self.world.turn(5 if what == "upkeep" else 1), lambda: self._step(key, what, done))


class World:
    """Virtual time, the store, the servers, the network between them and everybody else."""

    def __init__(self, seed: int, *, servers: int, odds: Odds) -> None:
        self.rng = random.Random(seed)
        self.odds = odds
        self.now = 0  # true time; the monotonic clock of everybody
        self.offset = START  # the store's clock is `now + offset`; a jump changes it
        self.latest = START  # the furthest that the store's clock ever was ahead
        self.store_down = False
        self.running: Server | None = None
        self.boundaries = 0
        self.crash_at: int | None = None  # crash at exactly this boundary, for the exhaustive walk
        self.history: list[tuple[int, str, tuple[Any, ...]]] = []
        self.checks: list[Callable[[], None]] = []
        self.on_crash: list[Callable[[Server], None]] = []
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self.connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=256)
        self.connection.deserialize(_empty_store())
        self.runner = InlineRunner(self.connection, self.clock, _statements())
        self.runner.boundary = self._boundary
        self.servers = [Server(self, f"s{n}") for n in range(servers)]

    def clock(self) -> int:
        """The store's clock."""
        return self.now + self.offset

    def jump(self, seconds: float) -> None:
        """Set the store's clock."""
        self.offset += round(seconds * SECOND)
        self.latest = max(self.latest, self.offset)
        self.note("the store's clock jumps by {:+.3f} s", seconds)

    def serial(self) -> int:
        self._serial += 1
        return self._serial

    def note(self, text: str, *values: Any) -> None:
        """Add a line to the history; it is formatted only when somebody reads it."""
        self.history.append((self.now, text, values))

    def chance(self, odds: float) -> bool:
        return odds > 0 and self.rng.random() < odds

    def turn(self, times: int) -> float:
        """How long a transaction waits for its turn: mostly no time, now and then long enough to be overtaken by all."""
        draw = self.rng.random()
        return 0.0002 + draw * 0.003 if draw >= self.odds.slow * times else self.rng.uniform(0.01, 2.0)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + round(seconds * SECOND), self.serial(), action))

    def step(self) -> None:
        """Do what comes next."""
        at, _, action = heapq.heappop(self._heap)
        self.now = max(self.now, at)
        changes = self.connection.total_changes
        action()
        if self.connection.total_changes != changes:
            for check in self.checks:
                check()

    def run_until(self, at: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Go on until true time `at`, or until `until` holds after a step that was; say whether it did."""
        while self._heap and self._heap[0][0] <= at:
            self.step()
            if until():
                return True
        self.now = max(self.now, at)
        return until()

    def crashed(self, server: Server) -> None:
        for hear in self.on_crash:
            hear(server)

    def _boundary(self, side: str) -> None:
        self.boundaries += 1
        if self.running is not None and (self.boundaries == self.crash_at or self.chance(self.odds.crash)):
            self.note("the commit of {} is cut: {}", self.running.name, side)
            raise Crash

    # -- the network

    def _delay(self) -> float:
        return self.rng.uniform(0.5, 20.0) if self.chance(self.odds.late) else 0.0002 + self.rng.random() * 0.002

    def call(
        self,
        what: str,
        make: Callable[[Service], Coroutine[Any, Any, Any]],
        reply: Callable[[Any, Exception | None], None],
        saw: Callable[[Any], None] = lambda _value: None,
    ) -> None:
        """Send a request to one of the servers. `reply` may never be called, late, or twice; `saw` is told at the server."""
        server = self.rng.choice(self.servers)
        for _ in range(2 if self.chance(self.odds.double) else 1):
            if self.chance(self.odds.lose):
                self.note("lost: the request {}", what)
            else:
                self.after(self._delay(), lambda: self._arrive(server, what, make, reply, saw))

    def _arrive(
        self,
        server: Server,
        what: str,
        make: Callable[[Service], Coroutine[Any, Any, Any]],
        reply: Callable[[Any, Exception | None], None],
        saw: Callable[[Any], None],
    ) -> None:
        if server.service is None or not server.ready:
            self.after(self._delay(), lambda: reply(None, ConnectionError(f"{server.name} is down")))
            return

        def done(value: Any, error: Exception | None) -> None:
            if error is None:
                saw(value)
            if self.chance(self.odds.lose):
                self.note("lost: the reply to {}", what)
            else:
                self.after(self._delay(), lambda: reply(value, error))

        server.operate(what, make(server.service), done)

    def tell_history(self) -> str:
        return "\n".join(f"{at / SECOND:12.6f}  {text.format(*values)}" for at, text, values in self.history)
