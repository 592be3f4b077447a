"""From the arguments of `submit` to the body of `POST /v1/jobs`; for both colours of the client."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypedDict

import msgspec

from rota.client.views import JobFields
from rota.core.errors import Invalid
from rota.core.retry import Backoff

Duration = float | str | timedelta
JobId = str | JobFields


class Options(TypedDict, total=False):
    """What may be said of any job. What is left out takes the handler's default, then Rota's.

    `delay` and `timeout` are seconds, texts like `1h30m`, or timedeltas; `at` is a datetime or an RFC 3339 text (one
    without a zone is read in the server's zone). `after` names jobs that must succeed first. `retries` is how many
    failures are forgiven. `key` makes repeated submissions one: give what is unique to the work.
    """

    args: Sequence[Any]
    delay: Duration
    at: datetime | str
    owner: str
    queue: str
    priority: int
    timeout: Duration
    grace: Duration
    retries: int
    backoff: Backoff | Mapping[str, float]
    after: JobId | Iterable[JobId]
    hook: str
    labels: Mapping[str, str]


class Changes(TypedDict, total=False):
    """What may be changed of a job that has not started."""

    priority: int
    at: datetime | str
    delay: Duration
    queue: str


_NAMES = {"at": "run_at"}
_DURATIONS = frozenset({"delay", "timeout", "grace"})


def body_of(options: Options, **kind: Any) -> dict[str, Any]:
    """Return the JSON members of a submission; those whose value is None are left out."""
    body = {name: value for name, value in kind.items() if value is not None}
    for name, value in options.items():
        if value is None:
            continue
        if name not in Options.__optional_keys__:
            raise TypeError(
                f"submit() has no argument {name!r}; it takes {', '.join(sorted(Options.__optional_keys__))}"
            )
        body[_NAMES.get(name, name)] = _plain(name, value)
    return body


def body_of_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON members of one of `submit_many`'s items."""
    rest = dict(item)
    kind = {name: rest.pop(name, None) for name in ("handler", "script", "data", "variables", "ref")}
    return body_of(rest, **kind)  # type: ignore[arg-type]  # body_of checks the names


def changes_of(changes: Changes) -> dict[str, Any]:
    """Return the JSON members of an edit."""
    return {_NAMES.get(name, name): _plain(name, value) for name, value in changes.items()}


def texts(variables: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return a script's variables as the texts that they are put in as."""
    return None if variables is None else {name: str(value) for name, value in variables.items()}


def new_key(key: str | None = None) -> str:
    """Return the Idempotency-Key to send: the caller's, or one for this call alone."""
    return key if key is not None else str(uuid.uuid4())


def encode(value: Any) -> bytes:
    """Write JSON. Raises Invalid for what JSON cannot hold."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as wrong:  # ValueError: half a surrogate pair
        raise Invalid("data", f"is not JSON: {wrong}") from None


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, timedelta) and name in _DURATIONS:
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    if name == "after":
        return [job_id(one) for one in ([value] if isinstance(value, str | JobFields) else value)]
    return value


def job_id(job: JobId) -> str:
    """Return the id of a job or of its handle."""
    return job.id if isinstance(job, JobFields) else job
