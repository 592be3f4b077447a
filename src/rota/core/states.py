"""The states of a job, the outcomes of an attempt, and which change leads where."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job stands. The four final states never change."""

    BLOCKED = "blocked"  # waits for other jobs
    SCHEDULED = "scheduled"  # waits for its time: delayed, or backing off after a failed attempt
    QUEUED = "queued"  # may be claimed
    RUNNING = "running"  # leased to a worker
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"  # was running; its process tree is gone
    CANCELED = "canceled"  # was not running


class Outcome(StrEnum):
    """How an attempt ended, as its worker (or the rescue of a lost worker) saw it."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_RESULT = "bad_result"
    LOST = "lost"
    INTERRUPTED = "interrupted"
    SNOOZED = "snoozed"
    ABORTED = "aborted"


class Reason(StrEnum):
    """Why a job failed, or was canceled."""

    ERROR = "error"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    OUT_OF_MEMORY = "out_of_memory"
    BAD_RESULT = "bad_result"
    REFUSED = "refused"
    DEPENDENCY = "dependency"  # canceled: a job that it waited for did not succeed
    REQUESTED = "requested"  # canceled or aborted: somebody asked
    REPLACED = "replaced"  # canceled: a newer job took its unique key


WAITING = frozenset({State.BLOCKED, State.SCHEDULED, State.QUEUED})
FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.ABORTED, State.CANCELED})

TRANSITIONS: dict[State, frozenset[State]] = {
    # Failed, or at once succeeded: a map over what is no list, or a list of nothing.
    State.BLOCKED: frozenset({State.SCHEDULED, State.QUEUED, State.CANCELED, State.FAILED, State.SUCCEEDED}),
    State.SCHEDULED: frozenset({State.QUEUED, State.CANCELED}),
    State.QUEUED: frozenset({State.SCHEDULED, State.RUNNING, State.CANCELED}),
    State.RUNNING: frozenset({State.SUCCEEDED, State.FAILED, State.ABORTED, State.SCHEDULED, State.QUEUED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.ABORTED: frozenset(),
    State.CANCELED: frozenset(),
}


def mermaid() -> str:
    """Draw the machine; docs/state-machine.md holds this text and a test compares them."""
    lines = ["stateDiagram-v2", "    [*] --> blocked", "    [*] --> scheduled", "    [*] --> queued"]
    lines += [f"    {a} --> {b}" for a in State for b in State if b in TRANSITIONS[a]]
    lines += [f"    {s} --> [*]" for s in State if s in FINAL]
    return "\n".join(lines) + "\n"
