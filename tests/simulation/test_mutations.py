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
from rota.service import arrays, changes, copies, heartbeats, inputs, work
from rota.service.upkeep import Upkeep
from rota.service.work import Work
from rota.store.sqlite.runner import InlineRunner
from rota.store.sqlite.tx import SqliteTx

from . import simulate
from .simulate import Failed, run
from .workers import SimulatedWorker
from .world import HARSH, Crash, Odds

MOST_SEEDS = 400
# The life that shows what few others do is tried first: to search for it costs up to a minute.
SHOWN_BY = {
    "an_abort_is_forgotten_by_a_success": 196,
    "what_was_skipped_is_forgotten": 57,
    "results_of_a_lost_shard_are_taken_for_the_next": 29,
    "rescue_does_not_wait_after_a_jump": 18,
    "a_fence_trusts_the_clock": 18,
    "an_aborted_array_is_opened_again": 12,
    "a_lost_abort_is_confirmed": 12,
    "inputs_whose_time_has_come_are_not_promoted": 10,
}


def mutate(monkeypatch: pytest.MonkeyPatch, holder: Any, name: str, old: str, new: str) -> None:
    """Replace a function by one whose text has `new` for `old`."""
    function = getattr(holder, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{name} has no such text any more: write this mutation anew\n{source}"
    found: dict[str, Any] = {}
    exec(
        compile("from __future__ import annotations\n" + source.replace(old, new), name, "exec"),
        function.__globals__,
        found,
    )
    monkeypatch.setattr(holder, name, found[name])


def first_failure(mutation: Callable[[pytest.MonkeyPatch], None], odds: Odds) -> str:
    for seed in (SHOWN_BY.get(mutation.__name__, 0), *range(MOST_SEEDS)):
        try:
            run(seed, odds=odds)
        except Failed as failed:
            return str(failed).splitlines()[0]
    pytest.fail(f"{MOST_SEEDS} seeds found nothing")


def no_fencing(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Work, "settle", "or (job.attempt, job.worker) != (report.attempt, worker)", "")
    real = settling.settle

    def lenient(job: Any, report: Report, now: int, jitter: float) -> Any:
        return real(
            job, Report(job=job.id, attempt=job.attempt, outcome=report.outcome, error=report.error), now, jitter
        )

    monkeypatch.setattr(work, "settle", lenient)


def heartbeats_renew_what_they_do_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, heartbeats, "_ends", "if (lease.job, lease.attempt) in named:", "if True:")


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


def lost_workers_are_not_rescued(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Upkeep, "_steps", '"rescue": (next_.lease if rescuable else None, self.rescue),', "")


def a_dependent_starts_after_the_first_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, changes, "_count", "if stands.verdict is Verdict.START:", "if True:")


def a_claim_writes_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Work, "_claim", "for c in claim.jobs\n", "for c in claim.jobs[1:]\n")


def a_claim_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(
        monkeypatch,
        SqliteTx,
        "claim_jobs",
        'self._moved(turn.queue, turn.lane, "queued", "running", run=offer.run, owner=turn.owner)',
        "pass",
    )


def a_worker_does_not_fence_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedWorker, "fences_itself", False)


def a_submission_is_answered_before_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash between the two loses what was acknowledged."""
    real = InlineRunner.run

    async def run(self: InlineRunner, function: Any) -> Any:
        kept: list[Any] = []

        async def keep(tx: Any) -> Any:
            kept.append(await function(tx))
            return kept[0]

        try:
            return await real(self, keep)
        except Crash:
            return kept[0]

    monkeypatch.setattr(InlineRunner, "run", run)


def the_rest_of_a_lost_shard_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, arrays, "end_shard", "await tx.put_ranges(job.id, ranges)", "pass")


def what_is_told_twice_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(
        monkeypatch, arrays, "store_results", "if not shard.told <= report.index", "if not shard.first <= report.index"
    )


def what_was_skipped_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, arrays, "store_results", "if report.index > shard.told:", "if False:")


def parallel_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, arrays, "_reopen", "array.parallel is None or array.live < array.parallel", "True")
    mutate(monkeypatch, arrays, "cut", "array.parallel is not None and array.live >= array.parallel", "False")


def results_of_a_lost_shard_are_taken_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(
        monkeypatch, Work, "_store_results", "if shard is not None and shard.worker == worker:",
        "at = told[0].index\n"
        "        heirs = [s for s in await tx.shards_of(job) if s.told <= at < s.first + s.n]\n"
        "        shard = shard or next(iter(heirs), None)\n"
        "        if shard is not None:",
    )  # fmt: skip


def an_aborted_array_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, arrays, "is_stopped", "job.abort_requested_at is not None or ", "")


def a_halted_array_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, arrays, "store_results", "if again or halted:", "if again:")


def unnamed_shards_are_not_rescued(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, Upkeep, "rescue", "await tx.unnamed_shards(_BATCH)", "[]")


def inputs_whose_time_has_come_are_not_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, arrays, "promote_ranges", "await _reopen(tx, job, array)", "pass")


def a_range_that_is_cut_in_two_loses_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, arrays, "cut", "await tx.put_ranges(job.id, [rest])", "pass")


def a_lost_abort_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, arrays, "end_shard", "array.proven = False", "pass")


def a_retry_runs_all_again(monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, inputs, "retry_array", "stands[n] = 1", "pass")
    monkeypatch.setattr(copies, "retry_array", inputs.retry_array)


MUTATIONS: list[tuple[Callable[[pytest.MonkeyPatch], None], Odds]] = [
    (no_fencing, Odds()),
    (heartbeats_renew_what_they_do_not_name, Odds()),
    (an_abort_is_forgotten_by_a_success, Odds(crash=0.0, lose=0.3, double=0.0, late=0.3, slow=0.0)),
    (rescue_does_not_wait_after_a_jump, Odds()),
    (rescue_does_not_look_again, Odds(crash=0.0, lose=0.3, double=0.1, late=0.3, slow=0.2)),
    (a_fence_trusts_the_clock, Odds()),
    (lost_workers_are_not_rescued, Odds()),
    (a_dependent_starts_after_the_first_of_two, Odds()),
    (a_claim_writes_no_event, Odds()),
    (a_claim_does_not_count, Odds()),
    (a_worker_does_not_fence_itself, HARSH),
    (a_submission_is_answered_before_its_commit, Odds()),
]
OF_ARRAYS = [
    the_rest_of_a_lost_shard_is_forgotten,
    what_is_told_twice_counts_twice,
    what_was_skipped_is_forgotten,
    parallel_is_ignored,
    results_of_a_lost_shard_are_taken_for_the_next,
    an_aborted_array_is_opened_again,
    a_halted_array_stays_open,
    unnamed_shards_are_not_rescued,
    inputs_whose_time_has_come_are_not_promoted,
    a_range_that_is_cut_in_two_loses_its_end,
    a_lost_abort_is_confirmed,
    a_retry_runs_all_again,
]


@pytest.mark.parametrize(("mutation", "odds"), MUTATIONS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_guard_that_is_gone_is_missed(
    mutation: Callable[[pytest.MonkeyPatch], None], odds: Odds, monkeypatch: pytest.MonkeyPatch
):
    mutation(monkeypatch)
    print(first_failure(mutation, odds))


@pytest.mark.parametrize("mutation", OF_ARRAYS)
def test_a_guard_of_arrays_that_is_gone_is_missed(
    mutation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(simulate, "ARRAYS", 0.7)
    mutation(monkeypatch)
    print(first_failure(mutation, Odds()))
