"""The data that moves between floors. Times are microseconds since 1970 (UTC); durations are seconds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from rota.core.checkpoints import Checkpoint, Kept
from rota.core.needs import base_of, lane_with
from rota.core.results import MapOver, Mapped, ResultOf
from rota.core.retry import DEFAULT_BACKOFF, Backoff
from rota.core.states import Outcome, Reason, State
from rota.core.waits import After, Condition, Join

Kind = Literal["handler", "script", "command", "image", "pull"]
Pull = Literal["missing", "always", "never"]
OnConflict = Literal["reject", "existing", "replace"]

NULL = Raw(b"null")
NO_ARGS = Raw(b"[]")
NO_INPUTS = Raw(b"")  # not an array
NO_SCHEMA = Raw(b"")  # of a handler that takes what it gets
CRASH_BUDGET = 5
DEFAULT_GRACE_S = 5.0


class Failure(Struct, frozen=True, omit_defaults=True):
    """An error as a program or a person reads it; `type` is the exception's class name, or `exit` for scripts."""

    type: str
    message: str
    traceback: str | None = None


class Proof(Struct, frozen=True, omit_defaults=True):
    """What a worker saw and did when it ended a process tree.

    `signals` are (name, seconds after the start of the abort); `processes` is how many were ended; `survivors` are
    pids that outlived SIGKILL (never seen in practice but with stuck file systems); `took_s` ends with the last process.
    """

    signals: list[tuple[str, float]] = []
    processes: int = 0
    survivors: list[int] = []
    took_s: float = 0.0


class Progress(Struct, frozen=True, omit_defaults=True):
    """How far an attempt is: `fraction` in [0, 1] or None, and a text."""

    fraction: float | None = None
    message: str = ""


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an attempt (of an array: each input) may use at most; None is no limit. Sizes in bytes.

    `cpu` is seconds of processor time; `cpus` how many cores a container may use at once; `output` what is kept of each
    of stdout and stderr.
    """

    memory: int | None = None
    cpu: float | None = None
    processes: int | None = None
    files: int | None = None
    output: int | None = None
    cpus: float | None = None


_NO_LIMITS = Limits()


class RunOptions(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How a script, a command or an image is run. `pull` and `network` (a network's name) are an image's.

    `secrets` are names: the values are its worker's, and nobody else's to know.
    """

    env: dict[str, str] = {}
    secrets: list[str] = []
    limits: Limits = _NO_LIMITS
    pull: Pull = "missing"
    network: str = "none"


class Submission(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A job as somebody submits it: the body of `POST /v1/jobs`. What is None takes the handler's or Rota's default.

    Exactly one of `handler`, `script`, `command` (a line for /bin/sh, with the placeholders of GNU parallel, run for each
    of its `inputs`) and `image`. With `inputs` (a list; or a text: its lines) the job is an array; `parallel` is how many
    of them run at once at most, `halt` when it stops early (`now,fail=1`, `soon,success=10%`). Sizes in `limits` are
    bytes or texts like `512M`. `secrets` are names of variables whose values the worker has. Without an `owner` the job is
    the caller's, or `default`. `needs` are labels that its worker must have, `slots` how
    many of its slots it takes. `limit_key` is what it is limited by together with
    the other jobs of that key; places in it, like `{customer}`, are filled from `data`.
    At most one job of an owner has a `unique_key`: while it is not over, or with `unique_for` (a duration) for so long from
    its submission; `on_conflict` says what becomes of the next one: `reject` (409), `existing` (the answer is the job that
    has the key), `replace` (that one is canceled if it waits). `traceparent` names the span that submits it (W3C Trace
    Context), in place of the request's header of that name.
    `after` names jobs that must succeed first, or says on which end of each this one waits; `join` how many must come about.
    `{"$result": "JOB"}` in data, args and variables is the result of a job that it waits for, a `map` an array over one.
    """

    handler: str | None = None
    script: str | None = None
    command: str | None = None
    image: str | None = None
    inputs: Raw = NO_INPUTS
    map: MapOver | None = None
    parallel: int | None = None
    halt: str | None = None
    env: dict[str, str] | None = None
    secrets: list[str] | None = None
    limits: dict[str, int | float | str] | None = None
    pull: Pull | None = None
    network: str | None = None
    data: Raw = NULL
    args: Raw = NO_ARGS
    variables: dict[str, str | ResultOf] | None = None
    owner: str | None = None
    queue: str = "default"
    priority: int = 0
    run_at: str | None = None
    delay: str | float | None = None
    timeout: str | float | None = None
    grace: str | float | None = None
    retries: int | None = None
    backoff: Backoff | None = None
    after: list[str | After] = []
    join: Join = "all"
    hook: str | None = None
    labels: dict[str, str] | None = None
    ref: str | None = None
    unique_key: str | None = None
    unique_for: str | float | None = None
    on_conflict: OnConflict | None = None
    needs: dict[str, str | bool | int | float] | None = None
    limit_key: str | None = None
    slots: int | None = None
    traceparent: str | None = None


class Array(Struct, kw_only=True):
    """How far an array is. Inputs are numbered from 0.

    `cursor`: those below it have been cut at least once; `done` are over, `failed` of them badly; `live` shards are leased.
    `ran_s` is how long the inputs that are over have run, in sum; `halted` says which rule has stopped it; `proven` that
    every shard that was aborted was seen to end. The inputs lie under the name `root`; an array that runs `base` again
    lets stand what succeeded there.
    """

    inputs: int
    cursor: int = 0
    done: int = 0
    failed: int = 0
    live: int = 0
    parallel: int | None = None
    halt: str | None = None
    halted: str | None = None
    ran_s: float = 0.0
    proven: bool = True
    root: str = ""
    base: str | None = None
    size: int = 0  # bytes of the inputs, where they have just been written


class Job(Struct, kw_only=True):
    """A job as the store keeps it. `script` is a script's or a command's text; `array` is None unless it has inputs."""

    id: str
    state: State
    kind: Kind
    handler: str | None = None
    script: str | None = None
    image: str | None = None
    options: RunOptions | None = None
    api: str | None = None  # which of the four APIs it came through
    array: Array | None = None
    open: bool = False  # an array that runs and has inputs that may be cut
    data: Raw = NULL
    args: Raw = NO_ARGS
    variables: dict[str, str | ResultOf] | None = None
    owner: str = "default"
    queue: str = "default"
    priority: int = 0
    labels: dict[str, str] | None = None
    after: list[str] = []
    after_on: dict[str, Condition] = {}  # of those that are not waited for to succeed
    least: int | None = None  # how many of `after` must come about; None: all
    waiting_for: int = 0  # how many more of `after` must come about before it may start
    spare: int = 0  # how many of those that are open may yet turn out never to
    told: dict[str, State] = {}  # of a new job: those of `after` that are over
    run: str | None = None  # the run that it belongs to
    ref: str | None = None  # its name there
    map: Mapped | None = None  # an array over the result of another job
    refers: bool = False  # its data, arguments or variables hold references to results
    referred: frozenset[str] = frozenset()  # of a new job: those of `after` whose results it uses
    run_at: int = 0
    submitted_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    attempt: int = 0  # only grows: the fencing token
    failures: int = 0  # what `max_failures` is counted against
    crashes: int = 0  # attempts that took their process or their worker along
    max_failures: int | None = None  # None until a claim: the handler's own
    timeout_s: float | None = None
    grace_s: float = DEFAULT_GRACE_S
    backoff: Backoff | None = None
    worker: str | None = None
    deadline_at: int | None = None
    progress: Progress | None = None
    result: Raw | None = None
    error: Failure | None = None
    reason: Reason | None = None
    abort_requested_at: int | None = None
    confirmed: bool | None = None
    hook: str | None = None
    retry_of: str | None = None
    traceparent: str | None = None  # the span that submitted it, where it has said so
    needs: dict[str, str | bool | int | float] | None = None  # labels that its worker must have
    slots: int = 1  # of its worker, that it takes
    limit_key: str | None = None  # what has one may be limited together (core/keys.py)
    held: bool = False  # its key is full, or was lately: no claim looks at it (service/keys.py)
    unique_key: str | None = None  # that no other job of its owner has (service/uniques.py)
    existed: bool = False  # only in an answer: it was there before, and stands for one that was submitted
    checkpoint: Kept | None = None  # where it was asked for
    size: int = 0  # bytes that it holds in the store while it is not over (core/quotas.py)

    @property
    def lane(self) -> str:
        """Return the name of what a worker must offer to run this job."""
        lane = lane_of(self.kind, self.handler)
        lane = lane if self.array is None and self.map is None else ARRAY_LANE + lane
        return lane_with(lane, self.needs, self.slots)

    def on(self, after: str) -> Condition:
        """Return on which end of a job of `after` this one waits."""
        return self.after_on.get(after, "succeeded")

    @property
    def policy(self) -> Backoff:
        """Return the job's back-off, or the default one."""
        return self.backoff or DEFAULT_BACKOFF


SCRIPT_LANE = "script:"  # no handler can be called so: names have no colon
IMAGE_LANE = "image:"
ARRAY_LANE = "array:"  # and the lane that each input alone would have: for workers that know what a shard is
PULL_LANE = "pull:"  # and the name of a function: for workers that pull through API C
HELD_LANE = "held:"  # and the lane of a job that no claim is to look at: its key is full


def lane_of(kind: Kind, handler: str | None) -> str:
    """Return the lane of a handler's jobs, of scripts and commands, of images, or of a pulled function's tasks."""
    match kind:
        case "handler":
            return handler or ""
        case "script" | "command":
            return SCRIPT_LANE
        case "image":
            return IMAGE_LANE
        case "pull":
            return PULL_LANE + (handler or "")


def handler_of(lane: str) -> str | None:
    """Return the handler, or the pulled function, that a lane's jobs name; None of scripts and images."""
    base = base_of(lane).removeprefix(ARRAY_LANE).removeprefix(PULL_LANE)
    return None if base in ("", SCRIPT_LANE, IMAGE_LANE) else base


def family_of(lane: str) -> str:
    """Return the lane that stands for all of its kind: those of pulled tasks have one, every other lane is its own."""
    return PULL_LANE if lane.startswith(PULL_LANE) else lane


class HandlerSpec(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A handler as a worker offers it. `mode`: `process` (a process of its own) or `async` (shares an event loop).

    `schema` says what it takes (core/arguments.py), where somebody knows. The server keeps it apart: `version` names it.
    `limit` is how many of its jobs run at once on all workers together, `rate` how many start in a period (`100/1m`), unless
    an admin has set it. `limit_key`, `needs` and `slots` are those of its jobs that do not say otherwise, once it is known.
    """

    name: str
    mode: Literal["process", "async"] = "process"
    timeout: float | None = None
    retries: int = 0
    doc: str = ""
    parameters: list[str] = []
    schema: Raw = NO_SCHEMA
    version: str = ""
    limit: int | None = None
    rate: str | None = None
    limit_key: str | None = None
    needs: dict[str, str | bool | int | float] = {}
    slots: int | None = None


class Lease(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt, handed to a worker. `timeout_s` and `grace_s` are durations: a worker's clock is never asked.

    A *shard* of an array is an attempt too: its `inputs` are numbered from `first`, and run one after another. What an
    executor gets is one of them: `index` is its number, and its `inputs` is that one.

    `traceparent` (W3C Trace Context) names the span whose child the attempt is; `trace_link` one that it is only linked
    to: its submitter's, when it runs later than at once. There is never more than one of them. `checkpoint` is what an attempt
    before has left. `slots` is how many of its worker's the attempt takes.
    """

    job: str
    attempt: int
    kind: Kind = "handler"
    handler: str | None = None
    script: str | None = None  # placeholders already filled in; of a command, those of its input are not
    image: str | None = None
    options: RunOptions | None = None
    first: int | None = None
    index: int | None = None
    inputs: list[Raw] = []
    data: Raw = NULL
    args: Raw = NO_ARGS
    owner: str = "default"
    timeout_s: float | None = None
    grace_s: float = DEFAULT_GRACE_S
    hook: str | None = None
    queue: str = "default"
    traceparent: str | None = None
    trace_link: str | None = None
    checkpoint: Checkpoint | None = None
    slots: int = 1

    @property
    def limits(self) -> Limits:
        """Return what the attempt may use at most."""
        return _NO_LIMITS if self.options is None else self.options.limits


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How an attempt ended, as its worker saw it.

    `retry_in_s`: a snooze's length, or the pause that the handler asked for after an error. `refused`: the handler said
    that trying again is useless. `charged` is False for a lost attempt that no process ever saw. `stdout` and `stderr`
    are what an input of an array has written (an executor fills them in; the output of other attempts is told in pieces).
    """

    job: str
    attempt: int
    outcome: Outcome
    result: Raw = NULL  # not `Raw | None`: msgspec decodes that union as null only
    error: Failure | None = None
    exit_code: int | None = None
    retry_in_s: float | None = None
    refused: bool = False
    charged: bool = True
    proof: Proof | None = None
    stdout: str = ""
    stderr: str = ""


class InputReport(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How one input of an array ended, in the shard (job, attempt) that ran it. Told, like output, while the shard runs."""

    job: str
    attempt: int
    index: int
    outcome: Outcome
    duration_s: float = 0.0
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    result: Raw = NULL
    error: Failure | None = None
    retry_in_s: float | None = None
    refused: bool = False


class InputResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of an input that is over: one line of an array's results, but for the input itself."""

    index: int
    state: State
    outcome: Outcome
    attempt: int
    exit_code: int | None = None
    duration_s: float = 0.0
    stdout: str = ""
    stderr: str = ""
    result: Raw = NULL
    error: Failure | None = None


class Attempt(Struct, frozen=True, kw_only=True):
    """A try that is over (or the running one, with no outcome yet)."""

    attempt: int
    worker: str
    started_at: int
    finished_at: int | None = None
    outcome: Outcome | None = None
    exit_code: int | None = None
    error: Failure | None = None
    proof: Proof | None = None
    first: int | None = None  # of a shard: its first input, and how many there are
    inputs: int | None = None


class Event(Struct, frozen=True, kw_only=True):
    """One recorded change of a job. `seq` grows in the order of commits; `kind` says what happened, `by` who did it."""

    seq: int
    at: int
    job: str
    owner: str
    kind: str
    state: State
    attempt: int = 0
    by: str | None = None
    why: str | None = None


class LogChunk(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A piece of an attempt's output; `n` counts the attempt's chunks from 0, so that a repeated call adds nothing."""

    job: str
    attempt: int
    n: int
    stream: Literal["stdout", "stderr", "log"]
    text: str
    at: int = 0


class ProgressNote(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The newest progress of an attempt."""

    job: str
    attempt: int
    progress: Progress


class HookCall(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A handler's own call of its job's hook; `n` makes it idempotent, as with LogChunk."""

    job: str
    attempt: int
    n: int
    data: Raw = NULL


class WorkerHello(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a worker says of itself when it registers.

    `slots` is how many jobs it runs at once in processes of their own, `async_slots` how many async ones beside them;
    `max_jobs`, when given, bounds the sum. An empty `queues` means every queue. `arrays`: it knows what a shard is, and takes
    those of arrays of what it offers. `pull`: it takes the tasks of API C and
    nothing else, those of its `handlers`, or all if it names none; `lease` is the length of its leases in seconds, where
    the server's own does not apply. `labels` are what jobs may need of it. `token` is the id of the token that registered it:
    the server says so, no worker can.
    """

    name: str
    handlers: list[HandlerSpec] = []
    scripts: bool = False
    images: bool = False
    arrays: bool = False
    queues: list[str] = []
    slots: int = 1
    async_slots: int = 0
    max_jobs: int | None = None
    pid: int | None = None
    host: str | None = None
    pull: bool = False
    lease: float | None = None
    token: str | None = None
    labels: dict[str, str | bool | int | float] = {}
    owned: bool = False  # started by the server that owns the embedded store, and dies with it


class Welcome(Struct, frozen=True, kw_only=True):
    """The answer to a registration: the worker's id (new for every boot), and the terms of its leases, in seconds."""

    worker: str
    lease_s: float
    heartbeat_s: float


class Held(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An attempt that a worker holds, as its heartbeat names it."""

    job: str
    attempt: int


class AbortOrder(Struct, frozen=True, kw_only=True):
    """The service tells a worker to end an attempt now; `why` is `requested` or `timed_out`."""

    job: str
    attempt: int
    grace_s: float
    why: Literal["requested", "timed_out"] = "requested"


class Orders(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker is told by a heartbeat, or by a watch that ended.

    `abort`: end these. `halt`: of these shards finish the input that runs, start no other, and report the end. `lost`:
    these leases are no longer yours: kill what runs, report nothing. `drain`: claim no more, finish what runs, leave.
    """

    abort: list[AbortOrder] = []
    halt: list[Held] = []
    lost: list[Held] = []
    drain: bool = False


class Settled(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a report: `accepted` False means that the attempt was over or not this worker's; nothing changed."""

    job: str
    attempt: int
    accepted: bool
    state: State | None = None


class Free(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many slots a worker has free: for jobs in processes of their own, for async ones, and together."""

    process: Annotated[int, Meta(ge=0)]
    asynchronous: Annotated[int, Meta(ge=0)]
    total: Annotated[int, Meta(ge=0)]
