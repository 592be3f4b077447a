"""The simulation finds bugs: each of these takes one guard away, and some seed must fail.

A mutation is a change of the source's text, so that a guard that moves or changes is missed here at once.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from rota.core import settling
from rota.core.jobs import Report
from rota.service import changes, work
from rota.service.upkeep import Upkeep
from rota.service.work import Work
from rota.store.sqlite.tx import SqliteTx

from . import workers
from .simulate import Failed, run
from .workers import SimulatedWorker

MOST_SEEDS = 400


def mutate(monkeypatch: pytest.MonkeyPatch, holder: Any, name: str, old: str, new: str) -> None:
    """Replace a function by one whose text has `new` for `old`."""
    function = getattr(holder, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{name} has no such text any more: write this mutation anew\n{source}"
    found: dict[str, Any] = {}
    exec(compile("from __future__ import annotations\n" + source.replace(old, new), name, "exec"), function.__globals__, found)
    monkeypatch.setattr(holder, name, found[name])


def first_failure() -> str:
    for seed in range(MOST_SEEDS):
        try:
            run(seed)
        except Failed as failed:
            return str(failed).splitlines()[0]
    pytest.fail(f"{MOST_SEEDS} seeds found nothing")


def no_fencing(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Work, "settle", "or (job.attempt, job.worker) != (report.attempt, worker)", "")
    real = settling.settle

    def lenient(job: Any, report: Report, now: int, jitter: float) -> Any:
        return real(job, Report(job=job.id, attempt=job.attempt, outcome=report.outcome, error=report.error), now, jitter)

    monkeypatch.setattr(work, "settle", lenient)


def heartbeats_renew_what_they_do_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Work, "heartbeat", "if (lease.job, lease.attempt) in named:", "if True:")


def an_abort_is_forgotten_by_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(
        monkeypatch, settling, "settle", "if job.abort_requested_at is not None:",
        "if job.abort_requested_at is not None and report.outcome is not Outcome.SUCCEEDED:",
    )  # fmt: skip
    monkeypatch.setattr(work, "settle", settling.settle)


def rescue_does_not_wait_after_a_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Upkeep, "_hold_rescue", "self._held_at = now", "pass")


def rescue_does_not_look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Upkeep, "_has_expired", "return row.lease_until <= now and self._is_steady(now)", "return True")


def a_fence_trusts_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Upkeep, "_fence_at", "max(overdue.deadline_at, self._held_at)", "overdue.deadline_at")


def a_fence_confirms_an_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Upkeep, "end_overdue", "Outcome.TIMED_OUT if job.abort_requested_at is None else Outcome.LOST", "Outcome.TIMED_OUT")


def lost_workers_are_not_rescued(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Upkeep, "round", '("rescue", next_.lease if rescuable else None, self.rescue),', "")


def a_dependent_starts_after_the_first_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, changes, "_release", "if job.waiting_for == 1:", "if True:")


def a_claim_writes_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Work, "_claim", "for c in claimed\n", "for c in claimed[1:]\n")


def a_claim_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, SqliteTx, "claim_jobs", "self._moved(queue, lane, State.QUEUED, State.RUNNING)", "pass")


def a_worker_does_not_fence_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedWorker, "fences_itself", False)


def a_worker_has_no_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MARGIN_S", 0.0)


def a_worker_has_one_clock_for_all_its_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, SimulatedWorker, "_beat", "for run in named:", "for run in self.held.values():")


def a_worker_forgets_what_it_has_not_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, SimulatedWorker, "_settle", "if answers is not None and worker == self.id:", "if True:")


MUTATIONS: list[Callable[[pytest.MonkeyPatch], None]] = [
    no_fencing, heartbeats_renew_what_they_do_not_name, an_abort_is_forgotten_by_a_success, rescue_does_not_wait_after_a_jump,
    rescue_does_not_look_again, a_fence_trusts_the_clock, a_fence_confirms_an_abort, lost_workers_are_not_rescued,
    a_dependent_starts_after_the_first_of_two, a_claim_writes_no_event, a_claim_does_not_count,
    a_worker_does_not_fence_itself, a_worker_has_no_margin, a_worker_has_one_clock_for_all_its_leases,
]  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_guard_that_is_gone_is_missed(mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch):
    mutation(monkeypatch)
    print(first_failure())
