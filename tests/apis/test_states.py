"""Every state in the words of every older API."""

from __future__ import annotations

from typing import Any

import pytest

from rota.core.jobs import Job
from rota.core.states import Reason, State
from rota.http.apis.states import TABLE, words

# (state, what else matters): the words of A, B, C, D
EXPECTED: list[tuple[State, dict[str, Any], tuple[str, str, str, str]]] = [
    (State.BLOCKED, {}, ("queued", "scheduled", "PENDING", "QUEUED")),
    (State.SCHEDULED, {}, ("queued", "scheduled", "PENDING", "SUBMITTED")),
    (State.SCHEDULED, {"attempt": 1, "failures": 1}, ("queued", "scheduled", "PENDING", "RETRYING")),
    (State.SCHEDULED, {"attempt": 1, "crashes": 1}, ("queued", "scheduled", "PENDING", "RETRYING")),
    (State.SCHEDULED, {"attempt": 1}, ("queued", "scheduled", "PENDING", "SUBMITTED")),  # snoozed
    (State.QUEUED, {}, ("queued", "scheduled", "PENDING", "SUBMITTED")),
    (State.QUEUED, {"attempt": 1, "failures": 1}, ("queued", "scheduled", "PENDING", "SUBMITTED")),
    (State.RUNNING, {"attempt": 1}, ("running", "running", "RUNNING", "INPROGRESS")),
    (State.RUNNING, {"attempt": 1, "abort_requested_at": 1}, ("running", "running", "RUNNING", "INPROGRESS")),
    (State.RUNNING, {"attempt": 2, "failures": 1}, ("running", "running", "RUNNING", "INPROGRESS")),
    (State.SUCCEEDED, {"attempt": 1}, ("successful", "finished", "COMPLETED", "COMPLETED")),
    (State.SUCCEEDED, {"attempt": 2, "failures": 1}, ("successful", "finished", "COMPLETED", "COMPLETED")),
    *(
        (State.FAILED, {"attempt": 1, "reason": reason}, ("terminated", "finished", "FAILED", "FAILED"))
        for reason in (Reason.ERROR, Reason.LOST, Reason.OUT_OF_MEMORY, Reason.BAD_RESULT, Reason.REFUSED)
    ),
    (State.FAILED, {"attempt": 1, "reason": Reason.TIMED_OUT}, ("terminated", "finished", "TIMED_OUT", "FAILED")),
    (State.ABORTED, {"attempt": 1, "abort_requested_at": 1}, ("aborted", "canceled", "CANCELED", "CANCELED")),
    (State.CANCELED, {"reason": Reason.REQUESTED}, ("aborted", "canceled", "CANCELED", "CANCELED")),
    (State.CANCELED, {"reason": Reason.DEPENDENCY}, ("aborted", "canceled", "CANCELED", "CANCELED")),
]


@pytest.mark.parametrize(("state", "fields", "expected"), EXPECTED)
def test_a_state_has_its_word_in_each_api(
    state: State, fields: dict[str, Any], expected: tuple[str, str, str, str]
) -> None:
    said = words(Job(id="x", state=state, kind="handler", handler="h", **fields))
    assert (said.a, said.b, said.c, said.d) == expected


def test_no_state_and_no_row_is_forgotten() -> None:
    assert {state for state, _, _ in EXPECTED} == set(State)
    assert {expected for _, _, expected in EXPECTED} == {(w.a, w.b, w.c, w.d) for w in TABLE.values()}
    assert set(TABLE) == {state.value for state in State} | {"retrying", "timed_out"}
