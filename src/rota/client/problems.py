"""From a server's problem (RFC 9457), or from silence, to an exception."""

from __future__ import annotations

from msgspec import DecodeError, Struct

from rota.client.decoders import decoder_of
from rota.core.errors import (
    Conflict,
    InFlight,
    Invalid,
    KeyReused,
    KeyTaken,
    NotFound,
    QuotaFull,
    RotaError,
    TooLarge,
    Unavailable,
)

TYPE_PREFIX = "urn:rota:problem:"


class ServerUnreachable(RotaError, ConnectionError):
    """No server answered: none is there, or the reply was lost. The text says what to do next."""

    code = "unreachable"


class NobodyThere(ServerUnreachable):
    """No connection could be made, so nothing was sent."""


class JobFailed(RotaError):
    """A result was asked of a job that has none, because it failed, was aborted or was canceled.

    `job` is the job's id; `state`, `reason` and `message` tell the rest.
    """

    code = "job-failed"

    def __init__(self, job: str, state: str, reason: str | None, message: str | None) -> None:
        text = f"job {job} {state}" if state == "failed" else f"job {job} was {state}"
        super().__init__(text + (f" ({reason})" if reason else "") + (f": {message}" if message else ""))
        self.job = job
        self.state = state
        self.reason = reason
        self.message = message


class Refused(RotaError):
    """The server refused a request for a reason that has no exception of its own; `status` is the HTTP status."""

    code = "refused"

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Problem(Struct):
    """A problem's members. What is no problem document at all (a proxy's page) reads as an empty one."""

    type: str = ""
    title: str = ""
    detail: str = ""
    field: str | None = None
    limit: str | None = None
    allowed: int | None = None
    used: int | None = None
    state: str | None = None
    job: str | None = None

    @property
    def code(self) -> str:
        """Return the stable end of `type`."""
        return self.type.removeprefix(TYPE_PREFIX)


def read_problem(body: bytes) -> Problem:
    """Decode a problem; never raises."""
    try:
        return decoder_of(Problem).decode(body)  # type: ignore[no-any-return]
    except (DecodeError, UnicodeDecodeError):
        return Problem()


def error_of(status: int, body: bytes) -> RotaError:
    """Return the exception that a reply with an error status means."""
    problem = read_problem(body)
    text = problem.detail or problem.title or f"the server answered {status}"
    match problem.code:
        case NotFound.code | "no-such-route":  # ids with a slash in them are no ids
            return NotFound(text)
        case InFlight.code:
            return InFlight(text, problem.state)
        case KeyTaken.code:
            return KeyTaken(text, problem.job or "", problem.state)
        case Conflict.code:
            return Conflict(text, problem.state)
        case KeyReused.code:
            return KeyReused(text)
        case QuotaFull.code:
            return QuotaFull(text, problem.limit or "", problem.allowed or 0, problem.used or 0)
        case TooLarge.code:
            return TooLarge(problem.limit or "", problem.allowed or 0, text)
        case Invalid.code:
            field = problem.field or ""
            return Invalid(field, text.removeprefix(f"{field}: "))
        case Unavailable.code:
            return Unavailable(text)
    if status in {429, 502, 503, 504}:  # a proxy between us, or a server that is starting or stopping
        return Unavailable(text)
    return Refused(status, text, problem.code or Refused.code)
