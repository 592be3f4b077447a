"""What happens to arrays: shards are cut, ends of inputs are stored, shards end, and with the last one the array.

`core.settling` decides what an input and an array become, `core.arrays` how large a shard is. All of it inside the
caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Raw
from msgspec.structs import replace

from rota.core.arrays import Range, Shard, is_halted, parse_halt, shard_size
from rota.core.jobs import CRASH_BUDGET, Array, Attempt, Failure, HandlerSpec, InputReport, InputResult, Job, Report
from rota.core.settling import Settlement, refuse, settle_array, settle_input
from rota.core.states import FINAL, Outcome, State
from rota.core.times import SECOND
from rota.service.changes import conclude
from rota.service.inputs import Inputs
from rota.service.signals import Effects
from rota.store.protocol import Claimed, NewEvent, Tx

_RANGES_JOINED = 1000  # inputs that failed one by one, and lie side by side, run again together
_GIVEN_BACK = frozenset({Outcome.INTERRUPTED, Outcome.SNOOZED})  # what a shard has not told was not run


async def cut(
    tx: Tx, inputs: Inputs, job: Job, worker: str, *, spec: HandlerSpec | None, slots: int, effects: Effects
) -> Claimed | None:
    """Lease the next shard of an array (from `lock_jobs`) to a worker; None when there is none for now.

    `slots` is how many slots there are that could run it. While there is more to cut, others that wait are woken.
    """
    array = await _array(tx, job)
    if array.halted is not None or (array.parallel is not None and array.live >= array.parallel):
        await tx.set_open(job, False)
        return None
    chosen = await _next_range(tx, job, array)
    if chosen is None:
        await tx.set_open(job, False)
        return None
    # What stands of an earlier array says nothing of how many inputs are over every second now.
    ran_s = 0.0 if job.started_at is None or array.base is not None else (tx.now - job.started_at) / SECOND
    size = shard_size(array, chosen.n, slots=slots, crashes=chosen.crashes, ran_s=ran_s)
    values = await inputs.read(tx, array.root, chosen.first, size)
    first_cut = job.state is State.QUEUED
    offer = await tx.cut_array(job, spec)
    assert offer is not None, "it is locked, and ready"
    job.state, job.attempt = State.RUNNING, offer.lease.attempt
    if len(values) < chosen.n:
        rest = replace(chosen, first=chosen.first + len(values), n=chosen.n - len(values))
        if chosen.first == array.cursor:
            array.cursor = rest.first
        else:
            await tx.put_ranges(job.id, [rest])
    else:
        array.cursor = max(array.cursor, chosen.first + chosen.n)
    array.live += 1
    await tx.put_array(job.id, array)
    await tx.insert_shard(
        Shard(
            job.id,
            job.attempt,
            worker,
            chosen.first,
            len(values),
            chosen.first,
            chosen.failures,
            chosen.crashes,
            tx.now,
        )
    )
    await _wake(tx, job, array, (), effects)
    if first_cut:
        await tx.append_events([NewEvent(job.id, job.owner, "started", State.RUNNING, job.attempt, worker)])
    return replace(offer, lease=replace(offer.lease, first=chosen.first, inputs=values))


async def store_results(
    tx: Tx, job: Job, shard: Shard, reports: Sequence[InputReport], *, jitter: float, effects: Effects
) -> None:
    """Store how inputs of a live shard ended: for good, or to run again. What was told before counts no more."""
    array = await _array(tx, job)
    over: list[InputResult] = []
    again: list[Range] = []
    entry = replace(job, attempt=shard.attempt, failures=shard.failures, crashes=shard.crashes, array=array)
    for report in sorted(reports, key=lambda report: report.index):
        if not shard.told <= report.index < shard.first + shard.n:
            continue
        if report.index > shard.told:  # not told, so not run, as far as anybody knows
            _join(again, _rest(shard, report.index, tx.now))
        shard.told = report.index + 1
        settlement = settle_input(entry, report, tx.now, jitter)
        array.ran_s += report.duration_s
        if settlement.state in FINAL:
            over.append(_result(report, settlement))
        else:
            _join(again, _again(report.index, settlement, tx.now))
    array.done += len(over)
    array.failed += sum(result.state is not State.SUCCEEDED for result in over)
    await tx.insert_results(job.id, over)
    await tx.put_ranges(job.id, again)
    await tx.note_told(shard)
    halted = await _halt(tx, job, array, effects)
    await tx.put_array(job.id, array)
    if again or halted:
        await _wake(tx, job, array, again, effects)


async def end_shard(tx: Tx, job: Job, shard: Shard, report: Report, effects: Effects) -> None:
    """Write that a shard is over, and its array if it was the last one. What it has not told runs again.

    Unless the shard was given back, that is charged to the crash budget of all its inputs that were not told: else one
    that takes its worker along, or a worker that tells of none, would go round for ever.
    """
    array = await _array(tx, job)
    charged = report.charged and report.outcome not in _GIVEN_BACK
    left = _rest(shard, shard.first + shard.n, tx.now, crashed=charged)
    ranges = []
    if left.n > 0:
        if left.crashes < CRASH_BUDGET or is_stopped(job, array):  # of what was stopped it says what never ran
            ranges.append(left)
            await tx.put_ranges(job.id, ranges)
        else:
            await tx.insert_results(job.id, [_poison(i, shard, report) for i in range(left.first, left.first + left.n)])
            array.done += left.n
            array.failed += left.n
            effects.told.add(job.id)
            await _halt(tx, job, array, effects)
    array.live -= 1
    if job.abort_requested_at is not None and (
        report.outcome is Outcome.LOST or (report.proof is not None and report.proof.survivors)
    ):
        array.proven = False
    await tx.delete_shard(shard)
    await tx.put_array(job.id, array)
    await tx.insert_attempts([(job.id, _attempt(tx.now, shard, report))])
    effects.outcomes.append(report.outcome)
    effects.use(job.owner, tx.now - shard.started_at)
    effects.freed[job.queue, job.lane] += 1
    effects.freed_owners[job.owner] += 1
    if not await finish(tx, job, array, effects):
        await _wake(tx, job, array, ranges, effects)


async def finish(tx: Tx, job: Job, array: Array, effects: Effects) -> bool:
    """End an array of which nothing is left to run, or that was stopped, once no shard of it is leased."""
    settlement = settle_array(job, array, tx.now) if array.live == 0 else None
    if settlement is None:
        return False
    await tx.set_open(job, False)
    await tx.settle_jobs([(job, settlement)])
    why = settlement.error.message if settlement.error else None
    await tx.append_events(
        [NewEvent(job.id, job.owner, settlement.state.value, settlement.state, job.attempt, None, why)]
    )
    await conclude(tx, [(job, settlement)], effects)
    job.state = settlement.state
    return True


async def give_up(tx: Tx, job: Job, attempt: int, error: Failure, effects: Effects) -> None:
    """Fail an array, whose first shard was just cut, because it cannot use the results that it refers to."""
    array = await _array(tx, job)
    shard = await tx.get_shard(job.id, attempt)
    assert shard is not None, "it was just cut"
    array.live -= 1
    await tx.delete_shard(shard)
    await tx.put_array(job.id, array)
    await tx.set_open(job, False)
    settlement = refuse(job, tx.now, error)
    await tx.settle_jobs([(job, settlement)])
    await tx.append_events([NewEvent(job.id, job.owner, "failed", State.FAILED, job.attempt, None, error.message)])
    await conclude(tx, [(job, settlement)], effects)


async def abort(tx: Tx, job: Job, effects: Effects) -> None:
    """Do what follows from an abort that was asked for: no more shards, and those that run are ended by their workers."""
    array = await _array(tx, job)
    await tx.set_open(job, False)
    if not await finish(tx, job, array, effects):
        effects.orders.update(shard.worker for shard in await tx.shards_of(job.id))


async def promote_ranges(tx: Tx, limit: int, effects: Effects) -> int:
    """Open arrays with inputs whose time to run again has come."""
    jobs = (await tx.lock_jobs(await tx.promote_ranges(limit))).values()
    for job in jobs:
        if job.state is State.RUNNING:
            array = await _array(tx, job)
            await _reopen(tx, job, array)
            if job.open:
                effects.ready[job.queue, job.lane] += 1
    return len(jobs)


async def end_lost_shards(
    tx: Tx, shards: Sequence[tuple[str, int]], report: Callable[[str, int], Report], effects: Effects
) -> int:
    """End shards that their worker will not report. Returns how many."""
    ended = 0
    for job, attempt in shards:
        locked = (await tx.lock_jobs([job])).get(job)
        shard = await tx.get_shard(job, attempt)
        if shard is not None and locked is not None:
            await end_shard(tx, locked, shard, report(job, attempt), effects)
            ended += 1
    return ended


async def _array(tx: Tx, job: Job) -> Array:
    array = await tx.get_array(job.id)
    assert array is not None, "its job says that it is one"
    return array


async def _next_range(tx: Tx, job: Job, array: Array) -> Range | None:
    """Return what is to be cut next, and take it away: first what is to run again, then what never ran."""
    ready = await tx.ready_ranges(job.id, 2)
    if len(ready) == 2 and _go_together(*ready):
        ready = await tx.ready_ranges(job.id, _RANGES_JOINED)
    if ready:
        chosen, taken = ready[0], 1
        while taken < len(ready) and _go_together(chosen, ready[taken]):
            chosen, taken = replace(chosen, n=chosen.n + ready[taken].n), taken + 1
        await tx.delete_ranges(job.id, ready[:taken])
        return chosen
    if array.cursor < array.inputs:
        return Range(first=array.cursor, n=array.inputs - array.cursor, run_at=tx.now)
    return None


def _go_together(one: Range, other: Range) -> bool:
    """Say whether a shard may have both: they lie side by side, and have the same past."""
    return (one.first + one.n, one.failures, one.crashes) == (other.first, other.failures, other.crashes)


def is_stopped(job: Job, array: Array) -> bool:
    """Say whether no more inputs of an array are to be run."""
    return job.abort_requested_at is not None or array.halted is not None


async def _halt(tx: Tx, job: Job, array: Array, effects: Effects) -> bool:
    """Stop an array whose rule has come true; say whether that was now."""
    if is_stopped(job, array) or not is_halted(array):
        return False
    array.halted = array.halt
    await tx.append_events([NewEvent(job.id, job.owner, "halted", job.state, job.attempt, None, array.halt)])
    effects.orders.update(other.worker for other in await tx.shards_of(job.id))
    return True


async def _reopen(tx: Tx, job: Job, array: Array) -> None:
    """Keep `open` true: it says whether a claim would get a shard."""
    more = array.cursor < array.inputs or bool(await tx.ready_ranges(job.id, 1))
    room = array.parallel is None or array.live < array.parallel
    await tx.set_open(job, more and room and not is_stopped(job, array))


async def _wake(tx: Tx, job: Job, array: Array, again: Sequence[Range], effects: Effects) -> None:
    await _reopen(tx, job, array)
    if job.open:
        effects.ready[job.queue, job.lane] += max(1, len(again))
    for later in again:
        if later.run_at > tx.now:
            effects.wake(later.run_at)


def _rest(shard: Shard, until: int, now: int, *, crashed: bool = False) -> Range:
    """Return what a shard has not told below `until`, as it was."""
    return Range(
        first=shard.told, n=until - shard.told, run_at=now, failures=shard.failures, crashes=shard.crashes + crashed
    )


def _again(index: int, settlement: Settlement, now: int) -> Range:
    run_at = settlement.run_at if settlement.state is State.SCHEDULED else now
    return Range(first=index, n=1, run_at=run_at, failures=settlement.failures, crashes=settlement.crashes)


def _join(ranges: list[Range], new: Range) -> None:
    last = ranges[-1] if ranges else None
    if last is not None and last.run_at == new.run_at and _go_together(last, new):
        ranges[-1] = replace(last, n=last.n + new.n)
    else:
        ranges.append(new)


def _result(report: InputReport, settlement: Settlement) -> InputResult:
    return InputResult(
        index=report.index, state=settlement.state, outcome=report.outcome, attempt=report.attempt, exit_code=report.exit_code,
        duration_s=report.duration_s, stdout=report.stdout, stderr=report.stderr,
        result=report.result if settlement.state is State.SUCCEEDED else Raw(b"null"), error=report.error,
    )  # fmt: skip


def _poison(index: int, shard: Shard, report: Report) -> InputResult:
    error = report.error or Failure(type="lost", message="the attempts that it was part of ended without a word of it")
    return InputResult(index=index, state=State.FAILED, outcome=report.outcome, attempt=shard.attempt, error=error)


def _attempt(now: int, shard: Shard, report: Report) -> Attempt:
    return Attempt(
        attempt=shard.attempt, worker=shard.worker, started_at=shard.started_at, finished_at=now, outcome=report.outcome,
        exit_code=report.exit_code, error=report.error, proof=report.proof, first=shard.first, inputs=shard.n,
    )  # fmt: skip


def halts_now(halt: str | None) -> bool:
    """Say whether a rule that has come true ends what runs."""
    return halt is not None and parse_halt(halt).when == "now"
