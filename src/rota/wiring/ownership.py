"""A store on this machine, whoever owns its file: this process, or another whose guest it is until that one leaves.

The owner opens the file and runs the service; it listens on the socket beside the file, and what answers there is loaded
with the first connection. A guest speaks to the owner through that socket. When the owner leaves, one of its guests
becomes the owner, and the others become guests of that one; their work goes on meanwhile, for as long as their leases
last.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from rota.client.views import JobFields, Result
from rota.core.errors import Conflict, StoreInUse
from rota.core.jobs import Job, Submission
from rota.core.states import FINAL
from rota.service.service import Service
from rota.settings import Settings
from rota.store.protocol import Query
from rota.store.sqlite.store import SqliteStore, is_alive
from rota.wiring.stores import open_file, socket_path
from rota.worker.queue import WorkQueue

if TYPE_CHECKING:
    from rota.client.async_client import AsyncClient
    from rota.http.server import HttpServer

T = TypeVar("T")

_OWNER_S = 10.0  # how long an owner that does not answer is waited for
_LOOK_S = 0.05
_PAGE = 100


class Standing(Struct, frozen=True, kw_only=True):
    """Where an array stands. `over`: it will not change any more."""

    id: str
    state: str
    queue: str
    labels: Mapping[str, str]
    inputs: int
    done: int
    failed: int
    halted: str | None
    error: str | None
    over: bool
    confirmed: bool | None


class Owner:
    """The service in this process."""

    def __init__(self, store: SqliteStore, settings: Settings) -> None:
        from rota.client.hook_targets import LOOPBACK, Targets
        from rota.client.hooks import HookSender

        self._store = store
        self._sender = HookSender(Targets(LOOPBACK if settings.hook_targets is None else settings.hook_targets))
        self._service = Service(
            store,
            sender=self._sender,
            lease_s=settings.lease_s,
            retention_s=settings.retention_s,
            hook_secret=settings.hook_secret,
            zone=settings.zone,
        )
        self._door = _Door(self._service, socket_path(store), settings.allowed_hosts)

    @property
    def lock_fd(self) -> int:
        """Return the descriptor that holds the store's lock."""
        return self._store.lock_fd

    async def start(self) -> None:
        """Take stock of the store, and open the door to guests."""
        await self._service.start()
        self._door.open()

    @property
    def queue(self) -> WorkQueue:
        """Return the work queue."""
        return self._service.work

    async def submit(self, submission: Submission, key: str) -> str:
        """Submit an array and return its id."""
        return (await self._service.jobs.submit(submission, key=key)).id

    async def look(self, job: str, wait_s: float) -> Standing:
        """Return where an array stands, when it is over or `wait_s` seconds later."""
        return _standing(await self._service.jobs.wait(job, wait_s))

    async def results(self, job: str, after: int, limit: int) -> list[Result]:
        """Return what became of inputs, in their order, from after the input `after` on."""
        return [
            Result(
                index=line.outcome.index,
                input=msgspec.json.decode(line.input),
                state=line.outcome.state.value,
                exit_code=line.outcome.exit_code,
                duration=line.outcome.duration_s,
                stdout=line.outcome.stdout,
                stderr=line.outcome.stderr,
                error=line.outcome.error,
                outcome=line.outcome.outcome.value,
                attempt=line.outcome.attempt,
            )
            for line in await self._service.jobs.results(job, after=after, limit=limit)
        ]

    async def find(self, labels: Mapping[str, str], cursor: str | None) -> tuple[list[Standing], str | None]:
        """Return a page of the arrays with these labels, the newest first, and the cursor of the next."""
        jobs, next_ = await self._service.jobs.find(Query(labels=list(labels.items()), cursor=cursor, limit=_PAGE))
        return [_standing(job) for job in jobs if job.array is not None], next_

    async def is_served(self, queue: str) -> bool:
        """Say whether a worker whose process lives serves this queue by name."""
        rows = [worker.row for worker in await self._service.workers()]
        found = [row.hello for row in rows if row.gone_at is None and queue in row.hello.queues]
        return any(_lives(hello.host, hello.pid) for hello in found)

    async def abort(self, job: str) -> None:
        """Stop an array, unless it is over."""
        try:
            await self._service.jobs.abort(job)
        except Conflict:
            return

    async def close(self) -> None:
        """Stop the service, and let go of the store."""
        await self._door.close()
        await self._service.stop()
        await self._sender.close()
        await self._store.close()


class Guest:
    """The service of another process, over HTTP. A call is tried `tries` times while nobody answers."""

    def __init__(self, address: str, settings: Settings, *, tries: int) -> None:
        from rota.client.async_client import AsyncClient
        from rota.client.work_queue import HttpWorkQueue

        self._client: AsyncClient = AsyncClient(address, settings.token, settings.timeout_s, tries=tries)
        self._queue = HttpWorkQueue(address, token=settings.token, ca_file=settings.ca_file)

    @property
    def queue(self) -> WorkQueue:
        """Return the work queue."""
        return self._queue

    async def submit(self, submission: Submission, key: str) -> str:
        """Submit an array and return its id."""
        from rota.client import calls

        members = msgspec.structs.asdict(submission)
        body = {name: value for name, value in members.items() if value is not None}
        return (await self._client.call(calls.submit(body, key, JobFields))).id

    async def look(self, job: str, wait_s: float) -> Standing:
        """Return where an array stands, when it is over or `wait_s` seconds later."""
        from rota.client import calls

        return _standing(await self._client.call(calls.get(job, JobFields, wait_s)))

    async def results(self, job: str, after: int, limit: int) -> list[Result]:
        """Return what became of inputs, in their order, from after the input `after` on."""
        from rota.client import calls

        return [line async for line in self._client.listen(calls.results(job, after=after, limit=limit))]

    def follow(self, job: str) -> AsyncIterator[Result]:
        """Give what becomes of inputs, in their order, until the array is over."""
        return self._client.results(job)

    async def find(self, labels: Mapping[str, str], cursor: str | None) -> tuple[list[Standing], str | None]:
        """Return a page of the arrays with these labels, the newest first, and the cursor of the next."""
        from rota.client import calls
        from rota.core.wire import Page

        page = await self._client.call(calls.find({"labels": labels}, cursor, _PAGE, Page[JobFields]))
        return [_standing(job) for job in page.items if job.array is not None], page.next

    async def is_served(self, queue: str) -> bool:
        """Say whether a worker whose process lives serves this queue by name."""
        found = [w for w in await self._client.workers() if w.state != "gone" and queue in w.queues]
        return any(_lives(worker.host, worker.pid) for worker in found)

    async def abort(self, job: str) -> None:
        """Stop an array, unless it is over."""
        try:
            await self._client.abort(job)
        except Conflict:
            return

    async def close(self) -> None:
        """Close the connections."""
        await self._queue.aclose()
        await self._client.aclose()


class Link:
    """The way to a store, which stays when the store's owner changes. Belongs to one event loop.

    Where the settings name a server, that server is asked, and nobody takes its place.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._side: Owner | Guest | None = None
        self._attaching = asyncio.Lock()

    async def open(self) -> None:
        """Become the store's owner or its guest. Raises Invalid, StoreInUse (an owner that does not answer), Unavailable."""
        if self._settings.server is not None:
            from rota.client.retrying import TRIES

            self._side = Guest(self._settings.server_url, self._settings, tries=TRIES)
        else:
            await self._attach(None)

    @property
    def owns(self) -> bool:
        """Say whether this process owns the store."""
        return isinstance(self._side, Owner)

    def lock_fds(self) -> tuple[int, ...]:
        """Return the descriptors that hold the store's lock, if this process does: for its children to keep."""
        return (self._side.lock_fd,) if isinstance(self._side, Owner) else ()

    async def do(self, act: Callable[[Owner | Guest], Awaitable[T]]) -> T:
        """Do something with the service, again where its owner left meanwhile: `act` may be done twice."""
        while True:
            assert self._side is not None, "open comes first"
            side = self._side
            try:
                return await act(side)
            except ConnectionError:
                if self._settings.server is not None:
                    raise
                await self._attach(side)

    def follow(self, job: str) -> AsyncIterator[Result]:
        """Give what becomes of an array's inputs, in their order, on the server that the settings name."""
        assert isinstance(self._side, Guest), "there is a server"
        return self._side.follow(job)

    async def ask(self, act: Callable[[WorkQueue], Awaitable[T]]) -> T:
        """Call a verb of the work queue once. Raises ConnectionError when the owner has left; there is another one then."""
        assert self._side is not None, "open comes first"
        side = self._side
        try:
            return await act(side.queue)
        except ConnectionError:
            await self._attach(side)
            raise

    async def close(self) -> None:
        """Let go of the store."""
        if self._side is not None:
            await self._side.close()
            self._side = None

    async def _attach(self, lost: Owner | Guest | None) -> None:
        """Find the store's new owner, in place of the one that is `lost`, or become it."""
        async with self._attaching:
            if self._side is not lost:
                return  # somebody else was faster
            if lost is not None:
                await lost.close()
            loop = asyncio.get_running_loop()
            deadline = loop.time() + _OWNER_S
            while True:
                store = open_file(self._settings.store)
                try:
                    await store.open()
                except StoreInUse:
                    path = socket_path(store)
                    if _answers(path):
                        self._side = Guest(f"unix:{path}", self._settings, tries=1)
                        return
                    if loop.time() > deadline:
                        raise
                    await asyncio.sleep(_LOOK_S)
                    continue
                owner = Owner(store, self._settings)
                self._side = owner
                await owner.start()
                return


class _Door:
    """The socket beside the store's file. Who connects first has the HTTP edge loaded: most runs never need it."""

    def __init__(self, service: Service, path: Path, allowed_hosts: tuple[str, ...]) -> None:
        self._service = service
        self._path = path
        self._allowed_hosts = allowed_hosts
        self._listener: socket.socket | None = None
        self._http: HttpServer | None = None
        self._opening: asyncio.Task[None] | None = None

    def open(self) -> None:
        from rota.http.listening import listen_at

        self._loop = asyncio.get_running_loop()
        self._listener = listen_at(self._path)
        self._listener.listen()
        self._loop.add_reader(self._listener, self._knock)

    async def close(self) -> None:
        if self._opening is not None:
            await self._opening
        if self._http is not None:
            await self._http.stop()
        elif self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        self._path.unlink(missing_ok=True)

    def _knock(self) -> None:
        assert self._listener is not None
        self._loop.remove_reader(self._listener)
        self._opening = self._loop.create_task(self._serve(self._listener))

    async def _serve(self, listener: socket.socket) -> None:
        def load() -> Any:
            from rota.http.app import create_app
            from rota.http.server import HttpServer

            return create_app, HttpServer

        create_app, http_server = await asyncio.to_thread(load)  # it takes a while, and commands are running
        app = create_app(self._service, allowed_hosts=self._allowed_hosts)
        self._http = http_server(self._service, app, listeners=[listener])
        await self._http.start()


def _lives(host: str | None, pid: int | None) -> bool:
    """Say whether a process lives, as far as can be told from here: one that was killed seems to for the rest of its lease."""
    return host != socket.gethostname() or pid is None or is_alive(pid)


def _answers(path: Path) -> bool:
    """Say whether somebody listens at a socket."""
    with socket.socket(socket.AF_UNIX) as knock:
        knock.settimeout(1.0)
        try:
            knock.connect(str(path))
        except OSError:
            return False
    return True


def _standing(job: Job | JobFields) -> Standing:
    array = job.array
    assert array is not None, "what is looked at here is an array"
    return Standing(
        id=job.id,
        state=str(job.state),
        queue=job.queue,
        labels=job.labels or {},
        inputs=array.inputs,
        done=array.done,
        failed=array.failed,
        halted=array.halted,
        error=None if job.error is None else job.error.message,
        over=job.state in FINAL,
        confirmed=job.confirmed,
    )
