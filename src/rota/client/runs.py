"""Runs as the SDK has them: `client.runs`, in both colours."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from msgspec import Struct, field

from rota.client import calls
from rota.client.calls import Call, Filters, Pages, Patience
from rota.client.flow import Flow
from rota.client.submission import encode, new_key
from rota.client.transport import Request
from rota.core.errors import Invalid
from rota.core.states import FINAL
from rota.core.wire import Page

T = TypeVar("T")
J = TypeVar("J")


class RunFilters(TypedDict, total=False):
    """What a listing of runs is narrowed by. `limit` bounds how many are read in all."""

    state: str
    owner: str
    name: str
    limit: int


class RunFields(Struct, kw_only=True, eq=False):
    """A run as it was when the server last said so. `counts` are its jobs by state; `ids` by ref, of one just submitted."""

    id: str
    state: str
    submitted_at: datetime
    size: int
    counts: dict[str, int]
    name: str | None = None
    owner: str = "default"
    labels: dict[str, str] = {}
    started_at: datetime | None = None
    finished_at: datetime | None = None
    abort_requested_at: datetime | None = None
    hook: str | None = None
    retry_of: str | None = None
    ids: dict[str, str] = field(name="jobs", default_factory=dict)

    @property
    def over(self) -> bool:
        """Say whether all of its jobs are over."""
        return self.state in FINAL

    def take(self, newer: RunFields) -> None:
        """Become what a newer answer about the same run says."""
        for name in RunFields.__struct_fields__:
            if name != "ids" or newer.ids:
                setattr(self, name, getattr(newer, name))


class Node(Struct, kw_only=True):
    """A job in a graph. `run` differs from the graph's own for one that stands of an earlier run."""

    id: str
    ref: str | None = None
    run: str | None = None
    state: str
    handler: str | None = None
    kind: str = "handler"
    attempt: int = 0
    submitted_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    inputs: int | None = None


class Edge(Struct, kw_only=True):
    """`to` waits for the end `on` of `source`."""

    source: str = field(name="from")
    to: str
    on: str = "succeeded"


class Graph(Struct, kw_only=True):
    """A run's jobs, and what they wait for."""

    nodes: list[Node]
    edges: list[Edge]
    next: str | None = None


class Caller(Protocol):
    """A client, as far as it is needed here."""

    def call(self, call: Call[T]) -> T:
        """Send a call and read its answer."""
        ...

    def walk(self, pages: Pages[T]) -> Iterator[T]:
        """Send a listing's calls."""
        ...


class AsyncCaller(Protocol):
    """The same, awaited."""

    async def call(self, call: Call[T]) -> T:
        """Send a call and read its answer."""
        ...

    def walk(self, pages: Pages[T]) -> AsyncIterator[T]:
        """Send a listing's calls."""
        ...


def submit_call(body: Mapping[str, Any], key: str, run: type[T]) -> Call[T]:
    """Submit a run."""
    return Call(calls.submission("/v1/runs", key, encode(body)), run)


def dry_run_call(body: Mapping[str, Any], key: str | None, told: type[T]) -> Call[T]:
    """Ask what a submission of a run would do."""
    return Call(Request(method="POST", path="/v1/runs?dry_run=true", body=encode(body), key=key), told)


def get_call(id: str, run: type[T], wait_s: float = 0.0) -> Call[T]:
    """Read a run; with `wait_s`, when it is over or so many seconds later."""
    return Call(Request(method="GET", path=_path(id, "", {"wait": calls.wait_text(wait_s)}), wait_s=wait_s), run)


def abort_call(id: str, wait_s: float, run: type[T]) -> Call[T]:
    """Stop a run."""
    return Call(Request(method="POST", path=_path(id, "abort", {"wait": calls.wait_text(wait_s)}), wait_s=wait_s), run)


def retry_call(id: str, key: str, run: type[T]) -> Call[T]:
    """Run again what has not succeeded."""
    return Call(calls.submission(_path(id, "retry"), key), run)


def graph_call(id: str, cursor: str | None, graph: type[T]) -> Call[T]:
    """Read a part of a run's graph."""
    return Call(Request(method="GET", path=_path(id, "graph", {"cursor": cursor})), graph)


def pages(filters: RunFilters, run: type[T]) -> Pages[T]:
    """Walk the runs that all filters hold for, the newest first."""

    def ask(cursor: str | None, limit: int) -> Call[Page[T]]:
        query = {name: value for name, value in filters.items() if name != "limit"} | {"limit": limit, "cursor": cursor}
        return Call(Request(method="GET", path="/v1/runs" + calls.query_text(query)), Page[run])  # type: ignore[valid-type]

    return Pages(ask, filters.get("limit"))


def _path(id: str, part: str = "", query: Mapping[str, Any] | None = None) -> str:
    if not id:
        raise Invalid("run", "is empty")
    return f"/v1/runs/{quote(id, safe='')}" + (f"/{part}" if part else "") + calls.query_text(query or {})


class Run(RunFields, Generic[J], dict=True, eq=False):
    """A run, and what can be done with it. `refresh` and `wait` renew what is known of it."""

    @property
    def _runs(self) -> Runs[J]:
        return self.__dict__["runs"]  # type: ignore[no-any-return]  # no field: it is not part of the JSON

    def refresh(self) -> Self:
        """Read the run again."""
        self.take(self._runs.get(self.id))
        return self

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until the run is over, however it ends. Raises TimeoutError after `timeout` seconds; the run goes on."""
        self.take(self._runs.wait(self.id, timeout))
        return self

    def abort(self, wait: float = 0.0) -> Self:
        """Stop the run; with `wait`, hold on up to so many seconds until it has ended. Raises Conflict if it was over."""
        self.take(self._runs.abort(self.id, wait))
        return self

    def retry(self) -> Run[J]:
        """Run again, as a new run, what has not succeeded in it. Raises Conflict."""
        return self._runs.retry(self.id)

    @property
    def jobs(self) -> dict[str, J]:
        """Read its jobs, by their refs."""
        return self._runs.jobs(self.id)

    @property
    def graph(self) -> Graph:
        """Read its whole graph."""
        return self._runs.graph(self.id)


class AsyncRun(RunFields, Generic[J], dict=True, eq=False):
    """As Run, awaited; `jobs` and `graph` are methods."""

    @property
    def _runs(self) -> AsyncRuns[J]:
        return self.__dict__["runs"]  # type: ignore[no-any-return]

    async def refresh(self) -> Self:
        """Read the run again."""
        self.take(await self._runs.get(self.id))
        return self

    async def wait(self, timeout: float | None = None) -> Self:  # noqa: ASYNC109  # Run's name for it
        """Wait until the run is over. As `Run.wait`."""
        self.take(await self._runs.wait(self.id, timeout))
        return self

    async def abort(self, wait: float = 0.0) -> Self:
        """Stop the run. As `Run.abort`."""
        self.take(await self._runs.abort(self.id, wait))
        return self

    async def retry(self) -> AsyncRun[J]:
        """Run again what has not succeeded."""
        return await self._runs.retry(self.id)

    async def jobs(self) -> dict[str, J]:
        """Read its jobs, by their refs."""
        return await self._runs.jobs(self.id)

    async def graph(self) -> Graph:
        """Read its whole graph."""
        return await self._runs.graph(self.id)


class Runs(Generic[J]):
    """What can be done with runs: `client.runs`."""

    def __init__(self, client: Caller, jobs: Callable[[Filters], Iterator[J]]) -> None:
        self._client = client
        self._jobs = jobs

    def submit(self, flow: Flow, *, key: str | None = None) -> Run[J]:
        """Submit a flow, all of it or nothing. Submissions with the same `key` make one run. Raises Invalid."""
        return self._own(self._client.call(submit_call(flow.body(), new_key(key), Run)))

    def get(self, run: str) -> Run[J]:
        """Read a run. Raises NotFound."""
        return self._own(self._client.call(get_call(run, Run)))

    def find(self, **filters: Unpack[RunFilters]) -> Iterator[Run[J]]:
        """Read the runs that all filters hold for, the newest first, page by page as they are asked for."""
        return map(self._own, self._client.walk(pages(filters, Run)))

    def wait(self, run: str, timeout: float | None = None) -> Run[J]:
        """Wait until a run is over. Raises TimeoutError after `timeout` seconds; the run goes on."""
        patience = Patience(run, timeout, time.monotonic, what="run")
        while True:
            found = self._client.call(get_call(run, Run, patience.next_wait_s()))
            if found.over:
                return self._own(found)

    def abort(self, run: str, wait: float = 0.0) -> Run[J]:
        """Stop a run: all of it. Raises Conflict when it was over."""
        return self._own(self._client.call(abort_call(run, wait, Run)))

    def retry(self, run: str) -> Run[J]:
        """Run again, as a new run, what has not succeeded. Raises Conflict."""
        return self._own(self._client.call(retry_call(run, new_key(), Run)))

    def jobs(self, run: str) -> dict[str, J]:
        """Read a run's jobs, by their refs."""
        return _by_ref(list(self._jobs({"run": run})))

    def graph(self, run: str) -> Graph:
        """Read a run's whole graph."""
        whole = self._client.call(graph_call(run, None, Graph))
        while whole.next is not None:
            whole = _joined(whole, self._client.call(graph_call(run, whole.next, Graph)))
        return whole

    def _own(self, run: Run[J]) -> Run[J]:
        run.__dict__["runs"] = self
        return run


class AsyncRuns(Generic[J]):
    """As Runs, awaited."""

    def __init__(self, client: AsyncCaller, jobs: Callable[[Filters], AsyncIterator[J]]) -> None:
        self._client = client
        self._jobs = jobs

    async def submit(self, flow: Flow, *, key: str | None = None) -> AsyncRun[J]:
        """Submit a flow. As `Runs.submit`."""
        return self._own(await self._client.call(submit_call(flow.body(), new_key(key), AsyncRun)))

    async def get(self, run: str) -> AsyncRun[J]:
        """Read a run. Raises NotFound."""
        return self._own(await self._client.call(get_call(run, AsyncRun)))

    async def find(self, **filters: Unpack[RunFilters]) -> AsyncIterator[AsyncRun[J]]:
        """Read the runs that all filters hold for, the newest first."""
        async for run in self._client.walk(pages(filters, AsyncRun)):
            yield self._own(run)

    async def wait(self, run: str, timeout: float | None = None) -> AsyncRun[J]:  # noqa: ASYNC109
        """Wait until a run is over. As `Runs.wait`."""
        patience = Patience(run, timeout, time.monotonic, what="run")
        while True:
            found = await self._client.call(get_call(run, AsyncRun, patience.next_wait_s()))
            if found.over:
                return self._own(found)

    async def abort(self, run: str, wait: float = 0.0) -> AsyncRun[J]:
        """Stop a run. As `Runs.abort`."""
        return self._own(await self._client.call(abort_call(run, wait, AsyncRun)))

    async def retry(self, run: str) -> AsyncRun[J]:
        """Run again what has not succeeded. As `Runs.retry`."""
        return self._own(await self._client.call(retry_call(run, new_key(), AsyncRun)))

    async def jobs(self, run: str) -> dict[str, J]:
        """Read a run's jobs, by their refs."""
        return _by_ref([job async for job in self._jobs({"run": run})])

    async def graph(self, run: str) -> Graph:
        """Read a run's whole graph."""
        whole = await self._client.call(graph_call(run, None, Graph))
        while whole.next is not None:
            whole = _joined(whole, await self._client.call(graph_call(run, whole.next, Graph)))
        return whole

    def _own(self, run: AsyncRun[J]) -> AsyncRun[J]:
        run.__dict__["runs"] = self
        return run


def _by_ref(jobs: Sequence[J]) -> dict[str, J]:
    return {getattr(job, "ref", None) or getattr(job, "id"): job for job in reversed(jobs)}  # noqa: B009  # of either colour


def _joined(one: Graph, other: Graph) -> Graph:
    known = {node.id for node in one.nodes}
    nodes = one.nodes + [node for node in other.nodes if node.id not in known]
    return Graph(nodes=nodes, edges=one.edges + other.edges, next=other.next)
