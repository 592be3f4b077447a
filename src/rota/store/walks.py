"""Which index a listing walks: the one that has the fewest entries for what is asked, as far as the counters can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from rota.store.rows import STATES, CountRow, Query, encode

Walk = Literal["run", "api", "error", "label", "owner", "state", "handler", "queue", "all"]
MOST_SCANNED = 4_000  # rows that one page of a listing may read: less than a tenth of a second, on a busy machine too
MOST_ERRORS = 2_500  # of them errors, whose texts are looked at
_FEW = 2_000  # entries that are walked in a moment


def wants_counts(query: Query) -> bool:
    """Say whether the counters help to choose: the states are asked for, and something else too."""
    others = (query.owner, query.handler, query.queue)
    return (
        bool(query.states)
        and query.run is None
        and query.api is None
        and query.error is None
        and not query.labels
        and any(others)
    )


def choose(query: Query, counts: Sequence[CountRow] = ()) -> Walk:
    """Return what to walk; the other filters are looked at on the way. `counts` are for who `wants_counts`."""
    if query.run is not None:
        return "run"
    if query.api is not None:
        return "api"
    if query.error is not None:
        return "error"
    if query.labels:
        return "label"
    if query.states and wants_counts(query):
        in_states = sum(row.n for row in counts if row.state in query.states)
        in_queue = sum(row.n for row in counts if row.queue == query.queue)
        if in_states <= _FEW or (query.owner is None and query.handler is None and in_states <= in_queue):
            return "state"
    if query.owner is not None:
        return "owner"
    if query.handler is not None:
        return "handler"
    if query.queue is not None:
        return "queue"
    return "state" if query.states else "all"


def fits(query: Query, row: Sequence[Any]) -> bool:
    """Say whether a walk's row (id, state, owner, queue, handler, api, and whether it has what else was asked) is asked for."""
    _, state, owner, queue, handler, api, *has = row
    return (
        (not query.states or STATES[state] in query.states)
        and query.owner in (None, owner)
        and query.queue in (None, queue)
        and query.handler in (None, handler)
        and query.api in (None, api)
        and all(has)
    )


def exact_counts(query: Query, counts: Sequence[CountRow]) -> dict[str, int] | None:
    """Return how many jobs a query finds in each state, when the counters know; None: they do not."""
    asked = (query.owner, query.handler, query.api, query.run, query.error, query.from_id, query.below_id, query.cursor)
    if query.labels or any(given is not None for given in asked):
        return None
    found: dict[str, int] = {}
    for row in counts:
        if (not query.states or row.state in query.states) and query.queue in (None, row.queue):
            found[row.state.value] = found.get(row.state.value, 0) + row.n
    return found


def needle(text: str) -> str:
    """Return what to look for in an error's JSON, both in small letters."""
    return encode(text)[1:-1].lower().decode()
