"""A shard of an array on its worker: its inputs run one after another, in one slot, each through the executor.

What becomes of an input is told at once, as an InputReport; the shard's own Report only says why it ended. So whatever
ends a shard before its time (an abort, a drain, a halt), the inputs that are over stay over, and the service runs the rest
again. An input that takes its process along has lost that process only: the shard goes on.

The executor hears of the next input together with one, and may begin it before the end of that has come here. So an end
of the shard is told the executor at once, and what has begun by then is waited for.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from rota.core.jobs import InputReport, Lease, Proof, Report
from rota.core.states import Outcome
from rota.worker.executor import Executor
from rota.worker.output import Output

_INTERRUPTIONS = 3  # of one input, by others that shared its process, before it is given back with the rest
_NOT_OVER = frozenset({Outcome.ABORTED, Outcome.INTERRUPTED})  # outcomes of inputs that were stopped with their shard


class Shard:
    """One shard. `ours` says whether its lease still is, at a time of `clock`: else nothing more is started, nor told.

    `on_survivors` hears of inputs of which processes outlived SIGKILL.
    """

    def __init__(
        self,
        lease: Lease,
        executor: Executor,
        output: Output,
        *,
        clock: Callable[[], float],
        ours: Callable[[float], bool],
        on_survivors: Callable[[Report], None],
    ) -> None:
        self._lease = lease
        self._executor = executor
        self._output = output
        self._clock = clock
        self._ours = ours
        self._on_survivors = on_survivors
        self._key = (lease.job, lease.attempt)
        self._ended_at = 0.0  # of the last input, by the clock
        self._end: Outcome | None = None
        self._proof = Proof()

    def end(self, outcome: Outcome) -> None:
        """Start no other input, and report the shard's end with `outcome`. What runs now is the caller's to stop, or not.

        INTERRUPTED gives way to whatever else is said. After LOST nothing more is told.
        """
        if self._end is None or outcome is not Outcome.INTERRUPTED:
            self._end = outcome
        self._executor.recall(*self._key)
        self._output.look_again()

    async def run(self) -> Report:
        """Run input after input, and return how the shard ended. Raises what the executor raises."""
        following = self._input(0)
        while (lease := following) is not None:
            following = self._input((lease.index or 0) - (self._lease.first or 0) + 1)
            while self._end is None and self._output.is_full():
                await self._output.room()
            if self._end is not None and not self._executor.holds(*self._key):
                return self._report(self._end)
            over = await self._run_input(lease, following)
            if over is not None:
                if self._executor.holds(*self._key) and following is not None:  # it is ours no more
                    self._executor.stop(*self._key, 0.0, Outcome.LOST)
                    await self._executor.run(following)
                return over
        return self._report(self._end or Outcome.SUCCEEDED)

    def _input(self, at: int) -> Lease | None:
        """Return what the executor is given of an input; None after the last."""
        if at >= len(self._lease.inputs):
            return None
        return replace(self._lease, first=None, index=(self._lease.first or 0) + at, inputs=[self._lease.inputs[at]])

    async def _run_input(self, lease: Lease, following: Lease | None) -> Report | None:
        """Run an input and tell its end; return the shard's report where the shard ends without it."""
        for _ in range(_INTERRUPTIONS):
            began_at = self._ended_at if self._executor.holds(*self._key) else self._clock()
            waits = self._end is not None or self._output.is_full()
            report = await self._executor.run(lease, None if waits else following)
            ended_at = self._ended_at = self._clock()
            if report.proof is not None and report.proof.survivors:
                self._on_survivors(report)
            if self._end is not None:
                self._proof = report.proof or self._proof
                if self._end is Outcome.LOST or report.outcome in _NOT_OVER:
                    return self._report(self._end)
            if not self._ours(ended_at):
                return self._report(Outcome.LOST)
            if report.outcome is Outcome.LOST and not report.charged:  # no process could be had, for any input
                return self._report(Outcome.LOST, report)
            if report.outcome is not Outcome.INTERRUPTED:
                self._output.put_result(_told(report, lease.index or 0, ended_at - began_at))
                return None
        return self._report(Outcome.INTERRUPTED)

    def _report(self, outcome: Outcome, unseen: Report | None = None) -> Report:
        """Return the shard's report; of an abort the proof is empty when no input ran."""
        return Report(
            job=self._lease.job,
            attempt=self._lease.attempt,
            outcome=outcome,
            error=None if unseen is None else unseen.error,
            charged=unseen is None,
            proof=self._proof if outcome in (Outcome.ABORTED, Outcome.TIMED_OUT) else None,
        )


def _told(report: Report, index: int, duration_s: float) -> InputReport:
    return InputReport(
        job=report.job,
        attempt=report.attempt,
        index=index,
        outcome=report.outcome,
        duration_s=round(duration_s, 6),
        exit_code=report.exit_code,
        stdout=report.stdout,
        stderr=report.stderr,
        result=report.result,
        error=report.error,
        retry_in_s=report.retry_in_s,
        refused=report.refused,
    )
