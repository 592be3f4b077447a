"""What people see of an array's inputs: a map of all, and one of them with all that is known of it."""

from __future__ import annotations

from msgspec import Raw, Struct

from rota.core.errors import NotFound
from rota.core.input_maps import InputMap, Span, by_results, by_what_is_left, never_cut, size_of
from rota.core.jobs import Array, Attempt, InputResult, Job
from rota.core.states import FINAL, State
from rota.service.arrays import is_stopped
from rota.service.inputs import Inputs
from rota.store.protocol import Tx

MOST_ATTEMPTS = 50  # of one input that are shown, the newest


class OneInput(Struct, frozen=True, kw_only=True):
    """An input, where it stands, and how it ended if it is over: `stands_of` is the earlier array whose success it is.

    `run_at` is when it runs again, of one that is `scheduled`.
    """

    index: int
    input: Raw
    state: State
    run_at: int | None = None
    failures: int = 0
    outcome: InputResult | None = None
    stands_of: str | None = None
    attempts: list[Attempt]


async def read_map(tx: Tx, job: Job, array: Array, buckets: int) -> InputMap:
    """Count an array's inputs by state, in at most so many buckets."""
    size = size_of(array.inputs, buckets)
    waiting, again = (State.CANCELED, State.CANCELED) if _is_over(job, array) else (State.QUEUED, State.SCHEDULED)
    spans = [Span(s.told, s.first + s.n - s.told, State.RUNNING) for s in await tx.shards_of(job.id)]
    spans += [Span(first, n, waiting if due else again) for first, n, due in await tx.spread_ranges(job.id, size)]
    spans.append(never_cut(array, waiting))
    bad = await tx.spread_results(job.id, size, bad=True)
    found = by_what_is_left(array, size, spans, bad)
    if found is not None:
        return found
    results = await tx.spread_results(job.id, size, bad=False)
    base = array.base
    while base is not None:
        results += [tally for tally in await tx.spread_results(base, size, bad=False) if tally.state is State.SUCCEEDED]
        base = await _base_of(tx, base)
    return by_results(array, size, spans, results)


async def read_one(tx: Tx, inputs: Inputs, job: Job, array: Array, index: int) -> OneInput:
    """Return one input of an array with all that is known of it. Raises NotFound."""
    if not 0 <= index < array.inputs:
        raise NotFound(f"job {job.id} has no input {index}: it has those from 0 to {array.inputs - 1}")
    (value,) = await inputs.read(tx, array.root, index, 1)
    attempts = await tx.attempts_at(job.id, index, MOST_ATTEMPTS)
    attempts.reverse()
    found = await _result_at(tx, job.id, index)
    if found is not None:
        return OneInput(index=index, input=value, state=found.state, outcome=found, attempts=attempts)
    base = array.base
    while base is not None:
        found = await _result_at(tx, base, index)
        if found is not None and found.state is State.SUCCEEDED:
            return OneInput(
                index=index, input=value, state=found.state, outcome=found, stands_of=base, attempts=attempts
            )
        base = await _base_of(tx, base)
    for shard in await tx.shards_of(job.id):
        if shard.told <= index < shard.first + shard.n:
            attempts.append(shard.as_attempt())
            return OneInput(index=index, input=value, state=State.RUNNING, failures=shard.failures, attempts=attempts)
    again = await tx.range_at(job.id, index)
    if again is None or index >= again.first + again.n:
        again = None
    failures = 0 if again is None else again.failures
    if _is_over(job, array):
        return OneInput(index=index, input=value, state=State.CANCELED, failures=failures, attempts=attempts)
    if again is None or again.run_at <= tx.now:
        return OneInput(index=index, input=value, state=State.QUEUED, failures=failures, attempts=attempts)
    return OneInput(
        index=index, input=value, state=State.SCHEDULED, run_at=again.run_at, failures=failures, attempts=attempts
    )


def _is_over(job: Job, array: Array) -> bool:
    """Say whether what has not begun never will."""
    return job.state in FINAL or is_stopped(job, array)


async def _result_at(tx: Tx, job: str, index: int) -> InputResult | None:
    found = await tx.results_of(job, index - 1, 1, which="all")
    return found[0] if found and found[0].index == index else None


async def _base_of(tx: Tx, job: str) -> str | None:
    array = await tx.get_array(job)
    return None if array is None else array.base
