"""From what somebody submits to jobs: every limit and every check of a submission, and no I/O."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import tzinfo
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from rota.core import templates
from rota.core.access import DEFAULT_OWNER, LOCAL, Caller
from rota.core.errors import Invalid, KeyTaken, TooLarge
from rota.core.ids import Ids
from rota.core.jobs import (
    ARRAY_LANE,
    DEFAULT_GRACE_S,
    IMAGE_LANE,
    PULL_LANE,
    SCRIPT_LANE,
    Array,
    Failure,
    Job,
    Kind,
    Submission,
)
from rota.core.states import Reason, State
from rota.core.times import SECOND, parse_duration, parse_time
from rota.core.traces import read_traceparent
from rota.service.handlers import NOBODY, Known, check_arguments
from rota.service.run_options import check_array, run_options
from rota.service.signals import Effects
from rota.service.uniques import Wish, take_keys
from rota.store.protocol import Tx

MAX_DATA = 1 << 20
MAX_SCRIPT = 1 << 20
MAX_BULK = 10_000
MAX_AFTER = 1_000
MAX_NAME = 200
MAX_LABELS = 64
MAX_PRIORITY = 1_000_000
MAX_RETRIES = 100_000
PULL_API = "c"  # its tasks are run by whoever pulls them, never by a worker that offers such a handler
TIMED_API = "b"  # its jobs may have any name: one that no handler can have waits, as every unknown one does
MAX_TIMEOUT_S = 366 * 86400.0
_PAST_SLACK = 60 * SECOND  # a clock that is a little wrong is no error; a date in the past is
_OTHER_LANES = (ARRAY_LANE, SCRIPT_LANE, IMAGE_LANE, PULL_LANE)
_NAME = re.compile(r"[^\x00-\x1f\x7f]+")
_TEXT = re.compile(r"[^\x00]*")


Maker = Callable[[Tx, Effects], Awaitable[list[Job]]]


class Upload(Struct, frozen=True):
    """Inputs that lie in the store already, under the name `root`."""

    root: str
    inputs: int


_NO_UPLOADS: Mapping[int, Upload] = {}


class Draft(Struct):
    """A checked submission: a job that lacks only its state, and whom it waits for (ids, or refs of its bulk).

    `wish` is what it wants of its unique key; `stands` is the job that has the key, and stands for this one.
    """

    job: Job
    after: list[str]
    ref: str | None
    wish: Wish | None = None
    stands: str | None = None

    @property
    def id(self) -> str:
        """Return the id of the job that others wait for."""
        return self.stands or self.job.id


async def admit(
    tx: Tx,
    submissions: Sequence[Submission],
    ids: Ids,
    zone: tzinfo,
    effects: Effects,
    *,
    bulk: bool,
    uploads: Mapping[int, Upload] = _NO_UPLOADS,
    api: str | None = None,
    caller: Caller = LOCAL,
    traceparent: str | None = None,
    known: Known = NOBODY,
) -> list[Job]:
    """Return the jobs that these submissions make, in their order, each in its first state; only unique keys are written.

    A job that `existed` has the unique key of a submission, and stands for it.

    `uploads` are the inputs of those that have some, by their number; `api` says through which of the four APIs they
    come; the jobs that `caller` does not see can be waited for by none of them. `traceparent` is the trace of those that name
    none; `known` are the handlers whose arguments are checked. Raises Invalid, TooLarge, KeyTaken. Only the jobs of a `bulk`
    may name each other, by `ref`.
    """
    drafts = [
        draft(s, f"[{at}]." if bulk else "", ids, tx.now, zone, api=api, known=known)
        for at, s in enumerate(submissions)
    ]
    if traceparent is not None:
        for entry in drafts:
            entry.job.traceparent = entry.job.traceparent or traceparent
    for at, upload in uploads.items():
        s = submissions[at]
        drafts[at].job.array = Array(inputs=upload.inputs, parallel=s.parallel, halt=s.halt, root=upload.root)
    if any(entry.wish for entry in drafts):
        await _take_keys(tx, drafts, effects, caller, bulk=bulk)
    outside = resolve(drafts) if bulk else {after for entry in drafts for after in entry.after}
    states = {id_: job.state for id_, job in (await tx.lock_jobs(outside)).items() if caller.sees(job.owner)}
    for at, entry in enumerate(drafts):
        entry.job.after = entry.after
        for after in entry.after:
            if after in outside and after not in states:
                raise Invalid(f"[{at}].after" if bulk else "after", f"there is no job {after!r}")
    for entry in in_order(drafts) if any(entry.after for entry in drafts) else drafts:
        place(entry.job, states, tx.now)
        states[entry.job.id] = entry.job.state
    return [await _standing(tx, entry, drafts) for entry in drafts]


async def _take_keys(tx: Tx, drafts: Sequence[Draft], effects: Effects, caller: Caller, *, bulk: bool) -> None:
    """Take unique keys, and note who stands for whom. Raises KeyTaken."""
    taken = await take_keys(tx, [entry.wish for entry in drafts if entry.wish], effects, by=caller.by)
    for at, entry in enumerate(drafts):
        other = taken.get(entry.job.id)
        if other is not None and not other.stands:
            where = f"[{at}].unique_key" if bulk else "unique_key"
            key = entry.job.unique_key or ""
            raise KeyTaken(f"{where}: {other.sentence(key)}", other.job, other.state)
        entry.stands = None if other is None else other.job


async def _standing(tx: Tx, entry: Draft, drafts: Sequence[Draft]) -> Job:
    """Return a draft's job, or the one that stands for it."""
    if entry.stands is None:
        return entry.job
    job = next((other.job for other in drafts if other.job.id == entry.stands), None)
    job = job or await tx.get_job(entry.stands)
    assert job is not None, "it is locked"
    return replace(job, existed=True)


def draft(
    submission: Submission,
    where: str,
    ids: Ids,
    now: int,
    zone: tzinfo,
    *,
    api: str | None = None,
    known: Known = NOBODY,
) -> Draft:
    """Check a submission. Raises Invalid or TooLarge; `where` comes before the field's name (``[3].``)."""
    s = submission
    kind = _kind_of(s, where, api)
    named = "function" if kind == "pull" else "handler"  # one that is pulled may have a colon in its name
    for field, name in ((named, s.handler), ("owner", s.owner), ("queue", s.queue), ("ref", s.ref)):
        if name is not None:
            check_name(field, name, where, colons=api == TIMED_API)
    if not -MAX_PRIORITY <= s.priority <= MAX_PRIORITY:
        raise Invalid(where + "priority", f"is between -{MAX_PRIORITY} and {MAX_PRIORITY}")
    if s.retries is not None and not 0 <= s.retries <= MAX_RETRIES:
        raise Invalid(where + "retries", f"is between 0 and {MAX_RETRIES}")
    _check_payload(s, where, known if kind == "handler" else NOBODY)
    check_array(s, where)
    _check_labels(s.labels, where)
    if s.hook is not None:
        _check_hook(s.hook, where)
    if len(s.after) > MAX_AFTER:
        raise TooLarge("after", MAX_AFTER, f"{where}after: a job waits for at most {MAX_AFTER} others")
    timeout, grace = _durations(s, where)
    job = Job(
        id=ids.new(now),
        state=State.QUEUED,
        kind=kind,
        handler=s.handler,
        script=s.script if s.command is None else s.command,
        image=s.image,
        options=run_options(s, where),
        api=api,
        data=s.data,
        args=s.args,
        variables=s.variables,
        owner=DEFAULT_OWNER if s.owner is None else s.owner,
        queue=s.queue,
        priority=s.priority,
        labels=s.labels or None,
        run_at=run_at(s.run_at, s.delay, where, now, zone),
        submitted_at=now,
        max_failures=None if s.retries is None else s.retries + 1,
        timeout_s=timeout,
        grace_s=grace,
        backoff=s.backoff,
        hook=s.hook,
        unique_key=s.unique_key,
        traceparent=None if s.traceparent is None else _traceparent(s.traceparent, where),
    )
    return Draft(job=job, after=list(dict.fromkeys(s.after)), ref=s.ref, wish=_wish(s, job, where))


def _wish(s: Submission, job: Job, where: str) -> Wish | None:
    """Return what a submission wants of its unique key. Raises Invalid."""
    if s.unique_key is None:
        for field in ("unique_for", "on_conflict"):
            if getattr(s, field) is not None:
                raise Invalid(where + field, "goes with a unique_key")
        return None
    check_key("unique_key", s.unique_key, where)
    try:
        period = None if s.unique_for is None else parse_duration(s.unique_for)
    except ValueError as error:
        raise Invalid(where + "unique_for", str(error)) from None
    if period is not None and not 0.001 <= period <= MAX_TIMEOUT_S:
        raise Invalid(where + "unique_for", "is more than 0 and at most 366 days")
    return Wish(job, None if period is None else round(period * SECOND), s.on_conflict or "reject")


def check_key(field: str, key: str, where: str) -> None:
    """Raise Invalid unless this can be a key."""
    if len(key) > MAX_NAME or not _is_name(key):
        raise Invalid(where + field, f"is 1 to {MAX_NAME} characters, no control characters")


def _durations(s: Submission, where: str) -> tuple[float | None, float]:
    """Return the timeout and the grace, in seconds."""

    def read(field: str, given: str | float) -> float:
        try:
            return parse_duration(given)
        except ValueError as error:
            raise Invalid(where + field, str(error)) from None

    timeout = None if s.timeout is None else read("timeout", s.timeout)
    if timeout is not None and not 0.001 <= timeout <= MAX_TIMEOUT_S:
        raise Invalid(where + "timeout", "is more than 0 and at most 366 days")
    grace = DEFAULT_GRACE_S if s.grace is None else read("grace", s.grace)
    if grace > 3600:
        raise Invalid(where + "grace", "is at most an hour")
    return timeout, grace


def _kind_of(s: Submission, where: str, api: str | None) -> Kind:
    said = [kind for kind in ("handler", "script", "command", "image") if getattr(s, kind) is not None]
    if len(said) != 1:
        raise Invalid(where + "handler", "exactly one of handler, script, command and image is required")
    return "pull" if api == PULL_API else cast(Kind, said[0])


def check_name(field: str, name: str, where: str, *, colons: bool = False) -> None:
    """Raise Invalid unless this can name a handler, an owner or a queue.

    `colons`: a handler's may have some, though no worker can offer it, but it may not be taken for another lane.
    """
    barred = field == "handler" and (name.startswith(_OTHER_LANES) if colons else ":" in name)
    if barred or len(name) > MAX_NAME or not _is_name(name):
        raise Invalid(where + field, f"is 1 to {MAX_NAME} characters, no control characters; a handler's has no colon")


@lru_cache(maxsize=1024)  # the same few names come again and again
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def run_at(at: str | None, delay: str | float | None, where: str, now: int, zone: tzinfo) -> int:
    """Return when a job is to run. Raises Invalid for both, for nonsense, and for a date in the past."""
    if at is not None and delay is not None:
        raise Invalid(where + "delay", "give run_at or delay, not both")
    try:
        if delay is not None:
            return now + round(parse_duration(delay) * SECOND)
        if at is None:
            return now
        moment = parse_time(at, zone)
    except ValueError as error:
        raise Invalid(where + ("delay" if at is None else "run_at"), str(error)) from None
    if moment < now - _PAST_SLACK:
        raise Invalid(where + "run_at", f"{at} is in the past")
    return moment


def resolve(drafts: Sequence[Draft]) -> set[str]:
    """Replace refs by ids, and return the ids that must exist in the store. Raises Invalid for a ref that comes twice."""
    by_ref: dict[str, Draft] = {}
    for at, entry in enumerate(drafts):
        if entry.ref is not None and by_ref.setdefault(entry.ref, entry) is not entry:
            raise Invalid(f"[{at}].ref", f"{entry.ref!r} is used twice")
    local = {entry.job.id for entry in drafts if entry.stands is None}
    outside: set[str] = set()
    for entry in drafts:
        entry.after = list(dict.fromkeys(by_ref[name].id if name in by_ref else name for name in entry.after))
        outside.update(name for name in entry.after if name not in local)
    return outside


def in_order(drafts: Sequence[Draft]) -> list[Draft]:
    """Return the drafts so that each comes after those it waits for. Raises Invalid, naming the cycle, when none does."""
    local = {entry.job.id: at for at, entry in enumerate(drafts)}
    waits = [[local[after] for after in entry.after if after in local] for entry in drafts]
    dependents: list[list[int]] = [[] for _ in drafts]
    open_ = [len(w) for w in waits]
    for at, afters in enumerate(waits):
        for after in afters:
            dependents[after].append(at)
    ready = [at for at, n in enumerate(open_) if n == 0]
    for at in ready:  # grows while it is walked
        for dependent in dependents[at]:
            open_[dependent] -= 1
            if open_[dependent] == 0:
                ready.append(dependent)
    if len(ready) < len(drafts):
        at = next(i for i, n in enumerate(open_) if n > 0)
        seen: list[int] = []
        while at not in seen:
            seen.append(at)
            at = next(i for i in waits[at] if open_[i] > 0)
        cycle = [drafts[i].ref or drafts[i].job.id for i in [*seen[seen.index(at) :], at]]
        raise Invalid(f"[{at}].after", "the jobs wait for each other: " + " after ".join(cycle))
    return [drafts[at] for at in ready]


def place(job: Job, states: dict[str, State], now: int) -> None:
    """Set the state a new job begins in, from the states of those it waits for; those that succeeded are not waited for."""
    bad = [after for after in job.after if states[after] in (State.FAILED, State.ABORTED, State.CANCELED)]
    job.waiting_for = sum(states[after] is not State.SUCCEEDED for after in job.after)
    if bad:
        job.state, job.finished_at, job.reason = State.CANCELED, now, Reason.DEPENDENCY
        job.error = Failure(type="dependency", message=f"job {bad[0]}, which this one waits for, is {states[bad[0]]}")
    elif job.waiting_for:
        job.state = State.BLOCKED
    else:
        job.state = State.SCHEDULED if job.run_at > now else State.QUEUED


def _check_payload(s: Submission, where: str, known: Known) -> None:
    if len(bytes(s.data)) > MAX_DATA:
        raise TooLarge("data", MAX_DATA, f"{where}data: at most {MAX_DATA} bytes of JSON")
    args = bytes(s.args)
    if len(args) > MAX_DATA:
        raise TooLarge("args", MAX_DATA, f"{where}args: at most {MAX_DATA} bytes of JSON")
    if not args.lstrip().startswith(b"["):
        raise Invalid(where + "args", "is a list")
    check_arguments(s, where, known)
    for field, text in (("script", s.script), ("command", s.command)):
        if text is None:
            continue
        if len(text.encode()) > MAX_SCRIPT:
            raise TooLarge(field, MAX_SCRIPT, f"{where}{field}: at most {MAX_SCRIPT} bytes")
        if not text.strip() or not _TEXT.fullmatch(text):
            raise Invalid(where + field, "is empty, or has a NUL character")
    if s.script is None:
        if s.variables is not None:
            raise Invalid(where + "variables", "go with a script")
        return
    variables = s.variables or {}
    if sum(len(k) + len(v) for k, v in variables.items()) > MAX_DATA:
        raise TooLarge("variables", MAX_DATA, f"{where}variables: at most {MAX_DATA} characters in all")
    for name, value in variables.items():
        if "\0" in name or "\0" in value:
            raise Invalid(where + "variables", "have no NUL characters")
    if broken := templates.unclosed(s.script):
        raise Invalid(
            where + "script", f"the placeholder {broken[:100]!r} has no end; write \\{{{{ for two braces as they are"
        )
    missing = [name for name in templates.names(s.script) if name not in variables]
    if missing:
        raise Invalid(where + "variables", f"the script's placeholder {{{{{missing[0]}}}}} has no variable")


def _check_labels(labels: dict[str, str] | None, where: str) -> None:
    if not labels:
        return
    if len(labels) > MAX_LABELS:
        raise TooLarge("labels", MAX_LABELS, f"{where}labels: at most {MAX_LABELS}")
    for name, value in labels.items():
        if not (0 < len(name) <= MAX_NAME and len(value) <= MAX_NAME and "=" not in name) or "\0" in name + value:
            raise Invalid(where + "labels", f"names have no '=', names and values at most {MAX_NAME} characters")


def _traceparent(text: str, where: str) -> str:
    found = read_traceparent(text)
    if found is None:
        raise Invalid(
            where + "traceparent", "is a W3C trace context, like 00-TRACE-SPAN-01 with 32 and 16 hexadecimal digits"
        )
    return found


def _check_hook(url: str, where: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine or len(url) > 2000 or re.search(r"[\x00-\x20\x7f]", url):
        raise Invalid(where + "hook", "is an http or https URL of at most 2,000 characters")
