"""Every outcome with every shape of job: nothing that a worker reports leads to a state that is not drawn."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec import Raw, structs

from rota.core.errors import Conflict
from rota.core.jobs import CRASH_BUDGET, Array, Failure, InputReport, Job, Proof, Report
from rota.core.retry import Backoff
from rota.core.settling import Settlement, cancel, check_over, release, settle, settle_array, settle_input
from rota.core.states import FINAL, TRANSITIONS, WAITING, Outcome, Reason, State
from rota.core.times import MAX_DELAY_S, SECOND

NOW = 1_700_000_000 * SECOND
RUN_AT = NOW - 60 * SECOND
BACKOFF = Backoff(base=8, factor=3, limit=1000)
ERROR = Failure(type="ValueError", message="no")
OLD_ERROR = Failure(type="KeyError", message="the attempt before")


@dataclass(frozen=True)
class Case:
    outcome: Outcome
    aborting: bool
    failures: int
    crashes: int
    max_failures: int | None
    refused: bool
    charged: bool
    retry_in_s: float | None
    survivors: bool

    def job(self) -> Job:
        return Job(
            id="j", state=State.RUNNING, kind="handler", handler="h", attempt=7, worker="w", started_at=NOW - SECOND,
            run_at=RUN_AT, failures=self.failures, crashes=self.crashes, max_failures=self.max_failures, backoff=BACKOFF,
            abort_requested_at=NOW - 1 if self.aborting else None, error=OLD_ERROR,
        )  # fmt: skip

    def report(self) -> Report:
        return Report(
            job="j", attempt=7, outcome=self.outcome, result=Raw(b'"done"'), error=ERROR, refused=self.refused,
            charged=self.charged, retry_in_s=self.retry_in_s,
            proof=Proof(processes=2, survivors=[99]) if self.survivors else Proof(processes=2),
        )  # fmt: skip

    def settle(self, jitter: float = 0.5) -> Settlement:
        return settle(self.job(), self.report(), NOW, jitter)


CASES = [
    Case(*shape)
    for shape in itertools.product(
        Outcome,
        (False, True),
        (0, 1, 4),
        (0, 1, CRASH_BUDGET - 2, CRASH_BUDGET - 1),
        (None, 1, 2, 5),
        (False, True),
        (False, True),
        (None, -1.0, 0.0, 2.5, 1e300),
        (False, True),
    )
]


def test_the_table_is_whole():
    assert len(CASES) == len(Outcome) * 2 * 3 * 4 * 4 * 2 * 2 * 5 * 2
    assert {case.outcome for case in CASES} == set(Outcome)


@pytest.mark.parametrize("outcome", Outcome)
def test_every_settlement_is_drawn_and_complete(outcome: Outcome):
    for case in CASES:
        if case.outcome is not outcome:
            continue
        job = case.job()
        for jitter in (0.0, 0.999):
            s = settle(job, case.report(), NOW, jitter)
            assert s.state in TRANSITIONS[State.RUNNING], case
            assert (s.finished_at == NOW) if s.state in FINAL else (s.finished_at is None), case
            assert s.failures in (job.failures, job.failures + 1), case
            assert s.crashes in (job.crashes, job.crashes + 1), case
            assert (s.failures - job.failures) + (s.crashes - job.crashes) <= 1, case
            assert s.failures <= max(job.failures + 1, job.max_failures or 1), case
            assert s.crashes <= CRASH_BUDGET, case
            assert (s.result is not None) == (s.state is State.SUCCEEDED), case
            assert (s.confirmed is not None) == (s.state is State.ABORTED), case
            assert (s.reason is not None) == (s.state in (State.FAILED, State.ABORTED)), case
            if s.state is State.SCHEDULED:
                assert NOW < s.run_at <= NOW + MAX_DELAY_S * SECOND, case
            if s.state is State.QUEUED:
                assert s.run_at in (RUN_AT, NOW), case
            if s.state in FINAL:
                assert s.run_at == RUN_AT, case
        assert job == case.job(), "settle changes nothing by itself"


def test_after_an_abort_request_every_outcome_is_aborted():
    for case in CASES:
        if not case.aborting:
            continue
        s = case.settle()
        assert (s.state, s.reason) == (State.ABORTED, Reason.REQUESTED), case
        assert (s.failures, s.crashes) == (case.failures, case.crashes), case
        assert s.result is None, case
        assert s.confirmed is (case.outcome is not Outcome.LOST and not case.survivors), case


def test_a_proof_is_not_needed_for_confirmation_but_a_loss_refutes_it():
    job = next(case.job() for case in CASES if case.aborting)
    for outcome in Outcome:
        s = settle(job, Report(job="j", attempt=7, outcome=outcome), NOW, 0.5)
        assert s.confirmed is (outcome is not Outcome.LOST)


def plain(outcome: Outcome, **changes: object) -> Case:
    values: dict[str, object] = {
        "aborting": False, "failures": 0, "crashes": 0, "max_failures": None, "refused": False, "charged": True,
        "retry_in_s": None, "survivors": False,
    }  # fmt: skip
    return Case(outcome=outcome, **{**values, **changes})  # type: ignore[arg-type]


def test_success_keeps_the_result_and_forgets_the_error():
    s = plain(Outcome.SUCCEEDED, failures=3, crashes=2).settle()
    assert (s.state, bytes(s.result or b""), s.error, s.reason) == (State.SUCCEEDED, b'"done"', None, None)
    assert (s.failures, s.crashes) == (3, 2)


CHARGED = {
    Outcome.ERRORED: Reason.ERROR,
    Outcome.TIMED_OUT: Reason.TIMED_OUT,
    Outcome.ABORTED: Reason.ERROR,  # nobody had asked for it
}


@pytest.mark.parametrize("outcome", CHARGED)
@pytest.mark.parametrize("max_failures", [None, 1, 2, 5])
@pytest.mark.parametrize("failures", range(6))
def test_failures_are_counted_against_the_budget(outcome: Outcome, max_failures: int | None, failures: int):
    s = plain(outcome, failures=failures, max_failures=max_failures).settle(jitter=0.0)
    assert s.failures == failures + 1
    assert s.crashes == 0
    assert s.error == ERROR
    if failures + 1 >= (max_failures or 1):
        assert (s.state, s.reason) == (State.FAILED, CHARGED[outcome])
    else:
        assert s.state is State.SCHEDULED
        assert s.run_at == NOW + round(BACKOFF.delay_s(failures + 1, 0.0) * SECOND)


@pytest.mark.parametrize("outcome", CHARGED)
def test_a_pause_that_the_handler_asked_for_replaces_the_back_off(outcome: Outcome):
    assert plain(outcome, max_failures=5, retry_in_s=2.5).settle().run_at == NOW + 2_500_000
    at_once = plain(outcome, max_failures=5, retry_in_s=0.0).settle()
    assert (at_once.state, at_once.run_at, at_once.failures) == (State.QUEUED, NOW, 1)


@pytest.mark.parametrize("outcome", [Outcome.ERRORED, Outcome.SNOOZED])
@pytest.mark.parametrize("asked", [MAX_DELAY_S * 2, 1e15, 1e300, float("inf"), float("nan")])
def test_a_pause_is_at_most_the_longest_delay_there_is(outcome: Outcome, asked: float):
    s = plain(outcome, max_failures=5, retry_in_s=asked).settle()
    assert NOW <= s.run_at <= NOW + MAX_DELAY_S * SECOND


def test_a_refusal_and_a_bad_result_are_never_retried():
    for case, reason in (
        (plain(Outcome.ERRORED, refused=True, max_failures=9), Reason.REFUSED),
        (plain(Outcome.BAD_RESULT, max_failures=9), Reason.BAD_RESULT),
    ):
        s = case.settle()
        assert (s.state, s.reason, s.failures, s.error) == (State.FAILED, reason, 1, ERROR)


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.ERRORED])
def test_a_refusal_goes_with_an_error_only(outcome: Outcome):
    assert plain(outcome, max_failures=5, refused=True).settle() == plain(outcome, max_failures=5).settle()


@pytest.mark.parametrize(
    ("outcome", "reason"), [(Outcome.LOST, Reason.LOST), (Outcome.OUT_OF_MEMORY, Reason.OUT_OF_MEMORY)]
)
@pytest.mark.parametrize("crashes", range(CRASH_BUDGET))
def test_crashes_have_a_budget_of_their_own(outcome: Outcome, reason: Reason, crashes: int):
    s = plain(outcome, failures=2, crashes=crashes, max_failures=3).settle(jitter=0.0)
    assert (s.failures, s.crashes) == (2, crashes + 1)
    if crashes + 1 == CRASH_BUDGET:
        assert (s.state, s.reason) == (State.FAILED, reason)
    elif crashes == 0:
        assert (s.state, s.run_at) == (State.QUEUED, RUN_AT)
    else:
        assert s.state is State.SCHEDULED
        assert s.run_at == NOW + round(BACKOFF.delay_s(crashes, 0.0) * SECOND)


def test_what_no_process_saw_and_what_a_drain_gave_back_keeps_its_place_and_its_budget():
    for case in (
        plain(Outcome.LOST, charged=False, failures=1, crashes=CRASH_BUDGET - 1, max_failures=2),
        plain(Outcome.INTERRUPTED, failures=1, crashes=CRASH_BUDGET - 1, max_failures=2),
    ):
        s = case.settle()
        assert (s.state, s.run_at, s.failures, s.crashes) == (State.QUEUED, RUN_AT, 1, CRASH_BUDGET - 1)


@pytest.mark.parametrize(("asked", "state"), [(None, State.QUEUED), (0.0, State.QUEUED), (3.0, State.SCHEDULED)])
def test_a_snooze_costs_nothing(asked: float | None, state: State):
    s = plain(Outcome.SNOOZED, failures=1, crashes=1, max_failures=2, retry_in_s=asked).settle()
    assert (s.state, s.failures, s.crashes) == (state, 1, 1)
    assert s.run_at == NOW + round((asked or 0) * SECOND)


def test_what_is_tried_again_keeps_the_last_error_until_there_is_a_new_one():
    case = plain(Outcome.INTERRUPTED)
    report = Report(job="j", attempt=7, outcome=Outcome.INTERRUPTED)
    assert settle(case.job(), report, NOW, 0.0).error == OLD_ERROR


@pytest.mark.parametrize("state", [s for s in State if s is not State.RUNNING])
def test_only_what_runs_is_settled(state: State):
    job = plain(Outcome.SUCCEEDED).job()
    job.state = state
    with pytest.raises(Conflict) as caught:
        settle(job, Report(job="j", attempt=7, outcome=Outcome.SUCCEEDED), NOW, 0.0)
    assert caught.value.state == state


@pytest.mark.parametrize("attempt", [6, 8])
def test_another_attempt_settles_nothing(attempt: int):
    with pytest.raises(Conflict):
        settle(plain(Outcome.SUCCEEDED).job(), Report(job="j", attempt=attempt, outcome=Outcome.SUCCEEDED), NOW, 0.0)


@pytest.mark.parametrize("state", State)
def test_cancel(state: State):
    job = Job(id="j", state=state, kind="script", script="true", failures=1, crashes=2, run_at=RUN_AT)
    if state not in WAITING:
        with pytest.raises(Conflict):
            cancel(job, NOW, Reason.REQUESTED)
        return
    s = cancel(job, NOW, Reason.DEPENDENCY, ERROR)
    assert State.CANCELED in TRANSITIONS[state]
    assert (s.state, s.finished_at, s.reason, s.error) == (State.CANCELED, NOW, Reason.DEPENDENCY, ERROR)
    assert (s.failures, s.crashes) == (1, 2)


@pytest.mark.parametrize(
    ("run_at", "state"), [(NOW - 1, State.QUEUED), (NOW, State.QUEUED), (NOW + 1, State.SCHEDULED)]
)
def test_release(run_at: int, state: State):
    job = Job(id="j", state=State.BLOCKED, kind="script", script="true", run_at=run_at)
    s = release(job, NOW)
    assert (s.state, s.run_at, s.finished_at) == (state, run_at, None)
    assert state in TRANSITIONS[State.BLOCKED]


@pytest.mark.parametrize("state", State)
def test_only_what_is_over_is_run_again(state: State):
    job = Job(id="j", state=state, kind="script", script="true")
    if state in FINAL:
        check_over(job)
    else:
        with pytest.raises(Conflict):
            check_over(job)


# -- inputs of arrays, and arrays


def an_input(case: Case, **array: Any) -> tuple[Job, InputReport]:
    """Return the array with an input's failures and crashes, and what was reported of the input."""
    job = structs.replace(case.job(), array=Array(inputs=9, **array), worker=None)
    whole = case.report()
    report = InputReport(
        job="j", attempt=7, index=3, outcome=whole.outcome, result=whole.result, error=ERROR, refused=whole.refused,
        retry_in_s=whole.retry_in_s,
    )  # fmt: skip
    return job, report


def test_an_input_is_settled_as_a_job_with_its_failures_and_crashes_would_be():
    for case in CASES:
        if case.aborting or not case.charged or case.survivors:
            continue
        job, report = an_input(case)
        assert settle_input(job, report, NOW, 0.5) == case.settle(), case


@pytest.mark.parametrize("halted", [None, "now,fail=1"])
def test_an_input_that_was_stopped_with_its_array_is_aborted_and_a_success_stays_one(halted: str | None):
    for case in CASES:
        if not (case.aborting or halted):
            continue
        job, report = an_input(case, halted=halted)
        s = settle_input(job, report, NOW, 0.5)
        assert s.state in FINAL, "it never runs again"
        assert s.state is (State.SUCCEEDED if case.outcome is Outcome.SUCCEEDED else State.ABORTED), case
        assert job.abort_requested_at == case.job().abort_requested_at


def array_of(
    done: int, failed: int, halted: str | None = None, *, proven: bool = True, aborting: bool = False
) -> Settlement | None:
    job = Job(
        id="j", state=State.RUNNING, kind="handler", handler="h", attempt=7, run_at=RUN_AT,
        abort_requested_at=NOW if aborting else None,
    )  # fmt: skip
    array = Array(inputs=10, done=done, failed=failed, halt=halted, halted=halted, proven=proven)
    return settle_array(job, array, NOW)


@pytest.mark.parametrize(
    ("done", "failed", "halted", "state", "message"),
    [
        (9, 9, None, None, None),
        (10, 0, None, State.SUCCEEDED, None),
        (10, 1, None, State.FAILED, "1 of 10 inputs failed"),
        (3, 1, "now,fail=1", State.FAILED, "1 of 10 inputs failed; now,fail=1 ended it before the others"),
        (5, 1, "soon,done=50%", State.FAILED, "1 of 10 inputs failed; soon,done=50% ended it before the others"),
        (5, 0, "soon,done=50%", State.SUCCEEDED, None),
        (7, 4, "now,success=3", State.SUCCEEDED, None),
    ],
)
def test_an_array_is_over_when_all_its_inputs_are_or_its_rule_says_so(
    done: int, failed: int, halted: str | None, state: State | None, message: str | None
):  # fmt: skip
    s = array_of(done, failed, halted)
    assert (s and s.state) == state
    assert (s and s.error and s.error.message) == message
    if s is not None:
        assert (s.finished_at, s.reason) == (NOW, Reason.ERROR if state is State.FAILED else None)


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize(("done", "failed", "halted"), [(0, 0, None), (10, 0, None), (4, 4, "now,fail=1")])
def test_an_aborted_array_is_aborted_whatever_it_had_done(done: int, failed: int, halted: str | None, proven: bool):
    s = array_of(done, failed, halted, proven=proven, aborting=True)
    assert s is not None
    assert (s.state, s.reason, s.confirmed) == (State.ABORTED, Reason.REQUESTED, proven)
