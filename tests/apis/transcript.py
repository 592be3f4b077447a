"""Reads transcripts of conversations with a server, and has them again.

    ! --workers 1                        arguments for `rota serve`; `! NAME=VALUE` is a variable of its environment
    # a comment
    > POST /job                          a request: its line, its headers, an empty line, its body
    > content-type: application/json
    >
    > {"job_name": "JOB_A", "date": "30s"}
    < 200                                the answer: status, the headers that matter, an empty line, the whole body
    < content-type: application/json
    <
    < {"message": "job JOB_A with id <<job>> will be scheduled to run in 30s"}

`>~` asks again and again until it is answered so. JSON is compared as JSON, members in their order, whatever its spaces;
an answer without a body is written without the last two lines, and one whose body is written as `…` may have any. A
header's value of `-` says that the header is not there.

`<<name>>` stands for an id: any the first time, the same from then on, in requests too. `<<name:date>>`, `<<name:time>>`
(RFC 3339) and `<<name:text>>` (anything) are as that; `<<:date>>` has no name and is each time any.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

PATIENCE_S = 20.0
KINDS = {
    "id": r"[0-9A-Za-z-]+",
    "date": r"[0-9]{2}-[0-9]{2}-[0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}",
    "time": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z",
    "text": r".*",
}
_PLACE = re.compile(r"<<(\w*)(?::(\w+))?>>")


class Differs(AssertionError):
    """The server answers otherwise than the transcript says."""


@dataclass
class Message:
    """A request or an answer as it is written: what is in its first line, its headers, its body."""

    first: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str | None = None

    def take(self, text: str) -> None:
        """Read one more line."""
        if not self.first:
            self.first = text
        elif self.body is not None:
            self.body += text + "\n"
        elif not text:
            self.body = ""
        else:
            name, _, value = text.partition(": ")
            self.headers.append((name.lower(), value))


@dataclass
class Exchange:
    """A request, the answer, and whether it is repeated until it comes."""

    line: int
    until: bool
    request: Message = field(default_factory=Message)
    answer: Message = field(default_factory=Message)


@dataclass
class Transcript:
    """A whole conversation."""

    arguments: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)


def read(path: Path) -> Transcript:
    """Read a transcript. Raises ValueError for a line that is none."""
    found = Transcript()
    answered = True
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        mark, text = line[:1], line[1:].removeprefix("~").removeprefix(" ")
        if mark == ">":
            if answered:
                found.exchanges.append(Exchange(number, line.startswith(">~")))
                answered = False
            found.exchanges[-1].request.take(text)
        elif mark == "<":
            answered = True
            found.exchanges[-1].answer.take(text)
        elif mark == "!":
            name, equals, value = text.partition("=")
            if equals and not name.startswith("-"):
                found.environment[name] = value
            else:
                found.arguments += text.split()
        elif line and mark != "#":
            raise ValueError(f"{path.name}, line {number}: {line}")
    return found


class Player:
    """Has a conversation with the server at `url`; `known` are the values of the names that it has met."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=60, verify=False)
        self.known: dict[str, str] = {}

    def play(self, transcript: Transcript) -> None:
        """Ask and compare. Raises Differs."""
        with self._client:
            for exchange in transcript.exchanges:
                self._have(exchange)

    def _have(self, exchange: Exchange) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self._ask(exchange.request)
            try:
                return self._compare(answer, exchange.answer)
            except Differs as differs:
                if not exchange.until or time.monotonic() > deadline:
                    differs.add_note(f"line {exchange.line}: {exchange.request.first}")
                    raise
            time.sleep(0.02)

    def _ask(self, request: Message) -> httpx.Response:
        method, _, target = self._filled(request.first).partition(" ")
        headers = [(name, self._filled(value)) for name, value in request.headers]
        body = self._filled(request.body or "").removesuffix("\n")
        if any(value.startswith("multipart/") for _, value in headers):
            body = body.replace("\n", "\r\n") + "\r\n"
        return self._client.request(method, target, headers=headers, content=body.encode() if body else None)

    def _compare(self, answer: httpx.Response, wanted: Message) -> None:
        meets = dict(self.known)
        if str(answer.status_code) != wanted.first:
            raise Differs(f"{answer.status_code}, not {wanted.first}: {answer.text}")
        for name, value in wanted.headers:
            has = answer.headers.get(name, "-")
            if not _matches(value, has, meets):
                raise Differs(f"{name}: {has}, not {value}")
        body = (wanted.body or "").removesuffix("\n")
        if body != "…" and not _matches(_canonical(body), _canonical(answer.text), meets):
            raise Differs(f"\n{_canonical(answer.text)}\nis not\n{_canonical(body)}\nwith {meets}")
        self.known = meets

    def _filled(self, text: str) -> str:
        return _PLACE.sub(lambda place: self.known[place[1]], text)


def _canonical(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return text


def _matches(wanted: str, has: str, known: dict[str, str]) -> bool:
    """Say whether a text is what was written, and note what its placeholders stand for."""
    pattern, at = "", 0
    named: dict[str, str] = {}
    for place in _PLACE.finditer(wanted):
        pattern += re.escape(wanted[at : place.start()])
        at = place.end()
        name, kind = place[1], KINDS[place[2] or "id"]
        if name in known:
            pattern += re.escape(known[name])
        elif name in named:
            pattern += f"(?P={name})"
        elif name:
            named[name] = kind
            pattern += f"(?P<{name}>{kind})"
        else:
            pattern += kind
    found = re.fullmatch(pattern + re.escape(wanted[at:]), has, re.DOTALL)
    if found is not None:
        known |= found.groupdict()
    return found is not None
