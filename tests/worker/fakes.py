"""A work queue and an executor for the supervisor's tests: in memory, in virtual time, with faults on demand."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from msgspec import Raw

from rota.core.checkpoints import CheckpointNote
from rota.core.errors import NotFound
from rota.core.jobs import (
    AbortOrder,
    Free,
    HandlerSpec,
    Held,
    HookCall,
    InputReport,
    Lease,
    LogChunk,
    Orders,
    ProgressNote,
    Proof,
    Report,
    Settled,
    Welcome,
    WorkerHello,
)
from rota.core.states import Outcome
from rota.worker.supervisor import Supervisor
from tests import virtual_time

T = TypeVar("T")
Key = tuple[str, int]

LEASE_S = 15.0
ASYNC = "async"  # the name of the async handler; every other one runs in a process


def now() -> float:
    return asyncio.get_running_loop().time()


def lease(job: str, attempt: int = 1, handler: str = "work", grace_s: float = 5.0) -> Lease:
    return Lease(job=job, attempt=attempt, handler=handler, grace_s=grace_s)


def shard(job: str, inputs: int, attempt: int = 1, first: int = 0, handler: str = "work") -> Lease:
    """A shard; what an input does in the executor goes by its name, `job[index]`."""
    raws = [Raw(b"%d" % index) for index in range(first, first + inputs)]
    return Lease(job=job, attempt=attempt, handler=handler, first=first, inputs=raws)


class FakeQueue:
    """Behaves like the service, as far as a worker can see: leases last by its clock, stale reports change nothing."""

    def __init__(self, *, lease_s: float = LEASE_S) -> None:
        self.lease_s = lease_s
        self.ready: deque[Lease] = deque()
        self.workers: dict[str, WorkerHello] = {}
        self.lease_until: dict[str, float] = {}
        self.holder: dict[Key, str] = {}  # running attempts
        self.own_end: dict[Key, float] = {}  # of leases that a heartbeat did not name
        self.settled: dict[Key, Report] = {}
        self.logs: list[LogChunk] = []
        self.progress: list[ProgressNote] = []
        self.hooks: list[HookCall] = []
        self.results: list[InputReport] = []  # of shards that were held when it was told, once each
        self.halts: list[Held] = []
        self.given_back: list[Key] = []
        self.left: list[str] = []
        self.calls: list[tuple[float, str, Any]] = []
        self.fault: dict[str, Callable[[], Exception | None]] = {}  # before the call is done
        self.lose_reply: Counter[str] = Counter()  # how often the reply to a verb is lost, after it was done
        self.delay: dict[str, float] = {}  # seconds on the way to the server
        self.delay_back: dict[str, float] = {}  # seconds on the way back
        self.open: Counter[str] = Counter()  # calls that are being answered
        self.aborts: dict[Key, AbortOrder] = {}
        self.told: set[Key] = set()
        self.told_halts: list[Held] = []
        self.draining: set[str] = set()
        self._changed = asyncio.Event()

    # what tests do

    def add(self, *leases: Lease) -> None:
        self.ready.extend(leases)
        self.bell()

    def abort(self, job: str, attempt: int = 1, *, grace_s: float = 5.0, why: Any = "requested") -> None:
        self.aborts[job, attempt] = AbortOrder(job=job, attempt=attempt, grace_s=grace_s, why=why)
        self.bell()

    def halt(self, job: str, attempt: int = 1) -> None:
        self.halts.append(Held(job=job, attempt=attempt))
        self.bell()

    def indices(self, job: str) -> list[int]:
        return [result.index for result in self.results if result.job == job]

    def take_away(self, job: str, attempt: int = 1) -> None:
        del self.holder[job, attempt]

    def forget_workers(self) -> None:
        self.workers.clear()
        self.holder.clear()

    def bell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def go_down(self, *verbs: str) -> None:
        for verb in verbs or VERBS:
            self.fault[verb] = lambda: ConnectionError("connection refused")

    def come_back(self) -> None:
        self.fault.clear()

    def of(self, verb: str) -> list[Any]:
        return [what for _, name, what in self.calls if name == verb]

    def times(self, verb: str) -> list[float]:
        return [at for at, name, _ in self.calls if name == verb]

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return {job: report.outcome for (job, _), report in self.settled.items()}

    # the verbs

    async def register(self, hello: WorkerHello) -> Welcome:
        async def work() -> Welcome:
            worker = f"{hello.name}.{len(self.lease_until)}"
            self.workers[worker] = hello
            self.lease_until[worker] = now() + self.lease_s
            return Welcome(worker=worker, lease_s=self.lease_s, heartbeat_s=self.lease_s / 3)

        return await self._call("register", hello, work)

    async def claim(self, worker: str, free: Free, wait_s: float) -> list[Lease]:
        async def work() -> list[Lease]:
            self._present(worker)
            until = now() + wait_s
            while not (taken := self._take(worker, free)) and now() < until:
                await self._wait(until)
                self._present(worker)
            return taken

        return await self._call("claim", free, work)

    async def heartbeat(self, worker: str, held: list[Held]) -> Orders:
        async def work() -> Orders:
            self._present(worker)
            named = {(h.job, h.attempt) for h in held}
            running = {key for key, holder in self.holder.items() if holder == worker}
            for key in running:
                if key in named:
                    self.own_end.pop(key, None)
                else:
                    self.own_end.setdefault(key, self.lease_until[worker])
            self.lease_until[worker] = now() + self.lease_s
            return Orders(
                abort=[order for key, order in self.aborts.items() if key in running],
                halt=[held for held in self.halts if (held.job, held.attempt) in running],
                lost=[Held(job=job, attempt=attempt) for job, attempt in sorted(named - running)],
                drain=worker in self.draining,
            )

        return await self._call("heartbeat", held, work)

    async def watch(self, worker: str, wait_s: float) -> Orders:
        async def work() -> Orders:
            self._present(worker)
            until = now() + wait_s
            while True:
                news = [order for key, order in self.aborts.items() if key not in self.told]
                halts = [held for held in self.halts if held not in self.told_halts]
                if news or halts or worker in self.draining or now() >= until:
                    self.told |= {(order.job, order.attempt) for order in news}
                    self.told_halts += halts
                    return Orders(abort=news, halt=halts, drain=worker in self.draining)
                await self._wait(until)
                self._present(worker)

        return await self._call("watch", None, work)

    async def settle(self, worker: str, reports: list[Report]) -> list[Settled]:
        async def work() -> list[Settled]:
            answers = []
            for report in reports:
                key = (report.job, report.attempt)
                accepted = self.holder.get(key) == worker
                if accepted:
                    self.settled[key] = report
                    del self.holder[key]
                answers.append(Settled(job=report.job, attempt=report.attempt, accepted=accepted))
            return answers

        return await self._call("settle", reports, work)

    async def tell(
        self,
        worker: str,
        logs: list[LogChunk],
        progress: list[ProgressNote],
        hooks: list[HookCall],
        results: list[InputReport],
        *,
        checkpoints: Sequence[CheckpointNote] = (),
    ) -> None:
        async def work() -> None:
            seen = {(c.job, c.attempt, c.n) for c in self.logs}
            self.logs += [c for c in logs if (c.job, c.attempt, c.n) not in seen]
            self.progress += progress
            self.hooks += hooks
            known = {(r.job, r.index) for r in self.results}
            mine = [r for r in results if self.holder.get((r.job, r.attempt)) == worker]
            self.results += [r for r in mine if (r.job, r.index) not in known]

        await self._call("tell", (logs, progress, hooks, results), work)

    async def leave(self, worker: str) -> None:
        async def work() -> None:
            self._present(worker)
            self.left.append(worker)
            del self.workers[worker]
            back = [key for key, holder in self.holder.items() if holder == worker]
            self.given_back += back
            for key in back:
                del self.holder[key]

        await self._call("leave", worker, work)

    def _take(self, worker: str, free: Free) -> list[Lease]:
        taken: list[Lease] = []
        left = {True: free.asynchronous, False: free.process}
        for each in list(self.ready):
            kind = each.handler == ASYNC
            if len(taken) < free.total and left[kind] > 0:
                left[kind] -= 1
                taken.append(each)
                self.ready.remove(each)
                self.holder[each.job, each.attempt] = worker
        return taken

    def _present(self, worker: str) -> None:
        if worker not in self.workers:
            raise NotFound(f"there is no worker {worker!r}; register again")

    async def _wait(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _call(self, verb: str, what: Any, work: Callable[[], Awaitable[T]]) -> T:
        self.calls.append((now(), verb, what))
        self.open[verb] += 1
        try:
            if self.delay.get(verb):
                await asyncio.sleep(self.delay[verb])
            fault = self.fault[verb]() if verb in self.fault else None
            if fault is not None:
                raise fault
            answer = await work()
            if self.delay_back.get(verb):
                await asyncio.sleep(self.delay_back[verb])
            if self.lose_reply[verb]:
                self.lose_reply[verb] -= 1
                raise ConnectionError("the reply was lost")
            return answer
        finally:
            self.open[verb] -= 1


VERBS = ("register", "claim", "heartbeat", "watch", "settle", "tell", "leave")


class FakeExecutor:
    """Runs nothing, for as long as it is told: `lasts` seconds by job (0 by default; None: until it is stopped).

    An input of a shard goes by `job[index]`. `ends` says how the next runs of a name end, where not with success.
    """

    def __init__(self) -> None:
        self.lasts: defaultdict[str, float | None] = defaultdict(float)
        self.ends_after: defaultdict[str, float] = defaultdict(float)  # seconds from the stop to the end of the tree
        self.survivors: dict[str, list[int]] = {}
        self.ends: defaultdict[str, deque[dict[str, Any]]] = defaultdict(deque)
        self.result = Raw(b'"done"')
        self.running: dict[Key, asyncio.Future[Report]] = {}
        self.history: list[tuple[float, str, Any]] = []
        self.most = 0
        self.broken: Exception | None = None
        self.fresh = [HandlerSpec(name="work"), HandlerSpec(name=ASYNC, mode="async")]
        self.on_run: Callable[[Lease], None] = lambda _lease: None
        self.kill_takes = 0.0
        self.leased: float | None = None
        self.begun: set[asyncio.Task[Report]] = set()

    def did(self, what: str) -> list[Any]:
        return [arg for _, name, arg in self.history if name == what]

    def when(self, what: str) -> list[float]:
        return [at for at, name, _ in self.history if name == what]

    def _note(self, what: str, arg: Any = None) -> None:
        self.history.append((now(), what, arg))

    async def start(self) -> list[HandlerSpec]:
        self._note("start")
        if self.broken is not None:
            raise self.broken
        return self.fresh

    async def run(self, lease: Lease, following: Lease | None = None) -> Report:
        key = (lease.job, lease.attempt)
        name = lease.job if lease.index is None else f"{lease.job}[{lease.index}]"
        self._note("run", key if lease.index is None else (*key, lease.index))
        assert key not in self.running
        if self.broken is not None:
            raise self.broken
        ended = self.running[key] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.running))
        self.on_run(lease)
        lasts = self.lasts[name]
        fields = {"outcome": Outcome.SUCCEEDED, "result": self.result}
        done = Report(
            job=lease.job, attempt=lease.attempt, **(self.ends[name].popleft() if self.ends[name] else fields)
        )
        if lasts == 0:
            self._end(key, done)
        elif lasts is not None:
            asyncio.get_running_loop().call_later(lasts, self._end, key, done, ended)
        return await ended

    def begin(self, lease: Lease, done: Callable[[Report], None]) -> bool:
        if lease.handler != ASYNC or self.broken is not None:
            return False
        task = asyncio.ensure_future(self.run(lease))
        self.begun.add(task)
        task.add_done_callback(self.begun.discard)
        task.add_done_callback(lambda ended: ended.cancelled() or done(ended.result()))
        return True

    def holds(self, job: str, attempt: int) -> bool:
        return False

    def recall(self, job: str, attempt: int) -> None:
        self._note("recall", (job, attempt))

    def stop(self, job: str, attempt: int, grace_s: float, outcome: Outcome) -> None:
        self._note("stop", (job, attempt, grace_s, outcome))
        key = (job, attempt)
        if key in self.running:
            proof = Proof(processes=1, survivors=self.survivors.get(job, []))
            report = Report(job=job, attempt=attempt, outcome=outcome, proof=proof)
            after = min(self.ends_after[job], grace_s)
            asyncio.get_running_loop().call_later(after, self._end, key, report, self.running[key])

    def leased_until(self, at: float | None) -> None:
        self.leased = at

    async def kill_all(self) -> None:
        self._note("kill_all", sorted(self.running))
        await asyncio.sleep(self.kill_takes)
        for job, attempt in list(self.running):
            self._end((job, attempt), Report(job=job, attempt=attempt, outcome=Outcome.LOST))

    async def close(self) -> None:
        self._note("close")
        self.broken = None

    def _end(self, key: Key, report: Report, which: asyncio.Future[Report] | None = None) -> None:
        future = self.running.get(key)
        if future is not None and which in (None, future):
            del self.running[key]
            self._note("end", (*key, report.outcome))
            future.set_result(report)


class Scene:
    """A supervisor with its fakes, running in the virtual loop."""

    def __init__(
        self, *, slots: int = 2, async_slots: int = 0, max_jobs: int | None = None, drain_s: float = 10.0
    ) -> None:
        self.queue = FakeQueue()
        self.executor = FakeExecutor()
        hello = WorkerHello(
            name="w", handlers=self.executor.fresh, slots=slots, async_slots=async_slots, max_jobs=max_jobs
        )
        self.supervisor = Supervisor(
            self.queue,
            self.executor,
            hello,
            drain_s=drain_s,
            clock=asyncio.get_running_loop().time,
            jitter=lambda: 0.5,
        )
        self.began = now()
        self.life: asyncio.Task[None] | None = None

    async def begin(self) -> Scene:
        self.life = asyncio.create_task(self.supervisor.run())
        await virtual_time.settle()
        return self

    async def over(self) -> None:
        assert self.life is not None
        await self.life

    async def until(self, condition: Callable[[], object], limit_s: float = 120.0) -> float:
        """Wait for a condition, looking every millisecond of virtual time; return how long it took."""
        began = now()
        while not condition():
            assert now() - began < limit_s, "it did not happen"
            assert self.life is None or not self.life.done() or self.life.result() is None
            await asyncio.sleep(0.001)
        return now() - began
