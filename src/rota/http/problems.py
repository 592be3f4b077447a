"""From an error to an RFC 9457 problem: the one table of codes and statuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from rota.core.errors import Conflict, Invalid, KeyTaken, QuotaFull, RotaError, TooLarge
from rota.http.replies import Headers, Reply, json_reply

MEDIA = "application/problem+json"
PREFIX = "urn:rota:problem:"

# code: (status, title). The codes are stable, programs match them; titles are for people.
PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed-json": (400, "The body is not JSON"),
    "unauthorized": (401, "A token is required"),
    "foreign-origin": (403, "Web pages from elsewhere may not use this server"),
    "forbidden": (403, "The token does not allow it"),
    "not-found": (404, "There is no such thing"),
    "no-such-route": (404, "There is no such route"),
    "method-not-allowed": (405, "The route does not take this method"),
    "conflict": (409, "The state of the thing forbids it"),
    "unique-key-taken": (409, "Another job has the unique key"),
    "in-flight": (409, "The same request is being worked on"),
    "too-large": (413, "A limit is exceeded"),
    "unsupported-media-type": (415, "The body's type is not JSON"),
    "misdirected": (421, "This server does not answer to that name"),
    "invalid": (422, "The input is wrong"),
    "idempotency-key-reused": (422, "The Idempotency-Key came with another body before"),
    "quota-full": (429, "A quota of the owner is used up"),
    "too-many-requests": (429, "The token has made too many requests"),
    "internal": (500, "The server has a fault"),
    "unavailable": (503, "The store cannot be used now"),
    "store-in-use": (503, "Another process owns the store"),
    "store-too-new": (503, "A later version wrote the store"),
}
_AGAIN = (b"retry-after", b"1")


class Problem(Struct, kw_only=True, omit_defaults=True):
    """Why a request failed (RFC 9457).

    `field` is the part of the input that is wrong, `limit` the name of the limit that was exceeded, `allowed` what it
    allows, `used` how much of it is used, `state` the state of the job that forbids what was asked, `job` the id of the job
    that has the unique key.
    """

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    limit: str | None = None
    allowed: int | None = None
    used: int | None = None
    state: str | None = None
    job: str | None = None


class Refusal(RotaError):
    """The edge itself refuses a request; `code` is one of the table, `field` the header that is wrong."""

    def __init__(self, code: str, detail: str, *, field: str | None = None, headers: Headers | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.field = field
        self.headers = headers


def problem_of(error: RotaError) -> Problem:
    """Describe an error."""
    status, title = PROBLEMS.get(error.code, PROBLEMS["internal"])
    problem = Problem(type=PREFIX + error.code, title=title, status=status, detail=str(error))
    match error:
        case Invalid() | Refusal():
            problem.field = error.field
        case TooLarge():
            problem.limit, problem.allowed = error.limit, error.allowed
        case QuotaFull():
            problem.limit, problem.allowed, problem.used = error.limit, error.allowed, error.used
        case Conflict():
            problem.state = error.state
            problem.job = error.job if isinstance(error, KeyTaken) else None
    return problem


class Refusals(Struct, frozen=True, kw_only=True):
    """How a family of routes words its errors: as `view`, which `render` makes of a problem.

    `media` are the types of such answers, JSON first; `invalid` is the status of wrong input, `malformed` of a body that is
    not JSON. Each of the four older APIs has its own.
    """

    view: type[Any]
    render: Callable[[Problem], Any]
    media: tuple[str, ...] = ("application/json",)
    invalid: int = 400
    malformed: int = 400

    def reply(self, error: RotaError) -> Reply:
        """Answer with an error."""
        problem = problem_of(error)
        if problem.status == PROBLEMS["invalid"][0]:
            problem.status = self.invalid
        elif error.code == "malformed-json":
            problem.status = self.malformed
        headers = list(error.headers or ()) if isinstance(error, Refusal) else []
        if problem.status == 503 or error.code == "in-flight":
            headers.append(_AGAIN)
        if problem.status == 413:  # what is left of the body is not read
            headers.append((b"connection", b"close"))
        reply = json_reply(self.render(problem), problem.status, headers)
        reply.media = self.media[0].encode()
        return reply


PLAIN = Refusals(view=Problem, render=lambda problem: problem, media=(MEDIA,), invalid=PROBLEMS["invalid"][0])


def problem_reply(error: RotaError) -> Reply:
    """Answer with an error, as a problem."""
    return PLAIN.reply(error)


def internal_fault() -> Refusal:
    """Return what a client hears of a fault of the server: that there is one. The log says which."""
    return Refusal("internal", "see the server's log")
