"""What a check works with, and what must hold in every one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from rota.core.jobs import Job
from rota.core.states import State
from rota.wiring.check_worker.faults import HEARTBEAT, REGISTER, REPORT, Answer, Call, Faults
from rota.wiring.check_worker.ground import (
    ECHO,
    GRACE_S,
    SLEEP,
    Failed,
    Ground,
    Ticks,
    Worker,
    leased_to,
)

LONG_S = 60.0  # longer than any check: what sleeps so long is meant to be ended


@dataclass(frozen=True)
class Check:
    """A check: its name, what a worker must do to pass it, and how many times as long as usual leases last."""

    name: str
    what: str
    run: Callable[[Scene], Awaitable[None]]
    leases: float = 1.0


class Scene:
    """One worker on its own ground. `handlers` are names that it must offer beside the kit's own."""

    def __init__(self, ground: Ground, worker: Worker, handlers: tuple[str, ...], slots: int | None) -> None:
        self.ground = ground
        self.worker = worker
        self.handlers = handlers
        self.expected_slots = slots
        self.hello: dict[str, Any] = {}
        self.id = ""
        self._sleepers = 0

    @property
    def faults(self) -> Faults:
        """Return what stands in front of the server."""
        return self.ground.faults

    @property
    def heartbeat_s(self) -> float:
        """Return how often a worker is told to send heartbeats."""
        return self.ground.lease_s / 3

    @property
    def told_s(self) -> float:
        """Return how long it may take until what is said by a heartbeat has been done: two of them, and a busy machine."""
        return 2 * self.heartbeat_s + 2.0

    async def start(self) -> None:
        """Start the worker, and wait until it has registered."""
        await self.worker.start()
        call = await self.worker.registered()
        assert call.answer is not None
        self.hello, self.id = call.body, call.answer.value["worker"]

    async def sleeper(self, seconds: float = LONG_S, **fields: Any) -> tuple[str, Ticks]:
        """Have the worker run a job that sleeps, and return its id and its ticks once it runs."""
        self._sleepers += 1
        ticks = Ticks(self.ground.folder / f"ticks-{self._sleepers}")
        job = await self.ground.submit(SLEEP, {"seconds": seconds, "file": str(ticks.path)}, **fields)
        await ticks.running(self.ground.patience_s)
        return job, ticks

    async def works(self) -> None:
        """Raise Failed unless the worker (still) runs jobs."""
        job = await self.ground.submit(ECHO, "still there")
        await self.ground.over(job, State.SUCCEEDED)

    async def aborted(self, job: str, ticks: Ticks | None = None) -> Job:
        """Wait until a job whose abort was asked for is over. Raises Failed unless its end is proven, and in time."""
        found = await self.ground.over(job, State.ABORTED, within_s=self.told_s + GRACE_S)
        if not found.confirmed:
            raise Failed(
                "that the worker reports the end of what it was told to abort",
                "nothing was reported; the job is aborted because its lease ran out",
            )
        if ticks is not None and found.finished_at is not None:
            await ticks.silent(0.5, "that an abort is reported when what ran has ended, not before")
        return found

    def reports_of(self, job: str, attempt: int | None = None) -> list[dict[str, Any]]:
        """Return what the worker has reported of a job, every repetition too."""
        reports = [report for call in self.faults.of(REPORT) for report in _named(call)]
        return [each for each in reports if each["job"] == job and attempt in (None, each["attempt"])]

    def same_registration(self) -> None:
        """Raise Failed if the worker has registered more than once."""
        times = len(self.faults.of(REGISTER))
        if times > 1:
            raise Failed("that it goes on under its registration", f"it registered {times} times")

    def audit(self) -> None:
        """Raise Failed for what a worker must never do, whatever a check is about."""
        for call in self.faults.calls:
            if call.done is not None and 400 <= call.done.status < 500 and call.done.status != 404:
                problem = call.done.value or {}
                raise Failed(
                    "only calls that the server understands",
                    f"a {call.verb} was answered {call.done.status}: {problem.get('detail') or call.done.body[:200]!r}",
                )
        for call in self.faults.of(REPORT) + self.faults.of(HEARTBEAT):
            leased = leased_to(self.faults.calls, call.worker)
            for each in _named(call):
                if (each["job"], each["attempt"]) not in leased:
                    raise Failed(
                        "that it names only attempts that were leased to it",
                        f"a {call.verb} named attempt {each['attempt']} of job {each['job']}, which was not",
                    )


def _named(call: Call) -> list[dict[str, Any]]:
    """Return the attempts that a report or a heartbeat names; none if the server could not read it."""
    if call.done is None or call.done.status in (400, 422):
        return []
    named: list[dict[str, Any]] = call.body["reports" if call.verb == REPORT else "held"]
    return named


def has_leases(answer: Answer) -> bool:
    """Say whether a claim's reply brings something."""
    return bool(answer.status == 200 and answer.value["leases"])


def has_aborts(answer: Answer) -> bool:
    """Say whether a heartbeat's or a watch's reply orders an abort."""
    return bool(answer.status == 200 and answer.value.get("abort"))
