"""Which attempts need a row of their own, and how a job's are told."""

import pytest
from msgspec import Raw
from msgspec.structs import replace

from rota.core.jobs import Array, Attempt, Failure, Job, Proof, Report
from rota.core.settling import is_plain, settle, tries_of
from rota.core.states import Outcome, State

JOB = Job(id="a", state=State.RUNNING, kind="handler", attempt=2, worker="w.1", started_at=5, max_failures=3)
FIRST = Attempt(attempt=1, worker="w.0", started_at=1, finished_at=2, outcome=Outcome.LOST)
SUCCESS = Report(job="a", attempt=2, outcome=Outcome.SUCCEEDED, result=Raw(b"1"))


@pytest.mark.parametrize(
    ("report", "plain"),
    [
        (SUCCESS, True),
        (replace(SUCCESS, exit_code=0), False),
        (replace(SUCCESS, proof=Proof(processes=1)), False),
        (replace(SUCCESS, error=Failure(type="E", message="")), False),
        (replace(SUCCESS, outcome=Outcome.ERRORED), False),
        (replace(SUCCESS, outcome=Outcome.INTERRUPTED), False),
    ],
)
def test_only_a_success_of_which_nothing_else_is_known_is_plain(report: Report, plain: bool) -> None:
    assert is_plain(report, settle(JOB, report, 9, 0.5)) is plain
    assert not is_plain(report, settle(replace(JOB, abort_requested_at=7), report, 9, 0.5)), "it is an abort"


def test_the_last_attempt_stands_in_the_row_of_a_job_that_runs_or_has_succeeded() -> None:
    assert tries_of(JOB, [FIRST]) == [FIRST, Attempt(attempt=2, worker="w.1", started_at=5)]
    over = replace(JOB, state=State.SUCCEEDED, finished_at=9)
    last = Attempt(attempt=2, worker="w.1", started_at=5, finished_at=9, outcome=Outcome.SUCCEEDED)
    assert tries_of(over, [FIRST]) == [FIRST, last]
    written = replace(last, exit_code=0)
    assert tries_of(over, [FIRST, written]) == [FIRST, written], "one that has a row is told as it stands there"


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.FAILED, State.ABORTED])
def test_other_jobs_have_no_more_attempts_than_were_written(state: State) -> None:
    assert tries_of(replace(JOB, state=state, finished_at=9), [FIRST]) == [FIRST]


def test_an_array_and_what_never_ran_have_none_of_their_own() -> None:
    assert tries_of(replace(JOB, state=State.SUCCEEDED, array=Array(inputs=3)), []) == []
    assert tries_of(replace(JOB, state=State.SUCCEEDED, worker=None), []) == []
