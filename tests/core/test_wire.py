"""What the world sees of a job: every field of the contract, in every state."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw

from rota.core.jobs import SCRIPT_LANE, Attempt, Event, Failure, Job, LogChunk, Progress, Proof, lane_of
from rota.core.retry import DEFAULT_BACKOFF, Backoff
from rota.core.states import Outcome, Reason, State
from rota.core.wire import (
    AttemptView,
    EventView,
    JobView,
    LogView,
    Page,
    attempt_view,
    display_state,
    event_view,
    job_view,
    log_view,
)

CONTRACT = [
    "id",
    "state",
    "handler",
    "script",
    "image",
    "data",
    "owner",
    "queue",
    "priority",
    "labels",
    "after",
    "run_at",
    "submitted_at",
    "started_at",
    "finished_at",
    "attempt",
    "failures",
    "max_failures",
    "timeout",
    "worker",
    "progress",
    "result",
    "error",
    "reason",
    "abort_requested_at",
    "confirmed",
    "hook",
    "retry_of",
    "array",
]


def job(**fields: object) -> Job:
    return Job(**{"id": "j", "state": State.QUEUED, "kind": "handler", "handler": "h", **fields})  # type: ignore[arg-type]


def test_a_job_has_every_field_of_the_contract():
    view = msgspec.json.decode(msgspec.json.encode(job_view(job())))
    assert set(CONTRACT) <= set(view)
    assert (view["result"], view["labels"], view["array"], view["image"]) == (None, {}, None, None)


@pytest.mark.parametrize("state", State)
def test_a_job_survives_the_wire(state: State):
    whole = job(
        state=state, data=Raw(b'{"a": 1}'), args=Raw(b"[1,2]"), labels={"k": "v"}, after=["i"], run_at=1, submitted_at=2,
        started_at=3, finished_at=4, attempt=5, failures=6, max_failures=7, timeout_s=8.5, grace_s=9.0, worker="w",
        progress=Progress(0.5, "half"), result=Raw(b"[null]"), error=Failure(type="E", message="m"), reason=Reason.ERROR,
        abort_requested_at=10, confirmed=False, hook="http://h", retry_of="i", crashes=1, priority=-3,
    )  # fmt: skip
    view = job_view(whole)
    body = msgspec.json.encode(view)
    back = msgspec.json.decode(body, type=JobView)
    assert msgspec.json.encode(back) == body
    assert back.run_at == "1970-01-01T00:00:00.000001Z"
    assert bytes(back.result) == b"[null]"
    assert back.state == state


def test_labels_are_shown_for_what_is_no_state():
    assert display_state(job(state=State.RUNNING, abort_requested_at=1)) == "aborting"
    assert display_state(job(state=State.RUNNING)) == "running"
    assert display_state(job(state=State.SCHEDULED, attempt=1, failures=1)) == "retrying"
    assert display_state(job(state=State.SCHEDULED, attempt=1, crashes=1)) == "retrying"
    assert display_state(job(state=State.SCHEDULED, attempt=1)) == "scheduled", "a snooze is no retry"
    assert display_state(job(state=State.SCHEDULED)) == "scheduled"


def test_attempts_events_output_and_pages():
    attempt = Attempt(
        attempt=1, worker="w", started_at=0, finished_at=1, outcome=Outcome.ERRORED, exit_code=3,
        error=Failure(type="exit", message="3"), proof=Proof(signals=[("TERM", 0.0)], processes=1),
    )  # fmt: skip
    for view, kind in (
        (attempt_view(attempt), AttemptView),
        (attempt_view(Attempt(attempt=2, worker="w", started_at=0)), AttemptView),
        (event_view(Event(seq=1, at=0, job="j", owner="o", kind="queued", state=State.QUEUED)), EventView),
        (log_view(LogChunk(job="j", attempt=1, n=0, stream="stdout", text="x", at=5)), LogView),
    ):
        assert msgspec.json.decode(msgspec.json.encode(view), type=kind) == view
    page = Page(items=[job_view(job())], next="j")
    assert msgspec.json.decode(msgspec.json.encode(page), type=Page[JobView]).next == "j"


def test_lanes_of_handlers_and_scripts_never_meet():
    assert job().lane == "h"
    assert job(kind="script", handler=None, script="true").lane == SCRIPT_LANE
    assert lane_of("handler", "script") != SCRIPT_LANE
    assert ":" in SCRIPT_LANE


def test_the_policy_is_the_jobs_own_or_the_default():
    assert job().policy == DEFAULT_BACKOFF
    assert job(backoff=Backoff(base=3)).policy.base == 3
