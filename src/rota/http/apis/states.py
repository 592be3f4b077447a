"""What each of the older APIs calls the states of a job: the one table."""

from __future__ import annotations

from msgspec import Struct

from rota.core.jobs import Job
from rota.core.states import Reason, State
from rota.core.wire import display_state


class Words(Struct, frozen=True):
    """One state in the words of user tasks, timed jobs, pull workers and master tasks."""

    a: str
    b: str
    c: str
    d: str


TABLE: dict[str, Words] = {
    "blocked": Words("queued", "scheduled", "PENDING", "QUEUED"),
    "scheduled": Words("queued", "scheduled", "PENDING", "SUBMITTED"),
    "queued": Words("queued", "scheduled", "PENDING", "SUBMITTED"),
    "retrying": Words("queued", "scheduled", "PENDING", "RETRYING"),
    "running": Words("running", "running", "RUNNING", "INPROGRESS"),
    "succeeded": Words("successful", "finished", "COMPLETED", "COMPLETED"),
    "failed": Words("terminated", "finished", "FAILED", "FAILED"),
    "timed_out": Words("terminated", "finished", "TIMED_OUT", "FAILED"),
    "aborted": Words("aborted", "canceled", "CANCELED", "CANCELED"),
    "canceled": Words("aborted", "canceled", "CANCELED", "CANCELED"),
}


def words(job: Job) -> Words:
    """Return what the older APIs call the state of a job. An abort that was asked for and is not over changes nothing."""
    return TABLE[_row(job)]


def _row(job: Job) -> str:
    if job.state is State.FAILED and job.reason is Reason.TIMED_OUT:
        return "timed_out"
    return "retrying" if display_state(job) == "retrying" else job.state.value
