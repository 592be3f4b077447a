"""Runs: workflows that were submitted as a whole. What one has come to follows from how many of its jobs are in each state."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from rota.core.jobs import Submission
from rota.core.states import FINAL, Reason, State
from rota.core.times import rfc3339

ID_PREFIX = "run-"  # no job's id begins so: wherever an id is given, both can be told apart
REQUESTED = Reason.REQUESTED.value  # what is counted apart: jobs that somebody has canceled, and no condition
OPEN = frozenset(state.value for state in State if state not in FINAL)


class RunSubmission(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A run as somebody submits it: the body of `POST /v1/runs`. Each of its jobs has a `ref`, which others name in `after`.

    The jobs' owner is the run's. `hook` is called when the run is over; `labels` are the run's own.
    """

    jobs: list[Submission]
    name: str | None = None
    owner: str | None = None
    labels: dict[str, str] | None = None
    hook: str | None = None


class Run(Struct, kw_only=True):
    """A run as the store keeps it. `jobs` is how many it has, `counts` how many of those are in each state."""

    id: str
    state: State
    name: str | None = None
    owner: str = "default"
    labels: dict[str, str] | None = None
    hook: str | None = None
    jobs: int = 0
    submitted_at: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    abort_requested_at: int | None = None
    stopping: bool = False  # an abort was asked for, and has not reached all its jobs
    retry_of: str | None = None
    counts: dict[str, int] = {}


class RunView(Struct, kw_only=True):
    """A run in JSON. `size` is how many jobs it has, `counts` how many of them are in each state."""

    id: str
    name: str | None
    state: str
    owner: str
    labels: dict[str, str]
    size: int
    counts: dict[str, int]
    submitted_at: str
    started_at: str | None
    finished_at: str | None
    abort_requested_at: str | None
    hook: str | None
    retry_of: str | None


class SubmittedRunView(RunView, kw_only=True):
    """A run that has just been submitted; `jobs` are the ids of its jobs, by their refs."""

    jobs: dict[str, str]


class NodeView(Struct, kw_only=True):
    """A job in a graph. `run` differs from the graph's own for one that stands of an earlier run."""

    id: str
    ref: str | None
    run: str | None
    state: str
    handler: str | None
    kind: str
    attempt: int
    submitted_at: str
    started_at: str | None
    finished_at: str | None
    inputs: int | None


class EdgeView(Struct, kw_only=True, rename={"from_": "from"}):
    """`to` waits for the end `on` of `from`."""

    from_: str
    to: str
    on: str


class GraphView(Struct, kw_only=True):
    """A part of a graph: some jobs, and all that they wait for. `next` is the cursor of the part after it, or None."""

    nodes: list[NodeView]
    edges: list[EdgeView]
    next: str | None = None


class AroundView(Struct, kw_only=True):
    """A job with all that it waits for, and all that waits for it, and so on. `cut`: there is more, further away."""

    nodes: list[NodeView]
    edges: list[EdgeView]
    cut: bool


def is_run(id_: str) -> bool:
    """Say whether this is the id of a run, not of a job."""
    return id_.startswith(ID_PREFIX)


def open_jobs(counts: Mapping[str, int]) -> int:
    """Return how many jobs are not over."""
    return sum(n for state, n in counts.items() if state in OPEN)


def end_of(counts: Mapping[str, int], *, asked: bool) -> State:
    """Return what a run has come to whose jobs are all over; `asked`: somebody has asked for its abort.

    A job that was canceled because of a condition that was not met is as it should be: what matters is what has failed, was
    aborted, or was canceled by somebody.
    """
    if asked:
        ran = any(counts.get(state, 0) for state in ("succeeded", "failed", "aborted"))
        return State.ABORTED if ran else State.CANCELED
    if counts.get("failed", 0):
        return State.FAILED
    if counts.get("aborted", 0):
        return State.ABORTED
    if counts.get(REQUESTED, 0) or not counts.get("succeeded", 0):
        return State.CANCELED
    return State.SUCCEEDED


def shown(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts as people see them: by state, each of them."""
    seen = {state.value: counts.get(state, 0) for state in State}
    seen[State.CANCELED.value] += counts.get(REQUESTED, 0)
    return seen


def run_view(run: Run) -> RunView:
    """Render a run."""
    return RunView(**_members(run))  # type: ignore[arg-type]  # as they are named


def submitted_view(run: Run, jobs: Mapping[str, str]) -> SubmittedRunView:
    """Render a new run with its jobs."""
    return SubmittedRunView(**_members(run), jobs=dict(jobs))  # type: ignore[arg-type]


def _members(run: Run) -> dict[str, object]:
    def moment(at: int | None) -> str | None:
        return None if at is None else rfc3339(at)

    return {
        "id": run.id, "name": run.name, "state": run.state.value, "owner": run.owner, "labels": run.labels or {},
        "size": run.jobs, "counts": shown(run.counts), "submitted_at": rfc3339(run.submitted_at),
        "started_at": moment(run.started_at), "finished_at": moment(run.finished_at),
        "abort_requested_at": moment(run.abort_requested_at), "hook": run.hook, "retry_of": run.retry_of,
    }  # fmt: skip
