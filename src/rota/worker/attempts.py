"""The attempts that a registration has started: each runs to the end of its tree, and then its report is there.

Most async jobs end sooner than a task of the loop is made and awaited. So an attempt that the executor can begin at once gets
no task of its own, and what ended in one turn of the loop is heard of together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from rota import log
from rota.core.jobs import AbortOrder, Proof, Report
from rota.core.states import Outcome
from rota.worker.executor import Executor
from rota.worker.holdings import Holding, Holdings
from rota.worker.loops import wait_for

Ends = list[tuple[Holding, Report]]

_log = log.get("worker.attempts")


class Attempts:
    """Attempts that run. `wanted` says whether one is still to be begun; `ended` hears of ends, `forget` of what never began.

    `broken` hears that the executor has failed.
    """

    def __init__(
        self,
        executor: Executor,
        held: Holdings,
        *,
        clock: Callable[[], float],
        wanted: Callable[[Holding], bool],
        ended: Callable[[Ends], None],
        forget: Callable[[Holding], None],
        broken: Callable[[], None],
    ) -> None:
        self._executor = executor
        self._held = held
        self._clock = clock
        self._wanted = wanted
        self._tell = ended
        self._forget = forget
        self._broken = broken
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = 0  # those without a task
        self._ends: Ends = []  # of those, that were not told yet
        self._none = asyncio.Event()

    def start(self, holding: Holding) -> None:
        """Start an attempt, now or in the next turn of the loop."""
        if holding.shard is None and holding.order is None:
            try:
                begun = self._executor.begin(holding.lease, partial(self._hear, holding))
            except Exception:
                _log.exception("pool_failed")
                self._broken()
                return
            if begun:
                self._begun += 1
                return
        task = asyncio.create_task(self._run(holding))
        self._tasks.add(task)
        task.add_done_callback(self._leave)

    async def wait(self, seconds: float) -> None:
        """Wait until none runs, `seconds` at most."""
        self._none.clear()
        if self._tasks or self._begun:
            await wait_for(self._none, seconds)

    def _hear(self, holding: Holding, report: Report) -> None:
        if not self._ends:
            asyncio.get_running_loop().call_soon(self._tell_all)
        self._ends.append((holding, report))

    def _tell_all(self) -> None:
        ends, self._ends = self._ends, []
        self._begun -= len(ends)
        self._tell(ends)
        self._look_for_none()

    async def _run(self, holding: Holding) -> None:
        """Run an attempt to the end of its tree, unless nobody wants it any more."""
        lease = holding.lease
        if not self._wanted(holding):
            self._forget(holding)
            return
        if holding.order is not None:  # it came before the attempt was started: there is nothing to end
            report = Report(job=lease.job, attempt=lease.attempt, outcome=outcome_of(holding.order), proof=Proof())
        else:
            began_at = self._clock()
            try:
                report = await (self._executor.run(lease) if holding.shard is None else holding.shard.run())
            except Exception:
                _log.exception("pool_failed")
                self._broken()
                return
            self._held.lasted(holding, self._clock() - began_at)
        self._tell([(holding, report)])

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._look_for_none()

    def _look_for_none(self) -> None:
        if not self._tasks and not self._begun:
            self._none.set()


def outcome_of(order: AbortOrder) -> Outcome:
    """Return how an attempt ends that an order ends."""
    return Outcome.TIMED_OUT if order.why == "timed_out" else Outcome.ABORTED
