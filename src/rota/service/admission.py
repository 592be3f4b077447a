"""From what somebody submits to jobs: every limit and every check of a submission, and no I/O."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import tzinfo
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
    HELD_LANE,
    IMAGE_LANE,
    NO_INPUTS,
    NULL,
    PULL_LANE,
    SCRIPT_LANE,
    Array,
    Job,
    Kind,
    Submission,
)
from rota.core.results import MARK, MAX_REFERENCES, Mapped, ResultOf, check_path, names
from rota.core.runs import ID_PREFIX, Run, RunSubmission
from rota.core.states import State
from rota.core.times import SECOND, parse_duration, parse_time
from rota.core.traces import read_traceparent
from rota.core.waits import Condition, least_of, words
from rota.service.demands import MAX_NAME, check_key, demands_of, is_name
from rota.service.graphs import Draft, in_order, open_map, place, resolve
from rota.service.handlers import NOBODY, Known, check_arguments
from rota.service.run_options import check_array, run_options
from rota.service.signals import Effects
from rota.service.uniques import Wish, take_keys
from rota.store.protocol import Tx

MAX_DATA = 1 << 20
MAX_SCRIPT = 1 << 20
MAX_BULK = 10_000
MAX_AFTER = 10_000
MAX_EDGES = 100_000  # of a bulk: what its jobs wait for, in all
MAX_LABELS = 64
MAX_PRIORITY = 1_000_000
MAX_RETRIES = 100_000
PULL_API = "c"  # its tasks are run by whoever pulls them, never by a worker that offers such a handler
TIMED_API = "b"  # its jobs may have any name: one that no handler can have waits, as every unknown one does
MAX_TIMEOUT_S = 366 * 86400.0
_PAST_SLACK = 60 * SECOND  # a clock that is a little wrong is no error; a date in the past is
_OTHER_LANES = (HELD_LANE, ARRAY_LANE, SCRIPT_LANE, IMAGE_LANE, PULL_LANE)
_TEXT = re.compile(r"[^\x00]*")


Maker = Callable[[Tx, Effects], Awaitable[list[Job]]]


class Upload(Struct, frozen=True):
    """Inputs that lie in the store already, under the name `root`."""

    root: str
    inputs: int
    size: int  # in bytes


_NO_UPLOADS: Mapping[int, Upload] = {}


async def admit(
    tx: Tx,
    submissions: Sequence[Submission],
    ids: Ids,
    zone: tzinfo,
    effects: Effects,
    *,
    lists: str | None,
    first: int = 0,
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
    none; `known` are the handlers whose arguments are checked. `lists` is the name of the list that they come in, None for a
    job alone: only those of a list may name each other, by `ref`; `first` is the place of the first in it. Raises Invalid,
    TooLarge, KeyTaken.
    """
    bulk = lists is not None
    drafts = draft_all(submissions, ids, tx.now, zone, lists=lists, first=first, api=api, known=known)
    if traceparent is not None:
        for entry in drafts:
            entry.job.traceparent = entry.job.traceparent or traceparent
    for at, upload in uploads.items():
        s = submissions[at]
        drafts[at].job.array = Array(
            inputs=upload.inputs, parallel=s.parallel, halt=s.halt, root=upload.root, size=upload.size
        )
    edges = sum(len(entry.after) for entry in drafts)
    if edges > MAX_EDGES:
        raise TooLarge("after", MAX_EDGES, f"the jobs wait for {edges} others in all, and together may for {MAX_EDGES}")
    if any(entry.wish for entry in drafts):
        await _take_keys(tx, drafts, effects, caller, lists)
    outside = resolve(drafts, lists) if lists is not None else {after for entry in drafts for after in entry.after}
    states = {id_: job.state for id_, job in (await tx.lock_jobs(outside)).items() if caller.sees(job.owner)}
    for at, entry in enumerate(drafts):
        if not entry.after:  # so it refers to nothing
            continue
        entry.job.after = list(entry.after)
        entry.job.referred = entry.referred
        entry.job.after_on = {after: on for after, on in entry.after.items() if on != "succeeded"}
        for after in entry.after if outside else ():
            if after in outside and after not in states:
                raise Invalid(f"{lists}[{at}].after" if bulk else "after", f"there is no job {after!r}")
    await check_priorities(tx, [entry.job for entry in drafts], lists, first)
    for entry in in_order(drafts, lists or "") if any(entry.after for entry in drafts) else drafts:
        place(entry.job, states, tx.now)
        if entry.job.map is not None:
            await open_map(tx, entry.job)
        states[entry.job.id] = entry.job.state
    return [entry.job if entry.stands is None else await _standing(tx, entry.stands, drafts) for entry in drafts]


async def _take_keys(tx: Tx, drafts: Sequence[Draft], effects: Effects, caller: Caller, lists: str | None) -> None:
    """Take unique keys, and note who stands for whom. Raises KeyTaken."""
    taken = await take_keys(tx, [entry.wish for entry in drafts if entry.wish], effects, by=caller.by)
    for at, entry in enumerate(drafts):
        other = taken.get(entry.job.id)
        if other is not None and not other.stands:
            where = "unique_key" if lists is None else f"{lists}[{at}].unique_key"
            key = entry.job.unique_key or ""
            raise KeyTaken(f"{where}: {other.sentence(key)}", other.job, other.state)
        entry.stands = None if other is None else other.job


async def _standing(tx: Tx, id_: str, drafts: Sequence[Draft]) -> Job:
    """Return the job that stands for a draft."""
    job = next((other.job for other in drafts if other.job.id == id_), None)
    job = job or await tx.get_job(id_)
    assert job is not None, "it is locked"
    return replace(job, existed=True)


async def check_priorities(tx: Tx, jobs: Sequence[Job], lists: str | None = None, first: int = 0) -> None:
    """Raise Invalid for a job whose priority is above its owner's `max_priority`, which is never below 0."""
    high = {job.owner for job in jobs if job.priority > 0}
    limits = {owner.owner: owner.max_priority for owner in (await tx.get_owners(high)).values()} if high else {}
    for at, job in enumerate(jobs, first):
        most = limits.get(job.owner)
        if most is not None and job.priority > most:
            where = "" if lists is None else f"{lists}[{at}]."
            raise Invalid(where + "priority", f"of {job.owner!r} is at most {most} (its max_priority)")


def draft_all(
    submissions: Sequence[Submission], ids: Ids, now: int, zone: tzinfo, *,
    lists: str | None, first: int = 0, api: str | None = None, known: Known = NOBODY,
) -> list[Draft]:  # fmt: skip
    """Check submissions, in their order; `lists` and `first` as for `admit`. Raises Invalid or TooLarge.

    Most of a long list differ from the one before in their data alone, or in whom they wait for: only that is looked at then.
    """
    drafting = Drafting(ids, now, zone, api=api, known=known)
    return [drafting.draft(s, "" if lists is None else f"{lists}[{at}].") for at, s in enumerate(submissions, first)]


class Drafting:
    """Checks submissions one after another. What differs from the last one that was looked at whole in its data, its name and
    whom it waits for alone is a copy of that one's job, as that was before anybody changed it."""

    def __init__(self, ids: Ids, now: int, zone: tzinfo, *, api: str | None = None, known: Known = NOBODY) -> None:
        self._ids = ids
        self._now = now
        self._zone = zone
        self._api, self._known = api, known
        self._like: Submission | None = None  # the last one that was looked at whole, without that
        self._job: Job | None = None  # what it made

    def draft(self, s: Submission, where: str) -> Draft:
        """Check a submission. Raises Invalid or TooLarge; `where` comes before the field's name."""
        like, job = replace(s, data=NULL, ref=None, after=[]), self._job
        if job is not None and like == self._like and not _is_open(s):
            if s.ref is not None:
                check_name("ref", s.ref, where, colons=self._api == TIMED_API)
            _check_payload(s, where, self._known if job.kind == "handler" and job.api is None else NOBODY)
            after = _after(s, where) if s.after else {}
            own = replace(job, id=self._ids.new(self._now), data=s.data, ref=s.ref, least=_least(s, len(after), where))
            return Draft(own, after, s.ref)
        entry = draft(s, where, self._ids, self._now, self._zone, api=self._api, known=self._known)
        self._like, self._job = (like, replace(entry.job)) if _is_plain(s, entry) else (None, None)
        return entry


def _is_plain(s: Submission, entry: Draft) -> bool:
    """Say whether a submission that differs from this one in its data, name and `after` makes a job that differs so alone."""
    return not (s.map or s.variables or s.inputs != NO_INPUTS or entry.job.refers or entry.wish or entry.job.limit_key)


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
    is_open = _is_open(s)
    checked = kind == "handler" and not is_open and api is None  # older APIs take any data, whatever comes of it
    _check_payload(s, where, known if checked else NOBODY)
    check_array(s, where)
    _check_marks(s, where)
    after = _after(s, where)
    referred = _referred(s, after, where) if api is None and (is_open or s.variables is not None) else set()
    timeout, grace = _durations(s, where)
    handler = known.get(s.handler or "") if kind == "handler" else None
    needs, slots, key = demands_of(s, where, None if handler is None else handler.spec)
    job = Job(
        id=ids.new(now), state=State.QUEUED, kind=kind, handler=s.handler,
        script=s.script if s.command is None else s.command, image=s.image, options=run_options(s, where), api=api,
        data=s.data, args=s.args, variables=s.variables, owner=DEFAULT_OWNER if s.owner is None else s.owner,
        queue=s.queue, priority=s.priority, labels=s.labels or None, ref=s.ref, refers=bool(referred),
        map=None if s.map is None else Mapped(s.map.over, s.map.path, s.parallel, s.halt),
        least=_least(s, len(after), where), run_at=run_at(s.run_at, s.delay, where, now, zone), submitted_at=now,
        max_failures=None if s.retries is None else s.retries + 1, timeout_s=timeout, grace_s=grace,
        backoff=s.backoff, hook=s.hook, unique_key=s.unique_key, needs=needs, slots=slots, limit_key=key,
        traceparent=None if s.traceparent is None else _traceparent(s.traceparent, where),
    )  # fmt: skip
    uses = referred if s.map is None else referred | {s.map.over}
    return Draft(job=job, after=after, ref=s.ref, referred=frozenset(uses), wish=_wish(s, job, where))


def _is_open(s: Submission) -> bool:
    """Say whether some of a job's arguments will be results of others, which nobody can check yet."""
    return s.map is not None or MARK in bytes(s.data) or MARK in bytes(s.args)


def _referred(s: Submission, after: Mapping[str, Condition], where: str) -> set[str]:
    """Return the jobs whose results a submission refers to. Raises Invalid for one that it does not wait for."""
    found: set[str] = set()
    n = 0
    for field, value in (
        ("data", s.data),
        ("args", s.args),
        *((f"variables.{k}", v) for k, v in (s.variables or {}).items()),
    ):
        if isinstance(value, str):
            continue
        try:
            if isinstance(value, ResultOf):
                check_path(value.path)
            named = [value.job] if isinstance(value, ResultOf) else names(value)
        except ValueError as error:
            raise Invalid(where + field, str(error)) from None
        for name in named:
            if name not in after:
                raise Invalid(
                    where + field, f"refers to the result of {name!r}, which the job does not wait for: add it to after"
                )
        found.update(named)
        n += len(named)
    if n > MAX_REFERENCES:
        raise TooLarge("data", MAX_REFERENCES, f"{where}data: a job refers to at most {MAX_REFERENCES} results")
    if s.map is not None:
        if s.map.over not in after:
            raise Invalid(where + "map.over", f"{s.map.over!r} is no job that this one waits for: add it to after")
        try:
            check_path(s.map.path)
        except ValueError as error:
            raise Invalid(where + "map.path", str(error)) from None
    return found


def _after(s: Submission, where: str) -> dict[str, Condition]:
    """Return what a job waits for, and on which end of it each time. Raises Invalid, TooLarge."""
    if len(s.after) > MAX_AFTER:
        raise TooLarge("after", MAX_AFTER, f"{where}after: a job waits for at most {MAX_AFTER} others")
    after: dict[str, Condition] = {}
    for at, each in enumerate(s.after):
        name = each if isinstance(each, str) else each.job
        on: Condition = "succeeded" if isinstance(each, str) else each.on
        if after.setdefault(name, on) != on:
            raise Invalid(f"{where}after[{at}]", f"{name!r} is waited for {words(after[name])} already")
    return after


def _least(s: Submission, after: int, where: str) -> int | None:
    try:
        return least_of(s.join, after)
    except ValueError as error:
        raise Invalid(where + ("join" if isinstance(s.join, str) else "join.at_least"), str(error)) from None


def _wish(s: Submission, job: Job, where: str) -> Wish | None:
    """Return what a submission wants of its unique key. Raises Invalid."""
    if s.unique_key is None:
        for field, value in (("unique_for", s.unique_for), ("on_conflict", s.on_conflict)):
            if value is not None:
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


def _check_marks(s: Submission, where: str) -> None:
    check_labels(s.labels, where)
    if s.hook is not None:
        check_hook(s.hook, where)


def _durations(s: Submission, where: str) -> tuple[float | None, float]:
    """Return the timeout and the grace, in seconds."""
    if s.timeout is None and s.grace is None:
        return None, DEFAULT_GRACE_S

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
    if s.handler is not None and s.script is None and s.command is None and s.image is None:
        return "pull" if api == PULL_API else "handler"
    kinds: list[tuple[Kind, str | None]] = [
        ("handler", s.handler), ("script", s.script), ("command", s.command), ("image", s.image),
    ]  # fmt: skip
    said = [kind for kind, value in kinds if value is not None]
    if len(said) != 1:
        raise Invalid(where + "handler", "exactly one of handler, script, command and image is required")
    return "pull" if api == PULL_API else said[0]


def check_name(field: str, name: str, where: str, *, colons: bool = False) -> None:
    """Raise Invalid unless this can name a handler, an owner or a queue.

    `colons`: a handler's may have some, though no worker can offer it, but it may not be taken for another lane.
    """
    barred = field == "handler" and (name.startswith(_OTHER_LANES) if colons else ":" in name)
    if barred or len(name) > MAX_NAME or not is_name(name):
        raise Invalid(where + field, f"is 1 to {MAX_NAME} characters, no control characters; a handler's has no colon")


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
    texts = {name: value for name, value in variables.items() if isinstance(value, str)}
    if sum(len(k) + len(v) for k, v in texts.items()) > MAX_DATA:
        raise TooLarge("variables", MAX_DATA, f"{where}variables: at most {MAX_DATA} characters in all")
    for name, value in variables.items():
        if "\0" in name or "\0" in (value if isinstance(value, str) else value.job):
            raise Invalid(where + "variables", "have no NUL characters")
    if broken := templates.unclosed(s.script):
        raise Invalid(
            where + "script", f"the placeholder {broken[:100]!r} has no end; write \\{{{{ for two braces as they are"
        )
    missing = [name for name in templates.names(s.script) if name not in variables]
    if missing:
        raise Invalid(where + "variables", f"the script's placeholder {{{{{missing[0]}}}}} has no variable")


def check_labels(labels: dict[str, str] | None, where: str) -> None:
    """Raise Invalid, TooLarge unless these can be labels."""
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


def check_hook(url: str, where: str) -> None:
    """Raise Invalid unless this can be called."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine or len(url) > 2000 or re.search(r"[\x00-\x20\x7f]", url):
        raise Invalid(where + "hook", "is an http or https URL of at most 2,000 characters")


def run_submissions(new: RunSubmission) -> list[Submission]:
    """Return the jobs of a run as its own, checked as far as they are a run's. Raises Invalid, TooLarge."""
    if not new.jobs:
        raise Invalid("jobs", "is empty: a run has at least one job")
    if len(new.jobs) > MAX_BULK:
        raise TooLarge("jobs", MAX_BULK, f"jobs: a run has at most {MAX_BULK:,}, these are {len(new.jobs):,}")
    for field, name in (("name", new.name), ("owner", new.owner)):
        if name is not None:
            check_name(field, name, "")
    check_labels(new.labels, "")
    if new.hook is not None:
        check_hook(new.hook, "")
    owner = new.owner or DEFAULT_OWNER
    for at, job in enumerate(new.jobs):
        if job.ref is None:
            raise Invalid(f"jobs[{at}].ref", "is required: it is the job's name in the run")
        if job.on_conflict == "existing":
            raise Invalid(
                f"jobs[{at}].on_conflict", "is reject or replace: a job that is there already is no part of the run"
            )
        if job.owner not in (None, owner):
            raise Invalid(f"jobs[{at}].owner", f"is the run's: {owner}")
    return [replace(job, owner=owner) for job in new.jobs]


def new_run(new: RunSubmission, jobs: Sequence[Job], ids: Ids, now: int) -> Run:
    """Return a new run of these jobs."""
    return Run(
        id=ID_PREFIX + ids.new(now), state=State.RUNNING, name=new.name, owner=new.owner or DEFAULT_OWNER,
        labels=new.labels or None, hook=new.hook, jobs=len(jobs), submitted_at=now,
    )  # fmt: skip
