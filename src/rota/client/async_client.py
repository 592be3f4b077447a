"""The SDK for asyncio: client.py, awaited."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeVar, Unpack, overload

from rota.client import calls
from rota.client.async_servers import AsyncServers
from rota.client.async_transport import AsyncTransport
from rota.client.calls import Call, Filters, Pages, Patience, Waited
from rota.client.limits import AsyncLimits
from rota.client.owners import AsyncOwners
from rota.client.problems import ServerUnreachable, error_of
from rota.client.retrying import TRIES, Retrying
from rota.client.runs import AsyncRuns
from rota.client.schedules import AsyncSchedules
from rota.client.streams import Stream
from rota.client.submission import (
    Changes,
    JobId,
    Options,
    body_of,
    body_of_item,
    changes_of,
    job_id,
    new_key,
    texts,
)
from rota.client.transport import Reply, Request
from rota.client.views import Attempt, Event, Explanation, JobFields, Log, Result, Worker
from rota.core.errors import Unavailable
from rota.core.wire import Page
from rota.settings import load

T = TypeVar("T")


class AsyncJob(JobFields, dict=True, eq=False):
    """As Job, for asyncio."""

    @property
    def client(self) -> AsyncClient:
        """Return the client that the job came from."""
        return self.__dict__["client"]  # type: ignore[no-any-return]

    async def refresh(self) -> Self:
        """Read the job again."""
        self.take(await self.client.get(self))
        return self

    async def wait(self, timeout: float | None = None) -> Self:  # noqa: ASYNC109  # Client's name for it
        """Wait until the job is over, however it ends. Raises TimeoutError after `timeout` seconds; the job goes on."""
        self.take(await self.client.wait(self, timeout))
        return self

    @overload
    async def get_result(self, timeout: float | None = None) -> Any: ...  # noqa: ASYNC109
    @overload
    async def get_result(self, timeout: float | None = None, *, type: type[T]) -> T: ...  # noqa: ASYNC109

    async def get_result(self, timeout: float | None = None, *, type: Any = None) -> Any:  # noqa: ASYNC109
        """Wait, and return the result; with `type`, as one of that: whatever msgspec decodes into.

        Raises JobFailed when there is none, TimeoutError after `timeout` seconds, Invalid when it is nothing of that type.
        """
        if not self.over:
            await self.wait(timeout)
        return self.outcome(type)

    async def abort(self, wait: float = 0.0) -> Self:
        """Stop the job; with `wait`, hold on up to so many seconds until it has ended. Raises Conflict if it was over."""
        self.take(await self.client.abort(self, wait))
        return self

    async def retry(self) -> AsyncJob:
        """Run the job, which must be over, again as a new job. Raises Conflict."""
        return await self.client.retry(self)

    async def edit(self, **changes: Unpack[Changes]) -> Self:
        """Change a job that has not started. Raises Conflict."""
        self.take(await self.client.edit(self, **changes))
        return self

    def logs(self, *, follow: bool = False) -> AsyncIterator[Log]:
        """Read the job's output; with `follow`, until the job is over."""
        return self.client.logs(self, follow=follow)

    def results(self, *, after: int | None = None, failed: bool = False, follow: bool = True) -> AsyncIterator[Result]:
        """Read what became of an array's inputs, in their order. As `Client.results`."""
        return self.client.results(self, after=after, failed=failed, follow=follow)


class AsyncClient:
    """As Client, for asyncio; belongs to one event loop."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        *,
        ca_file: str | None = None,
        tries: int = TRIES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        settings = load({"server": url, "token": token, "timeout_s": timeout, "ca_file": ca_file})
        self._servers = AsyncServers(
            settings.server_url,
            partial(AsyncTransport, token=settings.token, timeout_s=settings.timeout_s, ca_file=settings.ca_file),
        )
        self._retrying = Retrying(tries)
        self._sleep = sleep
        self._jitter = jitter

    @property
    def runs(self) -> AsyncRuns[AsyncJob]:
        """Return what can be done with runs, and submit a `Flow` as one."""
        return AsyncRuns(self, lambda filters: self.jobs(**filters))

    @property
    def owners(self) -> AsyncOwners:
        """Return what can be done with owners."""
        return AsyncOwners(self)

    @property
    def limits(self) -> AsyncLimits:
        """Return what can be done with queues and limits."""
        return AsyncLimits(self)

    @property
    def schedules(self) -> AsyncSchedules[AsyncJob]:
        """Return what can be done with schedules."""
        return AsyncSchedules(self, AsyncJob, self._own)

    async def submit(
        self, handler: str, data: Any = None, *, key: str | None = None, **options: Unpack[Options]
    ) -> AsyncJob:
        """Submit a job for a handler; when this returns, the job is stored durably. As `Client.submit`."""
        return await self._one(calls.submit(body_of(options, handler=handler, data=data), new_key(key), AsyncJob))

    async def submit_script(
        self,
        script: str,
        variables: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        **options: Unpack[Options],
    ) -> AsyncJob:
        """Submit a bash script; `{{name}}` in it becomes the quoted variable of that name."""
        body = body_of(options, script=script, variables=texts(variables))
        return await self._one(calls.submit(body, new_key(key), AsyncJob))

    async def submit_image(
        self, image: str, arguments: Sequence[str] = (), *, key: str | None = None, **options: Unpack[Options]
    ) -> AsyncJob:
        """Submit a container image, run with these arguments. As `Client.submit_image`."""
        body = body_of(options, image=image, args=list(arguments) or None)
        return await self._one(calls.submit(body, new_key(key), AsyncJob))

    async def submit_many(self, items: Iterable[Mapping[str, Any]], *, key: str | None = None) -> list[AsyncJob]:
        """Submit up to 10,000 jobs, all or none. As `Client.submit_many`."""
        page = await self.call(calls.submit_many([body_of_item(item) for item in items], new_key(key), AsyncJob))
        return [self._own(job) for job in page.items]

    async def get(self, job: JobId) -> AsyncJob:
        """Read a job. Raises NotFound."""
        return await self._one(calls.get(job_id(job), AsyncJob))

    async def jobs(self, **filters: Unpack[Filters]) -> AsyncIterator[AsyncJob]:
        """Read the jobs that all filters hold for, the newest first, page by page as they are asked for."""
        async for job in self.walk(calls.job_pages(filters, AsyncJob)):
            yield self._own(job)

    async def wait(self, job: JobId, timeout: float | None = None) -> AsyncJob:  # noqa: ASYNC109
        """Wait until a job is over, however it ends. Raises TimeoutError after `timeout` seconds; the job goes on."""
        patience = Patience(job_id(job), timeout, time.monotonic)
        while True:
            found = await self._one(calls.get(patience.job, AsyncJob, patience.next_wait_s()))
            if found.over:
                return found

    async def abort(self, job: JobId, wait: float = 0.0) -> AsyncJob:
        """Stop a job. With `wait`, hold on up to so many seconds until it has ended. Raises Conflict if it was over."""
        return await self._one(calls.abort(job_id(job), wait, AsyncJob))

    async def retry(self, job: JobId) -> AsyncJob:
        """Run a job that is over again; the new job's `retry_of` names the old. Raises Conflict."""
        return await self._one(calls.retry(job_id(job), new_key(), AsyncJob))

    async def edit(self, job: JobId, **changes: Unpack[Changes]) -> AsyncJob:
        """Change the priority, time or queue of a job that has not started. Raises Conflict."""
        return await self._one(calls.edit(job_id(job), changes_of(changes), AsyncJob))

    async def attempts(self, job: JobId) -> list[Attempt]:
        """Read a job's tries, the first one first."""
        return (await self.call(calls.attempts(job_id(job)))).items

    async def events(self, job: JobId) -> list[Event]:
        """Read what happened to a job, in order."""
        return [event async for event in self.walk(calls.events(job_id(job), Event))]

    def follow(
        self, *, after: int | None = None, owner: str | None = None, job: JobId | None = None
    ) -> AsyncIterator[Event]:
        """Listen to all events, from the one after `after` on (else from now), for ever; reconnects by itself."""
        return self.listen(calls.follow_events(after, owner, None if job is None else job_id(job), Event))

    async def logs(self, job: JobId, *, follow: bool = False, attempt: int | None = None) -> AsyncIterator[Log]:
        """Read a job's output, of all attempts or of one; with `follow`, wait for more until the job is over."""
        if follow:
            async for log in self.listen(calls.follow_logs(job_id(job), attempt, Log)):
                yield log
            return
        async for log in self.walk(calls.logs(job_id(job), attempt, Log)):
            yield log

    async def results(
        self, job: JobId, *, after: int | None = None, failed: bool = False, follow: bool = True
    ) -> AsyncIterator[Result]:
        """Read what became of an array's inputs, in their order. As `Client.results`."""
        if not follow:
            async for line in self.listen(calls.results(job_id(job), after=after, failed=failed)):
                yield line
            return
        waited = Waited(job_id(job), after=after, failed=failed)
        while not waited.over:
            if waited.ready(await self.call(waited.look())):
                async for line in self.listen(waited.lines):
                    yield line

    async def explain(self, job: JobId) -> Explanation:
        """Ask why a job is not running."""
        return await self.call(calls.explain(job_id(job), Explanation))

    async def workers(self) -> list[Worker]:
        """List the workers that are alive."""
        return (await self.call(calls.workers(Page[Worker]))).items

    async def drain(self, worker: str) -> None:
        """Tell a worker to claim no more, finish what it runs, and leave. Raises NotFound."""
        await self.call(calls.drain(worker))

    async def stats(self) -> dict[str, Any]:
        """Read counts and rates."""
        return await self.call(calls.stats(dict[str, Any]))

    async def send(self, request: Request) -> Reply:
        """Send a request as it is, trying again as any call does, and return the reply. Raises ServerUnreachable."""
        tried = 0
        while True:
            tried += 1
            try:
                outcome: Reply | ServerUnreachable = await self._servers.send(request)
            except ServerUnreachable as lost:
                outcome = lost
            pause = self._retrying.pause_s(outcome, tried, self._jitter())
            if pause is not None:
                await self._sleep(pause)
            elif isinstance(outcome, ServerUnreachable):
                raise outcome
            else:
                return outcome

    async def call(self, call: Call[T]) -> T:
        """Send a call and read its answer. Raises what the answer's problem means, or ServerUnreachable."""
        return call.read(await self.send(call.request))

    async def walk(self, pages: Pages[T]) -> AsyncIterator[T]:
        """Send a listing's calls, a page when it is asked for."""
        while pages.more:
            for item in pages.take(await self.call(pages.call())):
                yield item

    async def listen(self, stream: Stream[T]) -> AsyncIterator[T]:
        """Read a stream until its end, opening it again where it breaks."""
        while True:
            try:
                async with self._servers.stream(stream.request()) as (status, pieces):
                    if status >= 400:
                        raise error_of(status, b"".join([piece async for piece in pieces]))
                    async for piece in pieces:
                        for item in stream.feed(piece):
                            yield item
                stream.closed()
            except (ServerUnreachable, Unavailable) as lost:
                stream.broke(lost, self._retrying.tries)
            if stream.ended:
                return
            await self._sleep(stream.pause_s(self._jitter()))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._servers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _one(self, call: Call[AsyncJob]) -> AsyncJob:
        return self._own(await self.call(call))

    def _own(self, job: AsyncJob) -> AsyncJob:
        job.__dict__["client"] = self
        return job
