"""The reports of a worker that the server has not answered yet. They are sent again and again, in batches, until it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rota.core.jobs import Failure, Report
from rota.core.states import Outcome
from rota.worker.queue import Key

_MOST = 1000  # reports in one call
_LARGEST = 8 << 20  # bytes of results in one call, unless a single one is larger
# What is said of an attempt, or an input, whose true end the server refuses to hear.
INSTEAD = {Outcome.SUCCEEDED: Outcome.BAD_RESULT, Outcome.SNOOZED: Outcome.ERRORED}
_UNREPORTABLE = "the server refused the report of this attempt: "


class Reports:
    """What has to be told, oldest first. The batch forms while the previous one is on its way: no timer, nobody waits."""

    def __init__(self) -> None:
        self._unsettled: dict[Key, Report] = {}
        self._alone: set[Key] = set()  # refused in a batch; sent one by one, so that one bad report holds up no other
        self._refused: set[Key] = set()

    def add(self, report: Report) -> None:
        """Keep a report until it is answered."""
        self._unsettled[report.job, report.attempt] = report

    def batch(self, unready: Callable[[Key], bool] = lambda _key: False) -> list[Report]:
        """Return what to send now: all but those whose output is still `unready`, within the limits of one call."""
        chosen: list[Report] = []
        size = 0
        for key, report in self._unsettled.items():
            if unready(key):
                continue
            if key in self._alone:
                return [report]
            size += len(memoryview(report.result))
            if chosen and (len(chosen) == _MOST or size > _LARGEST):
                break
            chosen.append(report)
        return chosen

    def forget(self, key: Key) -> Report | None:
        """Stop sending a report: it was answered, or nobody wants it any more."""
        self._alone.discard(key)
        self._refused.discard(key)
        return self._unsettled.pop(key, None)

    def refused(self, batch: Iterable[Report], error: str) -> list[Report]:
        """Find out which report of a refused batch is the bad one; return those that cannot be told at all.

        A batch is sent again one by one. One that is refused alone is replaced by the news that it cannot be told.
        """
        batch = list(batch)
        if len(batch) > 1:
            self._alone.update((report.job, report.attempt) for report in batch)
            return []
        hopeless = []
        for report in batch:
            key = (report.job, report.attempt)
            if key in self._refused:
                self.forget(key)
                hopeless.append(report)
            elif key in self._unsettled:
                self._refused.add(key)
                self._alone.add(key)
                self._unsettled[key] = _news_of_refusal(report, error)
        return hopeless


def _news_of_refusal(report: Report, error: str) -> Report:
    """Return a report that a server can always read, in place of one that it would not (a result over its limit)."""
    return Report(
        job=report.job,
        attempt=report.attempt,
        outcome=INSTEAD.get(report.outcome, report.outcome),
        error=Failure(type="BadResult", message=_UNREPORTABLE + error),
        proof=report.proof,
    )
