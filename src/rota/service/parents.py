"""Results of jobs as those that wait for them get them. Nothing is copied when a job ends: what others refer to stays until
they are over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Raw

from rota.core.arrays import CHUNK_BYTES, CHUNK_INPUTS
from rota.core.jobs import NULL, Array, Job
from rota.core.quotas import inputs_bytes
from rota.core.results import Unusable, items
from rota.core.states import State
from rota.store.protocol import Tx

MAX_MAPPED = 100_000  # inputs that a result may have; they are written in the transaction that ends its job
MAX_MAPPED_BYTES = 16 << 20
_PAGE = 1000


async def result_of(tx: Tx, job: str, most: int) -> Raw:
    """Return a job's result, null unless it has succeeded; of an array the results of its inputs, in their order.

    Raises Unusable when it is more than `most` bytes.
    """
    found = await tx.result_of(job)
    if found is None:
        raise Unusable(f"job {job}, whose result is asked for, is gone")
    state, result, inputs, mapped = found
    if inputs is not None:
        return await _results_of(tx, job, inputs, most)
    if state is State.SUCCEEDED and mapped:  # over a list of nothing
        return Raw(b"[]")
    given = NULL if state is not State.SUCCEEDED or result is None else result
    if len(bytes(given)) > most:
        raise Unusable(f"the result of job {job} is more than {most} bytes")
    return given


async def inputs_of(tx: Tx, job: Job) -> Array | None:
    """Write what a `map` is over as a job's inputs, and return the array that it is from now on; None: of nothing.

    Raises Unusable for what is no list, or too long.
    """
    mapped = job.map
    assert mapped is not None, "the caller has looked"
    values = items(await result_of(tx, mapped.over, MAX_MAPPED_BYTES), mapped.over, mapped.path)
    if len(values) > MAX_MAPPED:
        raise Unusable(f"a map over {len(values):,} items: there may be {MAX_MAPPED:,}")
    if not values:
        return None
    pieces = list(_pieces(values))
    await tx.insert_inputs(job.id, pieces)
    size = inputs_bytes(pieces)
    return Array(inputs=len(values), parallel=mapped.parallel, halt=mapped.halt, root=job.id, size=size)


async def _results_of(tx: Tx, job: str, inputs: int, most: int) -> Raw:
    too_much = Unusable(f"the results of the {inputs:,} inputs of job {job} are more than {most} bytes together")
    size = inputs * 5  # "null," each
    if size > most:
        raise too_much
    values = [b"null"] * inputs
    base: str | None = job
    while base is not None:  # what stands of an array that it runs again is in that one
        after = -1
        while page := await tx.results_of(base, after, _PAGE, which="good"):
            for result in page:
                value = bytes(result.result)
                size += len(value) - 4
                values[result.index] = value
            if size > most:
                raise too_much
            after = page[-1].index
        array = await tx.get_array(base)
        base = None if array is None else array.base
    return Raw(b"[" + b",".join(values) + b"]")


def _pieces(values: Sequence[Raw]) -> Iterator[tuple[int, int, str]]:
    first = size = 0
    for at, value in enumerate(values):
        length = len(bytes(value))
        if at > first and (size + length > CHUNK_BYTES or at - first == CHUNK_INPUTS):
            yield first, at - first, _joined(values[first:at])
            first, size = at, 0
        size += length + 1
    yield first, len(values) - first, _joined(values[first:])


def _joined(values: Sequence[Raw]) -> str:
    return f"[{','.join(bytes(value).decode() for value in values)}]"
