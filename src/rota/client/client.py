"""The SDK: `Client` blocks, `AsyncClient` (async_client.py) is awaited. What they send and read is in calls.py."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeVar, Unpack, overload

from rota.client import calls
from rota.client.calls import Call, Filters, Pages, Patience, Waited
from rota.client.limits import Limits
from rota.client.owners import Owners
from rota.client.problems import ServerUnreachable, error_of
from rota.client.retrying import TRIES, Retrying
from rota.client.runs import Runs
from rota.client.schedules import Schedules
from rota.client.servers import Servers
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
from rota.client.transport import Reply, Request, Transport
from rota.client.views import Attempt, Event, Explanation, JobFields, Log, Result, Worker
from rota.core.errors import Unavailable
from rota.core.wire import Page
from rota.settings import load

T = TypeVar("T")


class Job(JobFields, dict=True, eq=False):
    """A job, and what can be done with it. Its attributes are as of the last answer; `refresh` and `wait` renew them."""

    @property
    def client(self) -> Client:
        """Return the client that the job came from."""
        return self.__dict__["client"]  # type: ignore[no-any-return]  # no field: it is not part of the JSON

    def refresh(self) -> Self:
        """Read the job again."""
        self.take(self.client.get(self))
        return self

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until the job is over, however it ends. Raises TimeoutError after `timeout` seconds; the job goes on."""
        self.take(self.client.wait(self, timeout))
        return self

    @overload
    def get_result(self, timeout: float | None = None) -> Any: ...
    @overload
    def get_result(self, timeout: float | None = None, *, type: type[T]) -> T: ...

    def get_result(self, timeout: float | None = None, *, type: Any = None) -> Any:
        """Wait, and return the result; with `type`, as one of that: whatever msgspec decodes into.

        Raises JobFailed when there is none, TimeoutError after `timeout` seconds, Invalid when it is nothing of that type.
        """
        if not self.over:
            self.wait(timeout)
        return self.outcome(type)

    def abort(self, wait: float = 0.0) -> Self:
        """Stop the job; with `wait`, hold on up to so many seconds until it has ended. Raises Conflict if it was over."""
        self.take(self.client.abort(self, wait))
        return self

    def retry(self) -> Job:
        """Run the job, which must be over, again as a new job. Raises Conflict."""
        return self.client.retry(self)

    def edit(self, **changes: Unpack[Changes]) -> Self:
        """Change a job that has not started. Raises Conflict."""
        self.take(self.client.edit(self, **changes))
        return self

    def logs(self, *, follow: bool = False) -> Iterator[Log]:
        """Read the job's output; with `follow`, until the job is over."""
        return self.client.logs(self, follow=follow)

    def results(self, *, after: int | None = None, failed: bool = False, follow: bool = True) -> Iterator[Result]:
        """Read what became of an array's inputs, in their order. As `Client.results`."""
        return self.client.results(self, after=after, failed=failed, follow=follow)


class Client:
    """A blocking client; threads may share one, and a forked child may go on using it.

    `url` is `http://…`, `unix:/path` or a store's URL (whose owner is asked); without one, ROTA_SERVER or rota.toml
    says, else http://127.0.0.1:8000. `timeout` is how many seconds one try may take; `ca_file`
    has the certificates that vouch for an `https://…` server, in place of the system's. A call is tried up to `tries` times
    while the server cannot be reached or says that it is busy: about 15 s in all.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        timeout: float | None = None,
        *,
        ca_file: str | None = None,
        tries: int = TRIES,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        settings = load({"server": url, "token": token, "timeout_s": timeout, "ca_file": ca_file})
        self._servers = Servers(
            settings.server_url,
            partial(Transport, token=settings.token, timeout_s=settings.timeout_s, ca_file=settings.ca_file),
        )
        self._retrying = Retrying(tries)
        self._sleep = sleep
        self._jitter = jitter

    @property
    def runs(self) -> Runs[Job]:
        """Return what can be done with runs, and submit a `Flow` as one."""
        return Runs(self, lambda filters: self.jobs(**filters))

    @property
    def owners(self) -> Owners:
        """Return what can be done with owners."""
        return Owners(self)

    @property
    def limits(self) -> Limits:
        """Return what can be done with queues and limits."""
        return Limits(self)

    @property
    def schedules(self) -> Schedules[Job]:
        """Return what can be done with schedules."""
        return Schedules(self, Job, self._own)

    def submit(self, handler: str, data: Any = None, *, key: str | None = None, **options: Unpack[Options]) -> Job:
        """Submit a job for a handler; when this returns, the job is stored durably.

        An object as `data` gives keyword arguments, anything else is the one positional argument; `args` come before.
        With `inputs` the job is an array: the handler is called for each of them.
        Submissions with the same `key` (kept for 24 hours) make one job. Raises Invalid, KeyReused, ServerUnreachable.
        """
        return self._one(calls.submit(body_of(options, handler=handler, data=data), new_key(key), Job))

    def submit_script(
        self,
        script: str,
        variables: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        **options: Unpack[Options],
    ) -> Job:
        """Submit a bash script; `{{name}}` in it becomes the quoted variable of that name. Otherwise as `submit`."""
        body = body_of(options, script=script, variables=texts(variables))
        return self._one(calls.submit(body, new_key(key), Job))

    def submit_image(
        self, image: str, arguments: Sequence[str] = (), *, key: str | None = None, **options: Unpack[Options]
    ) -> Job:
        """Submit a container image, run with these arguments, or as it is by default; otherwise as `submit`.

        With `inputs` the job is an array: a container for each, which is the last argument.
        """
        body = body_of(options, image=image, args=list(arguments) or None)
        return self._one(calls.submit(body, new_key(key), Job))

    def submit_many(self, items: Iterable[Mapping[str, Any]], *, key: str | None = None) -> list[Job]:
        """Submit up to 10,000 jobs, all or none; an item holds `submit`'s arguments by name.

        Items may carry a `ref`, a name of their own, that others of the call name in `after`.
        """
        page = self.call(calls.submit_many([body_of_item(item) for item in items], new_key(key), Job))
        return [self._own(job) for job in page.items]

    def get(self, job: JobId) -> Job:
        """Read a job. Raises NotFound."""
        return self._one(calls.get(job_id(job), Job))

    def jobs(self, **filters: Unpack[Filters]) -> Iterator[Job]:
        """Read the jobs that all filters hold for, the newest first, page by page as they are asked for."""
        return map(self._own, self.walk(calls.job_pages(filters, Job)))

    def wait(self, job: JobId, timeout: float | None = None) -> Job:
        """Wait until a job is over, however it ends. Raises TimeoutError after `timeout` seconds; the job goes on."""
        patience = Patience(job_id(job), timeout, time.monotonic)
        while True:
            found = self._one(calls.get(patience.job, Job, patience.next_wait_s()))
            if found.over:
                return found

    def abort(self, job: JobId, wait: float = 0.0) -> Job:
        """Stop a job: cancel it if it does not run. With `wait`, hold on up to so many seconds until it has ended.

        Raises Conflict, whose `state` says how it ended, when the job was over.
        """
        return self._one(calls.abort(job_id(job), wait, Job))

    def retry(self, job: JobId) -> Job:
        """Run a job that is over again; the new job's `retry_of` names the old. Raises Conflict."""
        return self._one(calls.retry(job_id(job), new_key(), Job))

    def edit(self, job: JobId, **changes: Unpack[Changes]) -> Job:
        """Change the priority, time or queue of a job that has not started. Raises Conflict."""
        return self._one(calls.edit(job_id(job), changes_of(changes), Job))

    def attempts(self, job: JobId) -> list[Attempt]:
        """Read a job's tries, the first one first."""
        return self.call(calls.attempts(job_id(job))).items

    def events(self, job: JobId) -> list[Event]:
        """Read what happened to a job, in order."""
        return list(self.walk(calls.events(job_id(job), Event)))

    def follow(
        self, *, after: int | None = None, owner: str | None = None, job: JobId | None = None
    ) -> Iterator[Event]:
        """Listen to all events, from the one after `after` on (else from now), for ever; reconnects by itself."""
        return self.listen(calls.follow_events(after, owner, None if job is None else job_id(job), Event))

    def logs(self, job: JobId, *, follow: bool = False, attempt: int | None = None) -> Iterator[Log]:
        """Read a job's output, of all attempts or of one; with `follow`, wait for more until the job is over."""
        if follow:
            return self.listen(calls.follow_logs(job_id(job), attempt, Log))
        return self.walk(calls.logs(job_id(job), attempt, Log))

    def results(
        self, job: JobId, *, after: int | None = None, failed: bool = False, follow: bool = True
    ) -> Iterator[Result]:
        """Read what became of an array's inputs, in their order; `failed`: only of those that did not succeed.

        `after` is the index of the last one that is known already. Waits for more until the array is over, unless `follow`
        is False. What breaks is resumed where it broke.
        """
        if not follow:
            yield from self.listen(calls.results(job_id(job), after=after, failed=failed))
            return
        waited = Waited(job_id(job), after=after, failed=failed)
        while not waited.over:
            if waited.ready(self.call(waited.look())):
                yield from self.listen(waited.lines)

    def explain(self, job: JobId) -> Explanation:
        """Ask why a job is not running."""
        return self.call(calls.explain(job_id(job), Explanation))

    def workers(self) -> list[Worker]:
        """List the workers that are alive."""
        return self.call(calls.workers(Page[Worker])).items

    def drain(self, worker: str) -> None:
        """Tell a worker to claim no more, finish what it runs, and leave. Raises NotFound."""
        self.call(calls.drain(worker))

    def stats(self) -> dict[str, Any]:
        """Read counts and rates."""
        return self.call(calls.stats(dict[str, Any]))

    def send(self, request: Request) -> Reply:
        """Send a request as it is, trying again as any call does, and return the reply. Raises ServerUnreachable."""
        tried = 0
        while True:
            tried += 1
            try:
                outcome: Reply | ServerUnreachable = self._servers.send(request)
            except ServerUnreachable as lost:
                outcome = lost
            pause = self._retrying.pause_s(outcome, tried, self._jitter())
            if pause is not None:
                self._sleep(pause)
            elif isinstance(outcome, ServerUnreachable):
                raise outcome
            else:
                return outcome

    def call(self, call: Call[T]) -> T:
        """Send a call and read its answer. Raises what the answer's problem means, or ServerUnreachable."""
        return call.read(self.send(call.request))

    def walk(self, pages: Pages[T]) -> Iterator[T]:
        """Send a listing's calls, a page when it is asked for."""
        while pages.more:
            yield from pages.take(self.call(pages.call()))

    def listen(self, stream: Stream[T]) -> Iterator[T]:
        """Read a stream until its end, opening it again where it breaks."""
        while True:
            try:
                with self._servers.stream(stream.request()) as (status, pieces):
                    if status >= 400:
                        raise error_of(status, b"".join(pieces))
                    for piece in pieces:
                        yield from stream.feed(piece)
                stream.closed()
            except (ServerUnreachable, Unavailable) as lost:
                stream.broke(lost, self._retrying.tries)
            if stream.ended:
                return
            self._sleep(stream.pause_s(self._jitter()))

    def close(self) -> None:
        """Close the connections."""
        self._servers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _one(self, call: Call[Job]) -> Job:
        return self._own(self.call(call))

    def _own(self, job: Job) -> Job:
        job.__dict__["client"] = self
        return job
