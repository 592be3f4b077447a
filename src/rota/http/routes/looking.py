"""`/v1/jobs/{id}/graph`, `/inputs/map`, `/inputs/{index}`: one job, looked at closely."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

from rota.core.access import Who
from rota.core.errors import Invalid
from rota.core.input_maps import MOST_BUCKETS
from rota.core.jobs import Failure
from rota.core.runs import AroundView
from rota.core.times import rfc3339
from rota.core.wire import AttemptView, attempt_view
from rota.http.operations import Call, NoBody, NoQuery, Operation
from rota.http.replies import Reply, json_reply
from rota.service.input_views import OneInput

_NULL = Raw(b"null")


class MapQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`buckets`: into how many parts, as large as each other, the inputs are counted at most."""

    buckets: Annotated[int, Meta(ge=1, le=MOST_BUCKETS)] = 1000


class AroundQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`limit`: how many jobs at most, the nearest."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 100


class MapView(Struct, kw_only=True):
    """How many inputs are in each state, a list a state and a number a bucket of `size` inputs (the last may have fewer).

    `queued` waits for a worker, `scheduled` runs again later, `running` is with a worker; `canceled` never ran, and never will.
    """

    inputs: int
    size: int
    states: dict[str, list[int]]


class OneInputView(Struct, kw_only=True):
    """An input and what became of it; what it ended with is null while it is not over.

    `run_at` is when it runs again, of one that is `scheduled`; `failures` how often it has failed before. `stands_of` is the
    earlier array whose success stands. `attempts` are the shards that had it, the first first.
    """

    index: int
    input: Raw
    state: str
    run_at: str | None
    failures: int
    outcome: str | None
    attempt: int | None
    exit_code: int | None
    duration: float | None
    stdout: str | None
    stderr: str | None
    result: Raw
    error: Failure | None
    stands_of: str | None
    attempts: list[AttemptView]


async def input_map(call: Call[MapQuery, NoBody]) -> Reply:
    """Count an array's inputs by state, bucket by bucket; cheap, however many there are."""
    found = await call.service.looking.input_map(call.id, call.query.buckets, call.caller)
    states = {state.value: counts for state, counts in found.states.items()}
    return json_reply(MapView(inputs=found.inputs, size=found.size, states=states))


async def one_input(call: Call[NoQuery, NoBody]) -> Reply:
    """Show one input of an array, the first is 0, and what became of it."""
    text: str = call.scope["path_params"]["index"]
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise Invalid("index", "is the number of an input, from 0")
    return json_reply(_one_view(await call.service.looking.one_input(call.id, int(text), call.caller)))


async def around(call: Call[AroundQuery, NoBody]) -> Reply:
    """Show what a job waits for and what waits for it, and what those wait for, and so on."""
    return json_reply(await call.service.looking.around(call.id, call.query.limit, call.caller))


def _one_view(found: OneInput) -> OneInputView:
    end = found.outcome
    return OneInputView(
        index=found.index, input=found.input, state=found.state.value, failures=found.failures, stands_of=found.stands_of,
        run_at=None if found.run_at is None else rfc3339(found.run_at),
        outcome=None if end is None else end.outcome.value, attempt=None if end is None else end.attempt,
        exit_code=None if end is None else end.exit_code, duration=None if end is None else round(end.duration_s, 6),
        stdout=None if end is None else end.stdout, stderr=None if end is None else end.stderr,
        result=_NULL if end is None else end.result, error=None if end is None else end.error,
        attempts=[attempt_view(attempt) for attempt in found.attempts],
    )  # fmt: skip


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/v1/jobs/{id}/graph", function=around, summary="Show what is before and after a job",
        tag="jobs", who=Who.OWNERS, query=AroundQuery, body=NoBody, answers={200: AroundView}, problems=(404,),
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}/inputs/map", function=input_map, summary="Count the inputs of an array",
        tag="jobs", who=Who.OWNERS, query=MapQuery, body=NoBody, answers={200: MapView}, problems=(404,),
    ),
    Operation(
        method="GET", path="/v1/jobs/{id}/inputs/{index}", function=one_input, summary="Show one input of an array",
        tag="jobs", who=Who.OWNERS, query=NoQuery, body=NoBody, answers={200: OneInputView}, problems=(404,),
    ),
]  # fmt: skip
