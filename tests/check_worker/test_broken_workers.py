"""Each broken worker is caught, by the check that is there for it, and for the right reason."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from rota.wiring.check_worker.run import Result, chosen, run_checks

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
SHORT_S = 6.0
LONGER_S = (SHORT_S, 4 * SHORT_S, 10 * SHORT_S)  # on a busy machine a worker is caught for being slow first

# the broken worker, the check that catches it, a part of what it says
CASES = [
    ("NeverHeartbeats", "heartbeats", ""),
    ("NamesNothing", "heartbeats", ""),
    ("HeartbeatsOnlyBetweenJobs", "heartbeats", "lost"),
    ("IgnoresAborts", "abort", "it is running"),
    ("ReportsAbortsTooEarly", "abort", "not before"),
    ("ProvesNothing", "abort", "with a proof"),
    ("ReportsSuccessOfWhatWasAborted", "abort", "outcome is aborted"),
    ("HearsOnlyTheWatch", "abort-by-heartbeat", "it is running"),
    ("IgnoresTimeouts", "timeout", ""),
    ("LeavesChildrenBehind", "script", "still run"),
    ("ReportsAnotherAttempt", "runs", ""),
    ("ReportsTwiceWithAWrongAttempt", "runs", "named attempt 2"),
    ("ReportsTexts", "runs", "the result"),
    ("HidesMessages", "fails", "something went wrong"),
    ("OffersLess", "registers", "that it offers rota.check.fail"),
    ("SendsFieldsOfItsOwn", "registers", ""),
    ("TakesTooMany", "slots", "ran at once"),
    ("NumbersOutputAnew", "logs", "numbers"),
    ("TellsOutputAtTheEnd", "logs", "while the job runs"),
    ("DropsOutput", "errors", "lines that the job wrote"),
    ("ReportsOnce", "lost-report", ""),
    ("ReportsUntilAccepted", "stale-report", "again"),
    ("ReportsUntilAccepted", "repeated-requests", "again"),
    ("GivesUpAtTheStart", "lost-register-reply", "ended with status 1"),
    ("GivesUpAfterAnError", "errors", ""),
    ("GivesUpAfterAnError", "restart", ""),
    ("RegistersAgainWhenACallFails", "lost-heartbeat-reply", ""),
    ("Spins", "long-poll", "claims"),
    ("IsStrictAboutAnswers", "unknown-fields", ""),
    ("RunsOnWhenCutOff", "outage-refused", "another worker"),
    ("RunsOnWhenCutOff", "outage-silent", "another worker"),
    ("CountsFromTheLastHeartbeatItSent", "outage-refused", "another worker"),
    ("WaitsForEverForAHeartbeat", "outage-silent", "another worker"),
    ("RunsWhatIsLost", "lost", "still running"),
    ("StaysWhenItIsForgotten", "forgotten", "registers again"),
    ("RegistersBeforeItKills", "forgotten", "only then registers"),
    ("IgnoresDrain", "drain", "still runs"),
    ("IgnoresSigterm", "leaves", "still runs"),
    ("GoesWithoutGoodbye", "leaves", "that it leaves"),
    ("DiesAtOnce", "leaves-busy", ""),
    ("ReportsForEver", "leaves-alone", "still runs"),
]


def checked(worker: str, *checks: str, **more: Any) -> list[Result]:
    command = ["env", f"PYTHONPATH={ROOT}:{ROOT / 'src'}", sys.executable, "-m", "tests.check_worker.broken", worker]
    return asyncio.run(run_checks(command, chosen(checks), **{"patience_s": SHORT_S, **more}))


def test_the_worker_that_they_are_made_of_is_right() -> None:
    results = checked("none", lease_s=12.0, patience_s=60.0)
    assert [f"{one.name}: {one.expected}; {one.seen}; {one.output}" for one in results if not one.passed] == []
    assert [one.name for one in results if one.skipped] == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("worker", "check", "told"), CASES, ids=[f"{worker}-{check}" for worker, check, _ in CASES])
def test_a_broken_worker_is_caught(worker: str, check: str, told: str) -> None:
    for patience_s in LONGER_S:
        (result,) = checked(worker, check, patience_s=patience_s)
        if not result.passed and told in f"{result.expected}; {result.seen}":
            break
    assert not result.passed
    assert told in f"{result.expected}; {result.seen}", f"{result.expected}; {result.seen}; {result.output}"
