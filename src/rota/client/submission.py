"""From the arguments of `submit` to the body of `POST /v1/jobs`; for both colours of the client."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypedDict

import msgspec

from rota.client.views import JobFields
from rota.core.arrays import MAX_INPUT_BYTES, MAX_INPUTS
from rota.core.errors import Invalid, TooLarge
from rota.core.jobs import OnConflict, Pull
from rota.core.retry import Backoff

Duration = float | str | timedelta
JobId = str | JobFields


class Options(TypedDict, total=False):
    """What may be said of any job. What is left out takes the handler's default, then Rota's.

    `delay` and `timeout` are seconds, texts like `1h30m`, or timedeltas; `at` is a datetime or an RFC 3339 text (one
    without a zone is read in the server's zone). `after` names jobs that must succeed first, or says as `{"job": ID,
    "on": "failed"}` on which end of each this one waits; `join` how many of them must come about. `retries` is how many
    failures are forgiven. `key` makes repeated submissions one: give what is unique to the work.

    `needs` are labels that the job's worker must have (`rota worker --label gpu=true`), `slots` is how many of its slots the
    job takes. `limit_key` is what the job is limited by together with the others of that key (`rota limit set key:acme
    --concurrency 5`); places in it, like `{customer}`, are filled from its data.

    At most one job of an owner has a `unique_key`: while it is not over, or for as long as `unique_for` says, from its
    submission. `on_conflict` is what becomes of the next one: `reject` (raises KeyTaken), `existing` (the job that has the key
    is returned), `replace` (that one is canceled, if it waits).

    `inputs` makes the job an array: any iterable of JSON values (up to 1,000,000), or a text, whose lines they are. At most
    `parallel` of them run at once, and `halt` says when the rest is left (`soon,fail=10`, `now,success=1`, `soon,fail=5%`).
    `secrets` names variables whose values the job's worker has (`ROTA_SECRET_NAME`): nobody else is told, and they are hidden
    in what it writes. `env`, `secrets` and `limits` (`memory`, `cpu`, `processes`, `files`, `output`; texts like `512M`) are
    for scripts and images; `pull` (when to get the image), `network` (which one, instead of none) and the limit `cpus` for
    images alone. `traceparent` names the span that submits the job, in place of the one that OpenTelemetry has active.
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
    after: JobId | Iterable[JobId | Mapping[str, Any]]
    join: str | Mapping[str, int]
    hook: str
    labels: Mapping[str, str]
    inputs: Iterable[Any]
    parallel: int
    halt: str
    env: Mapping[str, str]
    secrets: Sequence[str]
    limits: Mapping[str, int | float | str]
    pull: Pull
    network: str
    needs: Mapping[str, str | bool | int | float]
    limit_key: str
    slots: int
    unique_key: str
    unique_for: Duration
    on_conflict: OnConflict
    traceparent: str


class Changes(TypedDict, total=False):
    """What may be changed of a job that has not started."""

    priority: int
    at: datetime | str
    delay: Duration
    queue: str


_NAMES = {"at": "run_at"}
_DURATIONS = frozenset({"delay", "jitter", "timeout", "grace", "unique_for"})
_AT_ONCE = 4096  # inputs that are written together


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
        body[_NAMES.get(name, name)] = plain(name, value)
    return body


def body_of_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON members of one of `submit_many`'s items."""
    rest = dict(item)
    kind = {
        name: rest.pop(name, None) for name in ("handler", "script", "command", "image", "data", "variables", "ref")
    }
    return body_of(rest, **kind)  # type: ignore[arg-type]  # body_of checks the names


def changes_of(changes: Changes) -> dict[str, Any]:
    """Return the JSON members of an edit."""
    return {_NAMES.get(name, name): plain(name, value) for name, value in changes.items()}


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


def inputs_of(values: Iterable[Any]) -> tuple[msgspec.Raw, int]:
    """Write the inputs of an array as a JSON list, as they come, and count them. Raises Invalid, TooLarge."""
    rest = iter(values)
    text = bytearray(b"[")
    count = 0
    while some := list(islice(rest, _AT_ONCE)):
        count += len(some)
        text += encode(some)[1:-1]
        text += b","
        if count > MAX_INPUTS:
            raise TooLarge("inputs", MAX_INPUTS, f"inputs: there are more than {MAX_INPUTS:,}; submit several arrays")
        if len(text) > MAX_INPUT_BYTES:
            raise TooLarge(
                "inputs", MAX_INPUT_BYTES, f"inputs: they are more than {MAX_INPUT_BYTES >> 20} MiB together"
            )
    text[max(len(text) - 1, 1) :] = b"]"  # in place of the last comma
    return msgspec.Raw(text), count


def plain(name: str, value: Any) -> Any:
    """Return an argument as JSON can hold it."""
    if name == "inputs" and not isinstance(value, str):
        return inputs_of(value)[0]
    if isinstance(value, timedelta) and name in _DURATIONS:
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    if name == "after":
        several = [value] if isinstance(value, str | JobFields) else value
        return [one if isinstance(one, Mapping) else job_id(one) for one in several]
    return value


def job_id(job: JobId) -> str:
    """Return the id of a job or of its handle."""
    return job.id if isinstance(job, JobFields) else job
