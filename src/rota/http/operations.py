"""An operation is one line of a route table: where it is found, what it takes, what it answers, and its function.

The tables in `routes` are the only description of the API; requests are dispatched by it, and OpenAPI is made of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct, field
from starlette.types import Message, Receive, Scope, Send

from rota import log
from rota.core.access import Caller, Who
from rota.core.errors import NotFound, RotaError
from rota.core.traces import read_traceparent, trace_of
from rota.http.gate import Gate, unauthorized
from rota.http.metrics import Metrics
from rota.http.parsing import decode, idempotency_key, list_fields, parse_query, read_body
from rota.http.problems import PLAIN, PROBLEMS, Refusal, Refusals, internal_fault
from rota.http.replies import Reply, Stream, json_reply
from rota.http.waiting import ClientGone, while_connected
from rota.service.access import JobsFor, PullFor, WorkFor
from rota.service.service import Service
from rota.service.sharing import Shared
from rota.store.protocol import NewAudit

B = TypeVar("B")
Q = TypeVar("Q")
T = TypeVar("T")

BODY_LIMIT = 4 << 20  # what one submission needs at most: data, args and script of 1 MiB each
BATCH_LIMIT = 64 << 20
MAX_WAIT_S = 60.0
STALL_S = 30.0  # a client that reads nothing of a stream for so long is let go; it resumes where it was
FORBIDDEN = PROBLEMS["forbidden"][0]
_CONVERTOR = re.compile(r":\w+}")
_log = log.get("http")


class NoBody(Struct, frozen=True, forbid_unknown_fields=True):
    """An empty object; no body at all means the same."""


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class AnyQuery(Struct, frozen=True):
    """No parameters; others are ignored."""


class PageQuery(Struct, frozen=True):
    """Parameters that the page's own script reads: the server does not look at them."""


class Edge(Struct, frozen=True):
    """What all requests share. `description` returns the OpenAPI document; the first time that takes a tenth of a second.
    `shared` are answers that many wait for.
    """

    service: Service
    gate: Gate
    metrics: Metrics
    own_workers: int
    description: Callable[[], bytes]
    shared: Shared[bytes] = field(default_factory=Shared)


class Call(Generic[Q, B]):
    """One request, parsed. `id` is the path's parameter; `target` is what the trail says it was about; `jobs`, `work`
    and `pull` are the service as its caller sees it.
    """

    __slots__ = ("_receive", "body", "caller", "edge", "headers", "id", "jobs", "query", "scope", "service", "target")

    def __init__(self, edge: Edge, scope: Scope, receive: Receive, headers: dict[bytes, bytes], caller: Caller) -> None:
        self.edge = edge
        self.service = edge.service
        self.caller = caller
        self.target: str = next(iter(scope["path_params"].values()), "")
        self.jobs = JobsFor(edge.service.jobs, caller, traceparent(headers))
        self.scope = scope
        self.headers = headers
        self.id: str = next(iter(scope["path_params"].values()), "")
        self._receive = receive
        self.query: Q
        self.body: B

    @property
    def traceparent(self) -> str | None:
        """Return the header that names the client's span."""
        return traceparent(self.headers)

    @property
    def work(self) -> WorkFor:
        """Return the work queue, as the caller sees it."""
        return WorkFor(self.service.work, self.caller)

    @property
    def pull(self) -> PullFor:
        """Return API C's tasks and workers, as the caller sees them."""
        return PullFor(self.service.pull, self.jobs, self.caller)

    @property
    def key(self) -> str | None:
        """Return the Idempotency-Key. Raises Invalid."""
        return idempotency_key(self.headers.get(b"idempotency-key"))

    def accepts(self, media: str) -> bool:
        """Say whether the client asks for this media type by its name."""
        offered = self.headers.get(b"accept", b"").decode("latin-1").split(",")
        return any(part.partition(";")[0].strip() == media for part in offered)

    async def shared(self, look: Callable[[], Awaitable[Any]]) -> Reply:
        """Answer with what `look` returns, as JSON. All who ask the same meanwhile, and may see the same, get one answer."""

        async def answer() -> bytes:
            return json_reply(await look()).body

        asked = self.scope["path"], self.scope["query_string"], self.caller.role, self.caller.owner
        return Reply(200, await self.edge.shared.get(asked, answer))

    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work that may take a while. Raises ClientGone when nobody waits for it any more, or may."""
        return await while_connected(self._receive, work, self.service.tokens.ended(self.caller))


Function = Callable[[Call[Q, B]], Awaitable[Reply | Stream]]


def traceparent(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the header that names the client's span. One that makes no sense is passed over, as its convention asks."""
    named = headers.get(b"traceparent")
    return None if named is None else named.decode("latin-1")


def _log_fault(scope: Scope) -> None:
    """Log the exception that is being handled, with the client's trace if it has one."""
    named = read_traceparent(traceparent(dict(scope["headers"])) or "")
    trace = {} if named is None else {"trace": trace_of(named)}
    _log.exception("request_failed", method=scope["method"], path=scope["path"], **trace)


class Operation(Struct, Generic[Q, B], frozen=True, kw_only=True):
    """One line of a route table.

    `answers` are the statuses of success, each with the type of its JSON (or None, or several types); `media` are other
    types that it can answer with; `problems` the statuses that it may fail with, beyond those that every operation has.
    `takes` are the types of its body, which may be left out if it is `optional`; `who` may use it, and with `audited` the
    trail says that a worker did; `parse` replaces the body's decoder (it is given the content type too). `texts` refuses NUL
    characters in the body, `named` those in the name that its path has. `refusals` words its errors.
    """

    method: str
    path: str
    function: Function[Q, B]
    summary: str
    tag: str
    who: Who
    audited: bool = False
    query: type[Q]
    body: type[B]
    answers: dict[int, Any]
    media: tuple[str, ...] = ()
    problems: tuple[int, ...] = ()
    keyed: bool = False
    limit: int = BODY_LIMIT
    texts: bool = True
    named: bool = True
    takes: tuple[str, ...] = ("application/json",)
    optional: bool = False
    parse: Callable[[bytes, bytes], B] | None = None
    refusals: Refusals = PLAIN

    @property
    def takes_body(self) -> bool:
        """Say whether a body means something."""
        return self.method not in ("GET", "DELETE") or self.body is not NoBody

    @property
    def is_audited(self) -> bool:
        """Say whether the trail tells of it: of all that changes something, but for the work of workers."""
        return self.audited or (self.method != "GET" and self.who in (Who.OWNERS, Who.ADMINS, Who.KEEPERS))

    @property
    def shown_path(self) -> str:
        """Return the path as people read it, without the types of its parameters."""
        return _CONVERTOR.sub("}", self.path)


class Resource:
    """All operations of one path, as an ASGI application."""

    def __init__(self, edge: Edge, operations: Sequence[Operation[Any, Any]]) -> None:
        self._runs = {operation.method: _Run(edge, operation) for operation in operations}
        if "GET" in self._runs:
            self._runs["HEAD"] = self._runs["GET"]
        self._allow = ", ".join(sorted(self._runs)).encode()
        self._refusals = operations[0].refusals
        self._metrics = edge.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens."""
        run = self._runs.get(scope["method"])
        refusals = run.refusals if run is not None else self._refusals
        try:
            if run is None:
                message = f"{scope['path']} takes {self._allow.decode()}"
                raise Refusal("method-not-allowed", message, headers=[(b"allow", self._allow)])
            reply = await run.answer(scope, receive)
        except ClientGone as gone:
            if not gone.over:
                return
            reply = refusals.reply(unauthorized("the token is revoked, or has expired"))
        except RotaError as error:
            reply = refusals.reply(error)
        except Exception:
            self._metrics.request_failed()
            _log_fault(scope)
            reply = refusals.reply(internal_fault())
        if isinstance(reply, Reply):
            await reply.send(send)
        else:
            await _send_stream(reply, scope, receive, send)


class _Run:
    """An operation with its decoders, made once."""

    def __init__(self, edge: Edge, operation: Operation[Any, Any]) -> None:
        self._edge = edge
        self._operation = operation
        self._decoder = msgspec.json.Decoder(operation.body).decode
        self._lists = list_fields(operation.query)
        self._no_query = operation.query()
        self._takes_body = operation.takes_body
        self.refusals = operation.refusals

    async def answer(self, scope: Scope, receive: Receive) -> Reply | Stream:
        """Let the caller in, or not; do what is asked; note it. Raises RotaError, ClientGone."""
        edge, operation = self._edge, self._operation
        headers: dict[bytes, bytes] = dict(scope["headers"])
        caller = await edge.gate.identify(scope, headers.get(b"authorization"), operation.who)
        call: Call[Any, Any] = Call(edge, scope, receive, headers, caller)
        try:
            edge.gate.check(caller, operation.who)
            reply = await self._do(call, scope, receive, headers)
        except RotaError as error:
            self._note(call, self.refusals.reply(error).status)
            raise
        if isinstance(reply, Reply):
            self._note(call, reply.status)
        else:
            reply.over = edge.service.tokens.ended(caller)
        return reply

    async def _do(
        self, call: Call[Any, Any], scope: Scope, receive: Receive, headers: dict[bytes, bytes]
    ) -> Reply | Stream:
        operation = self._operation
        if operation.named and "\0" in call.id:  # not every store could even look for it
            raise NotFound("not found: nothing has a name with a NUL character")
        query = b"" if operation.query is PageQuery else scope["query_string"]
        call.query = parse_query(query, operation.query, self._lists) if query else self._no_query
        if self._takes_body or b"content-length" in headers or b"transfer-encoding" in headers:
            body = await read_body(receive, int(headers.get(b"content-length", 0)), operation.limit)
            if self._takes_body:
                call.body = self._parse(body, headers.get(b"content-type", b""))
        else:
            await receive()  # the empty body; what follows is the end of the connection
        return await operation.function(call)

    def _note(self, call: Call[Any, Any], status: int) -> None:
        """Let the trail say what was done with a token, or was refused to it."""
        caller, operation = call.caller, self._operation
        told = caller.token is not None or operation.who is Who.KEEPERS
        if told and (operation.is_audited or status == FORBIDDEN):
            client = call.scope.get("client")
            action = f"{operation.tag}.{operation.function.__name__}"
            self._edge.service.audit.note(
                NewAudit(
                    caller.token, caller.role, caller.owner, client[0] if client else "", action, call.target, status
                )
            )

    def _parse(self, body: bytes, content_type: bytes) -> Any:
        operation = self._operation
        if not body and (operation.optional or operation.body is NoBody):
            return operation.body()
        if operation.parse is not None:
            parse = operation.parse
            return decode(lambda body: parse(body, content_type), body, texts=operation.texts)
        return decode(self._decoder, body, texts=operation.texts)


async def _send_stream(stream: Stream, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a stream's parts until it ends, its client goes away or reads nothing for too long, or its token is over."""
    async with aclosing(stream.chunks) as chunks:  # type: ignore[type-var]
        await stream.begin(send)
        if scope["method"] != "HEAD":
            try:
                await while_connected(receive, _pump(chunks, send), stream.over)
            except ClientGone as gone:
                if not gone.over:
                    return
            except TimeoutError:
                scope["extensions"]["rota.abort"]()
                await receive()  # the end of the connection
                return
            except Exception:
                _log_fault(scope)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _pump(chunks: Any, send: Send) -> None:
    async for chunk in chunks:
        message: Message = {"type": "http.response.body", "body": chunk, "more_body": True}
        async with asyncio.timeout(STALL_S):
            await send(message)
