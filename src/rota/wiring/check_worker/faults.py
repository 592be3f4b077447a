"""What stands between a worker and the server: records every call, and does to some of them what networks and servers do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

REGISTER, CLAIM, HEARTBEAT, WATCH, REPORT, LOGS, LEAVE = (
    "register", "claim", "heartbeat", "watch", "report", "logs", "leave",
)  # fmt: skip
VERBS = (REGISTER, CLAIM, HEARTBEAT, WATCH, REPORT, LOGS, LEAVE)
_ROOT = "/v1/workers"
_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", b"application/problem+json")


@dataclass
class Answer:
    """A reply, whole."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def value(self) -> Any:
        """Return the body's JSON; None when it is none."""
        return _decoded(self.body)


@dataclass
class Call:
    """One request as it came (Unix time), and what became of it. `answer` is what the worker was given."""

    at: float
    verb: str
    worker: str
    body: Any
    done: Answer | None = None  # what the server did and answered, even if the worker never heard of it
    answer: Answer | None = None
    fault: str = ""


class Exchange:
    """A request on its way: what a fault may do with it."""

    def __init__(self, call: Call, body: bytes, *, scope: Scope, receive: Receive, send: Send, app: ASGIApp) -> None:
        self.call = call
        self.body = body
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send

    async def work(self) -> Answer | None:
        """Let the server do what is asked, and return its reply; None when the worker has gone away meanwhile."""
        status, headers, parts = 0, [], []
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if asked:
                return await self._receive()
            asked = True
            return {"type": "http.request", "body": self.body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], list(message.get("headers", []))
            else:
                parts.append(message.get("body", b""))

        headers_in = [(n, v) for n, v in self._scope["headers"] if n not in (b"content-length", b"transfer-encoding")]
        length = (b"content-length", str(len(self.body)).encode())
        await self._app({**self._scope, "headers": [*headers_in, length]}, receive, send)
        if not status:
            return None
        self.call.done = Answer(status, headers, b"".join(parts))
        return self.call.done

    async def worked(self) -> Answer | None:
        """Return the server's reply; let it do what is asked unless it has."""
        return self.call.done or await self.work()

    async def reply(self, answer: Answer | None) -> None:
        """Give the worker this reply."""
        if answer is None:
            return
        self.call.answer = answer
        headers = [(name, value) for name, value in answer.headers if name != b"content-length"]
        if answer.status != 204:
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": answer.body})

    async def cut(self) -> None:
        """Break the connection: the worker gets no reply, and does not learn whether the server did what was asked."""
        self._scope["extensions"]["rota.abort"]()
        await self._receive()


Act = Callable[[Exchange], Awaitable[None]]
When = Callable[[Answer], bool]


@dataclass(eq=False)
class Fault:
    """A fault that waits for its calls. `left` is how many more it happens to; None is all until it is taken away.

    With `when` the server does the work first, and the fault happens only to replies for which it holds. `late`: it
    happens to the replies of calls too that were under way when it came.
    """

    name: str
    verbs: frozenset[str]
    act: Act
    left: int | None
    when: When | None
    late: bool
    happened: int = 0

    def suits(self, answer: Answer | None) -> bool:
        """Say whether it may happen now: None is before the server works."""
        if answer is None:
            return self.when is None
        return self.late if self.when is None else self.when(answer)

    def strike(self) -> bool:
        """Say whether it happens once more, and count it."""
        if self.left == 0:
            return False
        if self.left is not None:
            self.left -= 1
        self.happened += 1
        return True


class Faults:
    """An ASGI application in front of the edge. Calls that are no worker's pass."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.calls: list[Call] = []
        self._faults: list[Fault] = []
        self._gates: list[asyncio.Event] = []

    def put(
        self,
        name: str,
        act: Act,
        *verbs: str,
        times: int | None = 1,
        when: When | None = None,
        late: bool = False,
    ) -> Fault:
        """Let the next `times` calls of these verbs (of all, if none is named) suffer a fault."""
        fault = Fault(name, frozenset(verbs or VERBS), act, times, when, late)
        self._faults.append(fault)
        return fault

    def take(self, fault: Fault) -> None:
        """End a fault; what hangs in it is cut."""
        if fault in self._faults:
            self._faults.remove(fault)
        self._open()

    def clear(self) -> None:
        """End all faults."""
        self._faults.clear()
        self._open()

    def _open(self) -> None:
        for gate in self._gates:
            gate.set()
        self._gates.clear()

    def gate(self) -> asyncio.Event:
        """Return an event that is set when what hangs is to go on."""
        gate = asyncio.Event()
        self._gates.append(gate)
        return gate

    def of(self, verb: str) -> list[Call]:
        """Return the calls of a verb."""
        return [call for call in self.calls if call.verb == verb]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or not."""
        assert self.app is not None, "it stands in front of an application"
        verb, worker = _verb(scope["method"], scope["path"])
        if not verb:
            return await self.app(scope, receive, send)
        body = await _body(receive)
        if body is None:
            return None
        call = Call(time.time(), verb, worker, _decoded(body))
        self.calls.append(call)
        exchange = Exchange(call, body, scope=scope, receive=receive, send=send, app=self.app)
        fault = self._strike(verb, None)
        if fault is None:
            fault = self._strike(verb, await exchange.worked())  # of faults that came while it was at work too
        if fault is None:
            return await exchange.reply(call.done)
        call.fault = fault.name
        return await fault.act(exchange)

    def _strike(self, verb: str, answer: Answer | None) -> Fault | None:
        """Return the fault that happens to a call of this verb: before the server works, or to its answer."""
        for fault in self._faults:
            if verb in fault.verbs and fault.suits(answer) and fault.strike():
                return fault
        return None


async def cut_reply(exchange: Exchange) -> None:
    """The server does the work, and its reply is lost."""
    await exchange.worked()
    await exchange.cut()


async def drop(exchange: Exchange) -> None:
    """The request is lost: the server does nothing, the connection breaks."""
    await exchange.cut()


def hang(faults: Faults) -> Act:
    """The request is lost, and the connection stays: no answer ever comes, until the fault is taken away."""

    async def act(exchange: Exchange) -> None:
        await faults.gate().wait()
        await exchange.cut()

    return act


def refuse(status: int) -> Act:
    """The server has a bad moment: it does nothing and says so."""

    async def act(exchange: Exchange) -> None:
        problem = {"type": "about:blank", "title": "A bad moment", "status": status, "detail": "rota check-worker"}
        headers = [_PROBLEM, (b"retry-after", b"1")] if status == 503 else [_PROBLEM]
        await exchange.reply(Answer(status, headers, json.dumps(problem).encode()))

    return act


def slow(seconds: float) -> Act:
    """The server does the work, and its reply takes its time."""

    async def act(exchange: Exchange) -> None:
        answer = await exchange.work()
        await asyncio.sleep(seconds)
        await exchange.reply(answer)

    return act


async def twice(exchange: Exchange) -> None:
    """Something on the way sends the request a second time; the worker gets the second reply."""
    await exchange.work()
    await exchange.reply(await exchange.work())


def held(gate: asyncio.Event) -> Act:
    """The server does the work, and its reply arrives when the gate opens."""

    async def act(exchange: Exchange) -> None:
        answer = await exchange.worked()
        await gate.wait()
        await exchange.reply(answer)

    return act


async def shorten(exchange: Exchange) -> None:
    """Long polls end with nothing after a quarter of a second: a proxy's time is up, say."""
    body = _decoded(exchange.body)
    if isinstance(body, dict) and "wait" in body:
        exchange.body = json.dumps({**body, "wait": min(body["wait"], 0.25)}).encode()
    await exchange.reply(await exchange.work())


async def enrich(exchange: Exchange) -> None:
    """A later server: every object of its replies has members that no worker knows."""
    answer = await exchange.work()
    if answer is not None and isinstance(answer.value, dict):
        answer = Answer(answer.status, [_JSON], json.dumps(_richer(answer.value)).encode())
    await exchange.reply(answer)


def _richer(answer: dict[str, Any]) -> dict[str, Any]:
    """Add members to an answer and to the objects of its lists."""
    more = {"x_later": {"worker": "no", "leases": [1]}}
    return more | {
        name: [more | item if isinstance(item, dict) else item for item in value] if isinstance(value, list) else value
        for name, value in answer.items()
    }


def _verb(method: str, path: str) -> tuple[str, str]:
    """Return a request's verb and its worker's id; an empty verb when it is none of the protocol."""
    root, _, rest = path.partition(_ROOT)
    worker, _, verb = rest.removeprefix("/").partition("/")
    if root or not path.startswith(_ROOT):
        return "", ""
    if method == "POST" and not worker:
        return REGISTER, ""
    if method == "DELETE" and not verb:
        return LEAVE, worker
    return (verb, worker) if method == "POST" and verb in VERBS else ("", "")


async def _body(receive: Receive) -> bytes | None:
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
