"""What became of an array's inputs, bucket by bucket. No I/O.

Of a million inputs nobody reads a million results: known are those that are not over (what was never cut, what runs, what is
to run again) and those that are no success. All others have succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from rota.core.jobs import Array
from rota.core.states import State

MOST_BUCKETS = 4096


class Span(Struct, frozen=True):
    """Inputs side by side that are not over: `n` from `first`."""

    first: int
    n: int
    state: State


class Tally(Struct, frozen=True):
    """How many results a bucket has in a state."""

    bucket: int
    state: State
    n: int


class InputMap(Struct, frozen=True, kw_only=True):
    """How many of the inputs of each bucket are in each state; a bucket has `size` inputs, the last one maybe fewer.

    `queued` waits, `scheduled` is to run again later; `canceled` never ran, and never will.
    """

    inputs: int
    size: int
    states: dict[State, list[int]]


def size_of(inputs: int, buckets: int) -> int:
    """Return how many inputs a bucket has, for at most so many buckets."""
    return -(-inputs // min(buckets, inputs))


def never_cut(array: Array, state: State) -> Span:
    """Return the inputs that no worker has had."""
    return Span(array.cursor, array.inputs - array.cursor, state)


def by_what_is_left(array: Array, size: int, spans: Iterable[Span], bad: Iterable[Tally]) -> InputMap | None:
    """Count by what is not over and what is no success; None: it does not add up with what the array itself has counted."""
    counts = _none(array, size)
    for span in spans:
        _add(counts[span.state], span, size)
    over = array.inputs - sum(map(sum, counts.values()))
    _add_tallies(counts, bad)
    _rest(counts, State.SUCCEEDED, array, size)
    if over != array.done or min(counts[State.SUCCEEDED]) < 0:
        return None
    return InputMap(inputs=array.inputs, size=size, states=counts)


def by_results(array: Array, size: int, spans: Iterable[Span], results: Iterable[Tally]) -> InputMap:
    """Count by all results, of an array that was stopped: what is neither over nor still held by a worker was left out."""
    counts = _none(array, size)
    for span in spans:
        if span.state is State.RUNNING:
            _add(counts[span.state], span, size)
    _add_tallies(counts, results)
    _rest(counts, State.CANCELED, array, size)
    counts[State.CANCELED] = [max(0, n) for n in counts[State.CANCELED]]
    return InputMap(inputs=array.inputs, size=size, states=counts)


def _none(array: Array, size: int) -> dict[State, list[int]]:
    return {state: [0] * -(-array.inputs // size) for state in State if state is not State.BLOCKED}


def _add(counts: list[int], span: Span, size: int) -> None:
    at, end = span.first, span.first + span.n
    while at < end:
        until = min(end, at - at % size + size)
        counts[at // size] += until - at
        at = until


def _add_tallies(counts: dict[State, list[int]], tallies: Iterable[Tally]) -> None:
    for tally in tallies:
        counts[tally.state][tally.bucket] += tally.n


def _rest(counts: dict[State, list[int]], state: State, array: Array, size: int) -> None:
    """Count as `state` what has no other one."""
    for bucket, first in enumerate(range(0, array.inputs, size)):
        others = sum(of_state[bucket] for of_state in counts.values())
        counts[state][bucket] += min(size, array.inputs - first) - others
