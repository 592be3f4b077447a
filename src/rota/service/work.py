"""Leases: workers register, claim, heartbeat, settle, tell, leave. Satisfies `rota.worker.queue.WorkQueue` directly.

A job's lease lasts as long as its worker's, which every heartbeat renews: one row a worker, not one a job. A lease that
a heartbeat does not name gets an end of its own, the one that its worker's lease had before this heartbeat: so it is
not renewed. A later heartbeat that names it takes that end away.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rota.core.checkpoints import CheckpointNote
from rota.core.errors import Invalid
from rota.core.jobs import (
    AbortOrder,
    Failure,
    Free,
    Held,
    HookCall,
    InputReport,
    Job,
    Lease,
    LogChunk,
    Orders,
    ProgressNote,
    Report,
    Settled,
    Welcome,
    WorkerHello,
)
from rota.core.settling import settle
from rota.core.states import Outcome, State
from rota.core.times import SECOND, rfc3339
from rota.service import arrays
from rota.service.admission import MAX_DATA, check_name
from rota.service.changes import Ended, call_of, end_attempts
from rota.service.checkpoints import check_checkpoints, keep_checkpoints, with_checkpoints
from rota.service.claiming import Claim, Claimer, Claiming
from rota.service.demands import check_needs, check_spec
from rota.service.filling import fill
from rota.service.handlers import KEPT_VERSIONS, Handlers, take_schemas
from rota.service.heartbeats import Heartbeats, present, to_abort, to_halt
from rota.service.known import Known
from rota.service.limits import declare, declared_limits
from rota.service.observer import Observer, Stopwatch
from rota.service.offers import Offer
from rota.service.signals import Effects, Signals
from rota.store.protocol import Begins, NewEvent, Store, Tx, WorkerRow

MAX_CLAIM = 1000  # leases in one claim
MAX_CHUNK = 1 << 20  # characters in one piece of output
MAX_CHUNKS = 100_000  # pieces of output of one attempt
_KEPT_S = 0.5  # for how long a claim waits that keeps slots free: then its worker may have more
_DRAIN = Held(job="", attempt=0)  # among what a watch has said: to drain


class Work:
    """The work queue. `random_bits` names workers, `jitter` spreads retries; both come from outside, for the tests."""

    def __init__(
        self,
        store: Store,
        signals: Signals,
        observer: Observer,
        stopwatch: Stopwatch,
        *,
        claiming: Claiming,
        lease_s: float,
        random_bits: Callable[[int], int],
        jitter: Callable[[], float],
        handlers: Handlers,
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._signals = signals
        self._observer = observer
        self._stopwatch = stopwatch
        self._lease_s = lease_s
        self._lease = round(lease_s * SECOND)
        self._random_bits = random_bits
        self._jitter = jitter
        self._offers: dict[str, Offer] = {}
        self._told: dict[str, set[AbortOrder | Held]] = {}  # what watches have said, by worker
        self._found_none: dict[
            tuple[str, bool, bool], int
        ] = {}  # what `readied` was when no more was found, by worker and kinds of free slots
        self._found_no_orders: dict[str, int] = {}  # what `ordered` was when a worker's orders were last looked at
        self._claiming = claiming
        self._known = Known()
        self._heartbeats = Heartbeats(stopwatch, together=not store.exclusive, lease_s=lease_s)

    async def register(self, hello: WorkerHello) -> Welcome:
        """Make a worker known, under a new id."""
        check_name("name", hello.name, "")
        if not (0 <= hello.slots <= 10_000 and 0 <= hello.async_slots <= 100_000):
            raise Invalid("slots", "are between 0 and 10,000")
        if len(hello.handlers) > 10_000 or len(hello.queues) > 1_000:
            raise Invalid("handlers", "are at most 10,000, queues at most 1,000")
        check_needs("labels", hello.labels, "")
        for at, spec in enumerate(hello.handlers):
            check_name("handler", spec.name, f"handlers[{at}].")
            check_spec(spec, f"handlers[{at}].")
        worker = f"{re.sub(r'[^A-Za-z0-9._-]', '-', hello.name)}.{self._random_bits(64):016x}"
        declared = declared_limits(hello.handlers)
        hello, signatures = take_schemas(hello)

        async def write(tx: Tx) -> None:
            await tx.insert_worker(worker, hello, tx.now + self._lease)
            await declare(tx, declared)
            await tx.put_signatures(signatures, KEPT_VERSIONS)

        await self._store.write(write)
        self._handlers.forget()
        self._offers[worker] = Offer(hello)
        return Welcome(worker=worker, lease_s=self._lease_s, heartbeat_s=self._lease_s / 3)

    async def token_of(self, worker: str) -> str | None:
        """Return the id of the token that registered a worker, None if none did. Raises NotFound."""
        if ":" in worker:  # of API C, or a node: those may come again under their id, with another token
            return present(await self._store.read(lambda tx: tx.get_worker(worker)), worker).hello.token
        return (await self._offer(worker)).token

    async def claim(self, worker: str, free: Free, wait_s: float = 0.0) -> list[Lease]:
        """Lease the first jobs in order that this worker can run, or wait for one. Raises NotFound."""
        offer = await self._offer(worker)
        room = min(free.total, free.process + free.asynchronous, MAX_CLAIM)
        until = asyncio.get_running_loop().time() + wait_s if wait_s > 0 else 0.0
        with self._signals.claimant(offer.rooms(free), offer.queues, offer.labels) as waiter:
            kinds = worker, free.process > 0, free.asynchronous > 0
            while True:
                heard = self._signals.readied
                leases: list[Lease] | None = []
                kept = emptied = False
                if (
                    wait_s <= 0 or self._found_none.get(kinds) != heard
                ):  # or there is still none: idle workers ask nobody
                    leases, kept, emptied = await self._claim(worker, offer, free, room)
                    if emptied or (leases == [] and not kept):
                        self._found_none[kinds] = heard
                if leases or wait_s <= 0 or self._signals.closed:
                    return leases or []
                left_s = until - asyncio.get_running_loop().time()
                if not await waiter.wait(min(left_s, _KEPT_S) if kept else left_s) or kept:
                    return []  # or it asks again, with what is free then

    async def heartbeat(self, worker: str, held: list[Held]) -> Orders:
        """Renew what is named; answer what to abort, what is lost, whether to drain. Raises NotFound."""
        return await self._heartbeats.beat(worker, held, workers=len(self._offers))

    async def watch(self, worker: str, wait_s: float) -> Orders:
        """Return orders that this watch has not told yet, at once or when they come. Raises NotFound."""

        async def look(tx: Tx) -> Orders:
            row = present(await tx.get_worker(worker), worker)
            running = await tx.running_of(worker)
            return Orders(abort=to_abort(running, tx.now), halt=to_halt(running), drain=row.draining)

        told = self._told.setdefault(worker, set())
        with self._signals.on("orders", worker) as waiter:
            for last in (False, True):
                heard = self._signals.ordered
                if not last and wait_s > 0 and self._found_no_orders.get(worker) == heard:  # there is still none
                    if not await waiter.wait(wait_s):
                        return Orders()
                    continue
                orders = await self._store.read(look)
                self._found_no_orders[worker] = heard
                news = [order for order in orders.abort if order not in told]
                halts = [held for held in orders.halt if held not in told]
                told &= {*orders.abort, *orders.halt, _DRAIN}
                told |= {*news, *halts}
                if news or halts or (orders.drain and _DRAIN not in told) or last or not await waiter.wait(wait_s):
                    break
            if orders.drain:
                told.add(_DRAIN)
            self._told[worker] = told
            return Orders(abort=news, halt=halts, drain=orders.drain)

    async def settle(self, worker: str, reports: list[Report]) -> list[Settled]:
        """Record how attempts ended. What is not this worker's, or over, changes nothing and is told so."""
        effects = Effects()
        for report in reports:
            if report.result is not None and len(bytes(report.result)) > MAX_DATA:
                raise Invalid("result", f"is at most {MAX_DATA} bytes of JSON")

        known = self._known.take(worker, reports)

        async def write(tx: Tx) -> list[Settled]:
            effects.begin()
            sure = [Ended(job, report, settle(job, report, tx.now, 0.0)) for job, report in known]
            settled = await tx.settle_known(worker, [(e.job, e.settlement) for e in sure]) if sure else set()
            sure = [e for e in sure if e.job.id in settled]
            over = {e.job.id: e.report for e in sure}
            locked = await tx.lock_jobs({report.job for report in reports if over.get(report.job) is not report})
            ended: list[Ended] = []
            answers = []
            for report in reports:
                if over.get(report.job) is report:
                    answers.append(
                        Settled(job=report.job, attempt=report.attempt, accepted=True, state=State.SUCCEEDED)
                    )
                    continue
                job = locked.get(report.job)
                if job is not None and job.array is not None:
                    answers.append(await self._settle_shard(tx, worker, job, report, effects))
                    continue
                if (
                    job is None
                    or job.state is not State.RUNNING
                    or (job.attempt, job.worker) != (report.attempt, worker)
                ):
                    state = job.state if job else None
                    answers.append(Settled(job=report.job, attempt=report.attempt, accepted=False, state=state))
                    continue
                settlement = settle(job, report, tx.now, self._jitter())
                ended.append(Ended(job, report, settlement))
                answers.append(Settled(job=job.id, attempt=job.attempt, accepted=True, state=settlement.state))
                del locked[job.id]  # a second report of it in this batch is stale
            await end_attempts(tx, ended, effects, settled=sure)
            return answers

        first = () if known else (report.job for report in reports)
        answers = await self._stopwatch.write("settle", Begins(write, jobs=first))
        self._signals.publish(effects)
        return answers

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
        """Store what this worker tells of attempts that it holds, ends of inputs too; of others it is dropped."""
        for chunk in logs:
            if len(chunk.text) > MAX_CHUNK or not 0 <= chunk.n < MAX_CHUNKS:
                raise Invalid("logs", f"a piece is at most {MAX_CHUNK} characters, an attempt has at most {MAX_CHUNKS}")
        _check_results(results)
        check_checkpoints(checkpoints)
        effects = Effects()

        async def write(tx: Tx) -> set[str]:
            effects.begin()
            names = {(chunk.job, chunk.attempt) for chunk in logs} | {(call.job, call.attempt) for call in hooks}
            mine = {name for name in names if await tx.holds(worker, *name)}
            await tx.append_logs([chunk for chunk in logs if (chunk.job, chunk.attempt) in mine])
            told = await tx.set_progress(worker, [(note.job, note.attempt, note.progress) for note in progress])
            calls = [call for call in hooks if (call.job, call.attempt) in mine]
            jobs = await tx.lock_jobs({call.job for call in calls} | {note.job for note in checkpoints})
            kept = await keep_checkpoints(tx, worker, jobs, checkpoints)
            rows = [call_of(jobs[c.job], c, rfc3339(tx.now)) for c in calls if c.job in jobs and jobs[c.job].hook]
            if rows:
                await tx.insert_deliveries(rows)
                effects.wake(tx.now)
            done = await self._store_results(tx, worker, results, effects)
            return {job for job, _ in mine} | set(told) | done | kept

        effects.told |= await self._stopwatch.write("tell", write)
        if effects.over or effects.ready or effects.orders:
            self._signals.publish(effects)
        else:  # output is no event: whoever follows those is left alone
            self._signals.hint(effects)

    async def _store_results(self, tx: Tx, worker: str, results: list[InputReport], effects: Effects) -> set[str]:
        by_shard: defaultdict[tuple[str, int], list[InputReport]] = defaultdict(list)
        for result in results:
            by_shard[result.job, result.attempt].append(result)
        locked = await tx.lock_jobs({job for job, _ in by_shard})
        stored = set()
        for (job, attempt), told in by_shard.items():
            shard = await tx.get_shard(job, attempt)
            if shard is not None and shard.worker == worker:
                await arrays.store_results(tx, locked[job], shard, told, jitter=self._jitter(), effects=effects)
                stored.add(job)
        return stored

    async def _settle_shard(self, tx: Tx, worker: str, job: Job, report: Report, effects: Effects) -> Settled:
        shard = await tx.get_shard(job.id, report.attempt)
        accepted = shard is not None and shard.worker == worker
        if shard is not None and accepted:
            await arrays.end_shard(tx, job, shard, report, effects)
        return Settled(job=job.id, attempt=report.attempt, accepted=accepted, state=job.state)

    async def leave(self, worker: str) -> None:
        """Forget a worker; what it holds goes back to the queue, uncharged."""
        await self.release(worker, Outcome.INTERRUPTED, "left", at_once=True)

    async def drain(self, worker: str) -> None:
        """Ask a worker to take no more jobs, finish what runs, and leave. Raises NotFound."""

        async def write(tx: Tx) -> None:
            present(await tx.lock_worker(worker), worker)
            await tx.drain_worker(worker)

        await self._store.write(write)
        self._signals.hint(Effects([worker]))

    async def release(
        self,
        worker: str,
        outcome: Outcome,
        why: str,
        *,
        at_once: bool,
        charged: bool = True,
        only_if: Callable[[WorkerRow, int], bool] = lambda _row, _now: True,
    ) -> int:
        """Bury a worker and end its attempts with `outcome`; return how many. Nothing happens unless `only_if` holds.

        Leases that have an end of their own last until then, unless `at_once`: the worker is known to run nothing. An
        attempt that is LOST counts as a crash of its job unless it is not to be `charged`.
        """
        effects = Effects()

        async def write(tx: Tx) -> int:
            effects.begin()
            row = await tx.lock_worker(worker)
            if row is None or row.gone_at is not None or not only_if(row, tx.now):
                return 0
            running = await tx.running_of(worker)
            mine = [r for r in running if at_once or r.lease_until is None or r.lease_until <= tx.now]
            jobs = {r.job: r.attempt for r in mine if not r.shard}
            ended = await end_lost(tx, jobs, outcome, self._jitter, effects, charged=charged)
            shards = [(r.job, r.attempt) for r in mine if r.shard]
            ended += await arrays.end_lost_shards(
                tx, shards, partial(lost_report, outcome=outcome, charged=charged), effects
            )
            await tx.bury_worker(worker, why)
            effects.workers_lost += outcome is Outcome.LOST
            return ended

        ended = await self._store.write(write)
        self._offers.pop(worker, None)
        self._claiming.forget(worker)
        self._told.pop(worker, None)
        self._found_no_orders.pop(worker, None)
        for process, asynchronous in ((True, True), (True, False), (False, True)):
            self._found_none.pop((worker, process, asynchronous), None)
        self._signals.publish(effects)
        return ended

    async def _offer(self, worker: str) -> Offer:
        if worker not in self._offers:  # registered with another server, or before a restart
            row = await self._store.read(lambda tx: tx.get_worker(worker))
            self._offers[worker] = Offer(present(row, worker).hello)
        return self._offers[worker]

    async def _claim(self, worker: str, offer: Offer, free: Free, room: int) -> tuple[list[Lease] | None, bool, bool]:
        """Lease what there is; None: it may take nothing now.

        And say whether slots are kept for a job that takes more, and whether nothing that it might take is left.
        """
        effects = Effects()

        async def write(tx: Tx) -> Claim | None:
            effects.begin()
            row = present(await tx.lock_worker(worker), worker)
            if row.draining or room <= 0 or row.lease_until <= tx.now:  # who is that late sends a heartbeat first
                return None
            patient = self._claiming.is_patient(worker, tx.now)
            by = Claimer(worker, offer, room, free.process, free.asynchronous, patient)
            claim = await self._claiming.take(tx, began, by, effects)
            claim.jobs = await with_checkpoints(tx, claim.jobs)
            await tx.append_events(
                [
                    NewEvent(c.lease.job, c.lease.owner, "started", State.RUNNING, c.lease.attempt, worker, shared=True)
                    for c in claim.jobs
                ]
            )
            claim.jobs = await fill(tx, claim.jobs, effects)
            claim.shards = await fill(tx, claim.shards, effects)
            return claim

        looks = 0
        while True:
            looks += 1
            began, claim = self._claiming.begin(), None
            try:
                claim = await self._stopwatch.write("claim", Begins(write, workers=[worker]))
            finally:
                self._claiming.end(began, claim)
            if claim is not None and not claim.started and effects.over:
                self._signals.publish(effects)  # what could not be given out is over: there may be others
            elif claim is None or not await self._claiming.again(claim, looks):
                break
        if claim is None:
            return None, False, False
        if not claim.started and self._claiming.is_blocked:
            self._signals.wake("upkeep")
        self._claiming.note_kept(worker, claim.now, kept=claim.kept)
        if claimed := claim.started:
            firsts = [c for c in claimed if c.lease.first is None or c.lease.attempt == 1]
            effects.started = [(c.queue, (claim.now - c.ready_at) / SECOND) for c in firsts]
            self._observer.started([wait_s for _, wait_s in effects.started])
            self._known.note(worker, claim.jobs, claim.now)
            self._signals.publish(effects)
        elif effects.wake_at is not None:
            self._signals.wake_upkeep(effects.wake_at)
        return [c.lease for c in claimed], claim.kept, claim.emptied


async def end_lost(
    tx: Tx,
    jobs: Mapping[str, int],
    outcome: Outcome,
    jitter: Callable[[], float],
    effects: Effects,
    *,
    charged: bool = True,
) -> int:
    """End attempts (by their jobs) that their worker will not report: it is lost, or has left. Returns how many."""
    ended = []
    for job in (await tx.lock_jobs(jobs)).values():
        if job.state is State.RUNNING and job.attempt == jobs[job.id]:
            report = lost_report(job.id, job.attempt, outcome, charged=charged)
            ended.append(Ended(job, report, settle(job, report, tx.now, jitter())))
    await end_attempts(tx, ended, effects)
    return len(ended)


def lost_report(job: str, attempt: int, outcome: Outcome = Outcome.LOST, *, charged: bool = True) -> Report:
    """Return what stands for the report of an attempt that its worker will not report."""
    return Report(job=job, attempt=attempt, outcome=outcome, error=_loss(outcome), charged=charged)


def _check_results(results: list[InputReport]) -> None:
    for at, report in enumerate(results):
        if report.index < 0 or not 0 <= report.duration_s < 1e9:
            raise Invalid(f"results[{at}].index", "is not negative, nor is a duration")
        if (
            len(report.stdout) > MAX_CHUNK + 100 or len(report.stderr) > MAX_CHUNK + 100
        ):  # and a mark that some is missing
            raise Invalid(f"results[{at}].stdout", f"stdout and stderr are at most {MAX_CHUNK} characters each")
        if len(bytes(report.result)) > MAX_DATA:
            raise Invalid(f"results[{at}].result", f"is at most {MAX_DATA} bytes of JSON")


def _loss(outcome: Outcome) -> Failure | None:
    if outcome is Outcome.LOST:
        return Failure(type="lost", message="the worker's lease ran out before it reported the end of this attempt")
    return None
