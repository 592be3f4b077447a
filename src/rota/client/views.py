"""What the server answers, as Python reads it: times are aware datetimes, payloads are decoded.

Members that a newer server adds are passed over; those that an older one lacks have their defaults.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, ValidationError, convert

from rota.client.decoders import prepare
from rota.client.problems import JobFailed
from rota.core.errors import Invalid
from rota.core.jobs import Failure, HandlerSpec, Progress, Proof
from rota.core.lifetimes import Spent
from rota.core.states import FINAL


class ArrayFields(Struct, kw_only=True):
    """How far an array is, in inputs: `done` are over, `failed` of them badly. `eta` is in seconds, None: nobody knows.

    `running` shards are being run, one after another input of each. `halted` is the rule that has ended it early.
    """

    inputs: int
    done: int = 0
    failed: int = 0
    running: int = 0
    parallel: int | None = None
    halt: str | None = None
    halted: str | None = None
    eta: float | None = None


class Result(Struct, kw_only=True):
    """What became of one input of an array. `index` counts from 0; `duration` is in seconds.

    `outcome` says how the last try ended, in words that do not change; `attempt` in which shard it ran.
    """

    index: int
    input: Any = None
    state: str
    exit_code: int | None = None
    duration: float = 0.0
    stdout: str = ""
    stderr: str = ""
    result: Any = None
    error: Failure | None = None
    outcome: str = ""
    attempt: int = 0


class CheckpointFields(Struct, kw_only=True):
    """What an attempt of a job has left for the next one: which did, when, and how many bytes it is."""

    attempt: int
    at: datetime
    size: int


class JobFields(Struct, kw_only=True, eq=False):
    """A job as it was when the server last said so. `result` is None until it has succeeded; `array`: see ArrayFields."""

    id: str
    state: str
    submitted_at: datetime
    run_at: datetime
    display_state: str = ""
    handler: str | None = None
    script: str | None = None
    command: str | None = None
    image: str | None = None
    env: dict[str, str] | None = None
    limits: dict[str, Any] | None = None
    array: ArrayFields | None = None
    data: Any = None
    args: list[Any] = []
    variables: dict[str, Any] | None = None
    map: dict[str, str] | None = None
    owner: str = "default"
    queue: str = "default"
    priority: int = 0
    labels: dict[str, str] = {}
    after: list[str] = []
    after_on: dict[str, str] = {}
    join: Any = "all"
    run: str | None = None
    ref: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    attempt: int = 0
    failures: int = 0
    max_failures: int | None = None
    crashes: int = 0
    timeout: float | None = None
    grace: float = 5.0
    worker: str | None = None
    progress: Progress | None = None
    result: Any = None
    error: Failure | None = None
    reason: str | None = None
    abort_requested_at: datetime | None = None
    confirmed: bool | None = None
    hook: str | None = None
    retry_of: str | None = None
    needs: dict[str, str | bool | int | float] = {}
    limit_key: str | None = None
    slots: int = 1
    unique_key: str | None = None
    traceparent: str | None = None
    checkpoint: CheckpointFields | None = None

    @property
    def over(self) -> bool:
        """Say whether the state is final."""
        return self.state in FINAL

    def take(self, newer: JobFields) -> None:
        """Become what a newer answer about the same job says."""
        for name in JobFields.__struct_fields__:
            setattr(self, name, getattr(newer, name))

    def outcome(self, type: Any = None) -> Any:
        """Return the result of a job that is over, as what is asked for. Raises JobFailed unless it succeeded; Invalid."""
        if self.state != "succeeded":
            message = None if self.error is None else f"{self.error.type}: {self.error.message}"
            raise JobFailed(self.id, self.state, self.reason, message)
        if type is None:
            return self.result
        try:
            prepare(type)
            return convert(self.result, type, str_keys=True)
        except ValidationError as wrong:
            raise Invalid("result", str(wrong)) from None


class Attempt(Struct, kw_only=True):
    """One try at a job."""

    attempt: int
    worker: str | None = None
    started_at: datetime
    finished_at: datetime | None = None
    outcome: str | None = None
    exit_code: int | None = None
    error: Failure | None = None
    proof: Proof | None = None


class Event(Struct, kw_only=True):
    """One recorded change of a job; `seq` is what `follow(after=…)` resumes from."""

    seq: int
    at: datetime
    job: str
    owner: str = "default"
    kind: str
    state: str
    attempt: int = 0
    by: str | None = None
    why: str | None = None


class Log(Struct, kw_only=True):
    """A piece of an attempt's output; pieces end anywhere, not only at line ends."""

    attempt: int
    n: int
    stream: str
    at: datetime
    text: str


class Reason(Struct, kw_only=True):
    """One reason why a job is not running: a stable `code`, words, facts, and what could be done about it."""

    code: str
    text: str
    facts: dict[str, Any] = {}
    way_out: str | None = None


class Explanation(Struct, kw_only=True):
    """Why a job is not running, or what it is doing; and where its time went."""

    job: str
    state: str
    summary: str
    reasons: list[Reason] = []
    time: Spent | None = None  # an older server does not say
    ahead: int | None = None
    starts_at: datetime | None = None
    starts_in_s: float | None = None


class Forecast(Struct, kw_only=True):
    """What would become of a submission. `existing` is the job that would be answered in its place."""

    state: str
    run_at: datetime
    ref: str | None = None
    owner: str = "default"
    queue: str = "default"
    priority: int = 0
    existing: str | None = None
    runnable: bool | None = None
    summary: str | None = None
    reasons: list[Reason] = []
    ahead: int | None = None
    starts_at: datetime | None = None
    starts_in_s: float | None = None


class DryRun(Struct, kw_only=True):
    """What submissions would do, in their order; `cancels` are the jobs whose place they would take."""

    jobs: list[Forecast]
    cancels: list[str] = []


class Worker(Struct, kw_only=True):
    """A worker that the server knows; `state` is `present`, `draining` or `gone`, `running` how many jobs it holds."""

    id: str
    name: str
    state: str
    handlers: list[HandlerSpec] = []
    scripts: bool = False
    queues: list[str] = []
    slots: int = 0
    async_slots: int = 0
    max_jobs: int | None = None
    running: int = 0
    host: str | None = None
    pid: int | None = None
    owned: bool = False
    draining: bool = False
    started_at: datetime
    seen_at: datetime
    gone_at: datetime | None = None
    gone_why: str | None = None
