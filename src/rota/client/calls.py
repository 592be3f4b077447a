"""Every call to a server as a value: the request, and how to read its answer. Pure; both clients send these.

Parameters that are types say what an answer is read as: Job, AsyncJob, or Raw for those who only pass it on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote, urlencode

from msgspec import DecodeError, Raw, Struct

from rota import tracing
from rota.client.decoders import decoder_of
from rota.client.problems import ServerUnreachable, error_of
from rota.client.streams import Following, Lines
from rota.client.submission import encode
from rota.client.transport import Reply, Request
from rota.client.views import Attempt, JobFields, Result
from rota.core.errors import Invalid
from rota.core.owners import Owner, ShareView
from rota.core.wire import Page

T = TypeVar("T")

MAX_PAGE = 1000
MAX_WAIT_S = 50.0  # less than the 60 s after which proxies give up
_RESULTS_AGAIN_S = 1.0  # how long the end of an array is waited for when its results have stopped to come
_KEY_BYTES = frozenset(map(chr, range(0x21, 0x7F)))


class Filters(TypedDict, total=False):
    """What a listing is narrowed by; all of it must hold. `limit` bounds how many jobs are read in all."""

    state: str | Sequence[str]
    owner: str
    queue: str
    handler: str
    labels: Mapping[str, str]
    run: str
    after_time: datetime | str
    before_time: datetime | str
    limit: int


class Call(Struct, Generic[T], frozen=True):
    """A request and the type of its answer."""

    request: Request
    answer: Any

    def read(self, reply: Reply) -> T:
        """Return the decoded answer, or raise what the problem means."""
        if reply.status >= 400:
            raise error_of(reply.status, reply.body)
        if self.answer is None:
            return None  # type: ignore[return-value]
        try:
            return decoder_of(self.answer).decode(reply.body)  # type: ignore[no-any-return]
        except DecodeError as wrong:
            raise ServerUnreachable(f"what answered is no Rota server of this version ({wrong})") from None


def submit(body: Mapping[str, Any], key: str, job: type[T]) -> Call[T]:
    """Submit one job."""
    return Call(submission("/v1/jobs", key, encode(body)), job)


def dry_run(body: Mapping[str, Any], key: str | None, told: type[T]) -> Call[T]:
    """Ask what would become of a job, and submit none."""
    key = None if key is None else _key(key)
    return Call(Request(method="POST", path="/v1/jobs?dry_run=true", body=encode(body), key=key), told)


def submit_many(bodies: list[dict[str, Any]], key: str, job: type[T]) -> Call[Page[T]]:
    """Submit many jobs, all or none."""
    return Call(submission("/v1/jobs/bulk", key, encode(bodies)), Page[job])  # type: ignore[valid-type]


def submission(path: str, key: str, body: bytes | None = None) -> Request:
    """Return a request that may be sent again with the same key, and is done once."""
    return Request(method="POST", path=path, body=body, key=_key(key), traceparent=tracing.current())


def get(id: str, job: type[T], wait_s: float = 0.0) -> Call[T]:
    """Read a job; with `wait_s`, when it is over or so many seconds later."""
    return Call(Request(method="GET", path=_job(id, query={"wait": wait_text(wait_s)}), wait_s=wait_s), job)


def find(filters: Filters, cursor: str | None, limit: int, page: type[T]) -> Call[T]:
    """Read a page of jobs, the newest first."""
    query: dict[str, Any] = {name: value for name, value in filters.items() if name not in {"labels", "limit"}}
    query["label"] = [f"{name}={value}" for name, value in filters.get("labels", {}).items()]
    query |= {"limit": limit, "cursor": cursor}
    return Call(Request(method="GET", path="/v1/jobs" + query_text(query)), page)


def job_pages(filters: Filters, job: type[T]) -> Pages[T]:
    """Walk the jobs that all filters hold for, the newest first."""
    return Pages(lambda cursor, limit: find(filters, cursor, limit, Page[job]), filters.get("limit"))  # type: ignore[valid-type]


def abort(id: str, wait_s: float, job: type[T]) -> Call[T]:
    """Stop a job; with `wait_s`, hear of it when it has ended or so many seconds later."""
    return Call(Request(method="POST", path=_job(id, "abort", {"wait": wait_text(wait_s)}), wait_s=wait_s), job)


def retry(id: str, key: str, job: type[T]) -> Call[T]:
    """Run a job that is over again, as a new job."""
    return Call(submission(_job(id, "retry"), key), job)


def edit(id: str, changes: Mapping[str, Any], job: type[T]) -> Call[T]:
    """Change a job that has not started."""
    return Call(Request(method="PATCH", path=_job(id), body=encode(changes)), job)


def add_token(new: Mapping[str, Any]) -> Call[Raw]:
    """Make a token."""
    return Call(Request(method="POST", path="/v1/tokens", body=encode(new)), Raw)


def tokens() -> Call[Raw]:
    """List the tokens."""
    return Call(Request(method="GET", path="/v1/tokens"), Raw)


def revoke_token(id: str) -> Call[Raw]:
    """End a token."""
    return Call(Request(method="DELETE", path=f"/v1/tokens/{quote(id, safe='')}"), Raw)


def audit(limit: int, token: str | None) -> Call[Raw]:
    """Read a page of the audit trail, the newest first."""
    return Call(Request(method="GET", path="/v1/audit" + query_text({"limit": limit, "token": token})), Raw)


def owner_pages() -> Pages[Owner]:
    """Walk the owners, by name."""

    def ask(cursor: str | None, limit: int) -> Call[Page[Owner]]:
        return Call(
            Request(method="GET", path="/v1/owners" + query_text({"cursor": cursor, "limit": limit})), Page[Owner]
        )

    return Pages(ask)


def owner(owner: str) -> Call[Owner]:
    """Read what is set for an owner."""
    return Call(Request(method="GET", path=_owner(owner)), Owner)


def edit_owner(owner: str, changes: Mapping[str, Any]) -> Call[Owner]:
    """Set an owner's weight or limits."""
    return Call(Request(method="PATCH", path=_owner(owner), body=encode(changes)), Owner)


def owner_share(owner: str) -> Call[ShareView]:
    """Read what an owner gets and uses."""
    return Call(Request(method="GET", path=_owner(owner) + "/share"), ShareView)


def queues(page: type[T]) -> Call[T]:
    """List the queues."""
    return Call(Request(method="GET", path="/v1/queues"), page)


def queue(name: str, queue: type[T]) -> Call[T]:
    """Read a queue."""
    return Call(Request(method="GET", path=f"/v1/queues/{quote(name, safe='')}"), queue)


def queue_action(name: str, action: str, queue: type[T]) -> Call[T]:
    """Pause or resume a queue."""
    return Call(Request(method="POST", path=f"/v1/queues/{quote(name, safe='')}/{action}"), queue)


def edit_queue(name: str, setting: Mapping[str, Any], queue: type[T]) -> Call[T]:
    """Set what a queue may use."""
    return Call(Request(method="PATCH", path=f"/v1/queues/{quote(name, safe='')}", body=encode(setting)), queue)


def limits(page: type[T]) -> Call[T]:
    """List the limits."""
    return Call(Request(method="GET", path="/v1/limits"), page)


def set_limit(kind: str, name: str, setting: Mapping[str, Any]) -> Call[None]:
    """Set a limit."""
    return Call(Request(method="PUT", path=_limit(kind, name), body=encode(setting)), None)


def remove_limit(kind: str, name: str) -> Call[None]:
    """Take a limit away."""
    return Call(Request(method="DELETE", path=_limit(kind, name)), None)


def _limit(kind: str, name: str) -> str:
    return f"/v1/limits/{quote(kind, safe='')}/{quote(name, safe='')}"


def add_schedule(new: Mapping[str, Any], schedule: type[T]) -> Call[T]:
    """Make a schedule."""
    return Call(Request(method="POST", path="/v1/schedules", body=encode(new)), schedule)


def deploy_schedules(deploy: Mapping[str, Any]) -> Call[Raw]:
    """Bring the schedules of an app in line with its code."""
    return Call(Request(method="POST", path="/v1/schedules/deploy", body=encode(deploy)), Raw)


def schedule_pages(owner: str | None, schedule: type[T]) -> Pages[T]:
    """Walk the schedules, the oldest first."""

    def ask(cursor: str | None, limit: int) -> Call[Page[T]]:
        path = "/v1/schedules" + query_text({"owner": owner, "cursor": cursor, "limit": limit})
        return Call(Request(method="GET", path=path), Page[schedule])  # type: ignore[valid-type]

    return Pages(ask)


def schedule(which: str, schedule: type[T]) -> Call[T]:
    """Read a schedule."""
    return Call(Request(method="GET", path=_schedule(which)), schedule)


def edit_schedule(which: str, changes: Mapping[str, Any], schedule: type[T]) -> Call[T]:
    """Change a schedule."""
    return Call(Request(method="PATCH", path=_schedule(which), body=encode(changes)), schedule)


def remove_schedule(which: str) -> Call[None]:
    """Remove a schedule."""
    return Call(Request(method="DELETE", path=_schedule(which)), None)


def schedule_action(which: str, action: str, answer: type[T]) -> Call[T]:
    """Pause or resume a schedule, or run it now (the answer is a job then)."""
    return Call(Request(method="POST", path=_schedule(which, action)), answer)


def preview_schedule(which: str, n: int, slots: type[T]) -> Call[T]:
    """Read when a schedule fires next."""
    return Call(Request(method="GET", path=_schedule(which, "preview", {"n": n})), slots)


def preview_rule(timing: Mapping[str, Any], n: int, slots: type[T]) -> Call[T]:
    """Read when a rule would fire."""
    return Call(Request(method="POST", path="/v1/schedules/preview" + query_text({"n": n}), body=encode(timing)), slots)


def firings(which: str, limit: int, page: type[T]) -> Call[T]:
    """Read what became of a schedule's last slots."""
    return Call(Request(method="GET", path=_schedule(which, "firings", {"limit": limit})), page)


class Pages(Generic[T]):
    """Walks a listing: says what to ask next, and takes the answers. `limit` bounds the items in all."""

    def __init__(self, ask: Callable[[str | None, int], Call[Page[T]]], limit: int | None = None) -> None:
        self._ask = ask
        self._left = limit
        self._cursor: str | None = None
        self.more = limit is None or limit > 0

    def call(self) -> Call[Page[T]]:
        """Return the call for the next page."""
        return self._ask(self._cursor, MAX_PAGE if self._left is None else min(self._left, MAX_PAGE))

    def take(self, page: Page[T]) -> list[T]:
        """Return a page's items."""
        self._cursor = page.next
        if self._left is not None:
            self._left -= len(page.items)
        self.more = page.next is not None and self._left != 0
        return page.items


class Waited:
    """When the results of an array are read that are waited for to its end: an answer that began after it has them all.

    A server that stops ends its answers too, so the end of one says nothing. Those that failed are read at the end only.
    """

    def __init__(self, id: str, *, after: int | None, failed: bool) -> None:
        self.lines = results(id, after=after, failed=failed, follow=not failed)
        self.over = False
        self._id = id
        self._failed = failed
        self._wait_s = 0.0

    def look(self) -> Call[JobFields]:
        """Ask where the array stands."""
        return get(self._id, JobFields, self._wait_s)

    def ready(self, job: JobFields) -> bool:
        """Say whether results are to be read now, of an array that stands so."""
        self.over = job.over
        self._wait_s = MAX_WAIT_S if self._failed else _RESULTS_AGAIN_S
        return self.over or not self._failed


class Patience:
    """How long to go on waiting for a job, or for `what` it is."""

    def __init__(self, job: str, timeout_s: float | None, clock: Callable[[], float], what: str = "job") -> None:
        self.job = job
        self._what = what
        self._timeout_s = timeout_s
        self._clock = clock
        self._deadline = None if timeout_s is None else clock() + timeout_s
        self._asked = False

    def next_wait_s(self) -> float:
        """Return how long the next poll may wait. Raises TimeoutError when time is up; the first poll is always made."""
        if self._deadline is None:
            return MAX_WAIT_S
        left = self._deadline - self._clock()
        if left <= 0 and self._asked:
            raise TimeoutError(f"{self._what} {self.job} is not over after {self._timeout_s:g} s; it goes on")
        self._asked = True
        return min(max(left, 0.0), MAX_WAIT_S)


def attempts(id: str) -> Call[Page[Attempt]]:
    """Read a job's tries."""
    return Call(Request(method="GET", path=_job(id, "attempts")), Page[Attempt])


def events(id: str, event: type[T]) -> Pages[T]:
    """Walk a job's history."""

    def ask(cursor: str | None, limit: int) -> Call[Page[T]]:
        path = _job(id, "events", {"after": cursor, "limit": limit})
        return Call(Request(method="GET", path=path), Page[event])  # type: ignore[valid-type]

    return Pages(ask)


def logs(id: str, attempt: int | None, log: type[T]) -> Pages[T]:
    """Walk a job's output."""

    def ask(cursor: str | None, limit: int) -> Call[Page[T]]:
        path = _job(id, "logs", {"attempt": attempt, "after": cursor, "limit": limit})
        return Call(Request(method="GET", path=path), Page[log])  # type: ignore[valid-type]

    return Pages(ask)


def explain(id: str, explanation: type[T]) -> Call[T]:
    """Ask why a job is not running."""
    return Call(Request(method="GET", path=_job(id, "explain")), explanation)


def workers(page: type[T]) -> Call[T]:
    """List the workers."""
    return Call(Request(method="GET", path="/v1/workers"), page)


def drain(worker: str) -> Call[None]:
    """Tell a worker to finish what it runs, and leave."""
    return Call(Request(method="POST", path=f"/v1/workers/{quote(worker, safe='')}/drain"), None)


def stats(counts: type[T]) -> Call[T]:
    """Read counts and rates."""
    return Call(Request(method="GET", path="/v1/stats"), counts)


def follow_events(after: int | None, owner: str | None, job: str | None, event: type[T]) -> Following[T]:
    """Listen to events, from the one after `after` on, or from now."""
    last = None if after is None else str(after)
    path = "/v1/events" + query_text({"owner": owner, "job": job})
    return Following(Request(method="GET", path=path, accept="text/event-stream", last_event=last), event)


def follow_logs(id: str, attempt: int | None, log: type[T]) -> Following[T]:
    """Listen to a job's output until the job is over."""
    path = _job(id, "logs", {"follow": "true", "attempt": attempt})
    return Following(Request(method="GET", path=path, accept="text/event-stream"), log)


def results(
    id: str, *, after: int | None, limit: int | None = None, failed: bool = False, follow: bool = False
) -> Lines[Result]:
    """Read what became of an array's inputs, in their order; with `follow`, until the array is over."""

    def ask(last: Result | None) -> Request:
        query = {
            "after": after if last is None else last.index,
            "limit": limit,
            "state": "failed" if failed else None,
            "follow": "true" if follow else None,
        }
        return Request(method="GET", path=_job(id, "results", query), accept="application/x-ndjson")

    return Lines(ask, Result)


def _job(id: str, part: str = "", query: Mapping[str, Any] | None = None) -> str:
    if not id:
        raise Invalid("id", "is empty")
    return f"/v1/jobs/{quote(id, safe='')}" + (f"/{part}" if part else "") + query_text(query or {})


def _owner(owner: str) -> str:
    if not owner:
        raise Invalid("owner", "is empty")
    return f"/v1/owners/{quote(owner, safe='')}"


def _schedule(which: str, part: str = "", query: Mapping[str, Any] | None = None) -> str:
    if not which:
        raise Invalid("schedule", "is empty")
    return f"/v1/schedules/{quote(which, safe='')}" + (f"/{part}" if part else "") + query_text(query or {})


def query_text(parameters: Mapping[str, Any]) -> str:
    """Return parameters as the end of a path; what is None is left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in parameters.items():
        several = value if isinstance(value, list | tuple) else [value]
        pairs += [(name, _text(one)) for one in several if one is not None]
    return "?" + urlencode(pairs) if pairs else ""


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def wait_text(wait_s: float) -> str | None:
    """Return how long the server is to wait, as it is told."""
    return f"{min(wait_s, MAX_WAIT_S):.3f}" if wait_s > 0 else None


def _key(key: str) -> str:
    if not (0 < len(key) <= 255 and _KEY_BYTES.issuperset(key)):
        raise Invalid("key", "is 1 to 255 printable ASCII characters without spaces")
    return key
