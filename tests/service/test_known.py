"""What a server remembers of the attempts that it has handed out."""

import pytest

from rota.core.jobs import Lease, Report
from rota.core.states import Outcome
from rota.service import known as module
from rota.service.known import Known
from rota.store.protocol import Claimed


def claimed(job: str, *, hook: str | None = None, lane: str = "h") -> Claimed:
    lease = Lease(job=job, attempt=1, handler="h", owner="ana", hook=hook)
    return Claimed(lease=lease, queue="q", lane=lane, ready_at=3, run="r")


def report(job: str, attempt: int = 1, outcome: Outcome = Outcome.SUCCEEDED) -> Report:
    return Report(job=job, attempt=attempt, outcome=outcome)


def test_successes_of_what_was_handed_out_are_known_once_by_id() -> None:
    known = Known()
    known.note("w", [claimed("b"), claimed("a")], 5)
    found = known.take("w", [report("b"), report("a"), report("c")])
    assert [(job.id, said.job) for job, said in found] == [("a", "a"), ("b", "b")]
    job = found[0][0]
    assert (job.state, job.lane, job.queue, job.owner, job.run) == ("running", "h", "q", "ana", "r")
    assert (job.worker, job.attempt, job.started_at, job.run_at) == ("w", 1, 5, 3)
    assert known.take("w", [report("a")]) == []


@pytest.mark.parametrize(
    ("held", "worker", "said"),
    [
        (claimed("a"), "w", report("a", outcome=Outcome.ERRORED)),
        (claimed("a"), "w", report("a", attempt=2)),
        (claimed("a"), "v", report("a")),
        (claimed("a", hook="http://h/x"), "w", report("a")),
        (claimed("a", lane="h;gpu=true"), "w", report("a")),
    ],
    ids=["another outcome", "another attempt", "another worker", "a hook", "needs"],
)
def test_the_rest_is_read(held: Claimed, worker: str, said: Report) -> None:
    known = Known()
    known.note("w", [held], 5)
    assert known.take(worker, [said]) == []


def test_not_more_is_remembered_than_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    known = Known()
    known.note("w", [claimed("a"), claimed("b"), claimed("c")], 5)
    known.note("w", [claimed("d")], 6)
    assert [job.id for job, _ in known.take("w", [report("a"), report("d")])] == ["d"]
