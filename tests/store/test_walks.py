"""Which index a listing walks, and when counters know how many jobs it finds."""

from __future__ import annotations

import pytest

from rota.core.states import State
from rota.store.rows import CountRow, Query
from rota.store.walks import choose, exact_counts, needle, wants_counts

MANY = [
    CountRow("big", "h", State.SUCCEEDED, 1_000_000),
    CountRow("big", "h", State.FAILED, 7),
    CountRow("small", "h", State.SUCCEEDED, 3000),
    CountRow("small", "i", State.QUEUED, 5),
]


@pytest.mark.parametrize(
    ("query", "walk"),
    [
        ({}, "all"),
        ({"states": [State.FAILED]}, "state"),
        ({"states": [State.FAILED], "owner": "ana"}, "state"),
        ({"states": [State.SUCCEEDED], "owner": "ana"}, "owner"),
        ({"states": [State.SUCCEEDED], "queue": "small"}, "queue"),
        ({"states": [State.FAILED, State.QUEUED], "queue": "big"}, "state"),
        ({"states": [State.SUCCEEDED], "handler": "h"}, "handler"),
        ({"owner": "ana", "queue": "big"}, "owner"),
        ({"handler": "h", "queue": "big"}, "handler"),
        ({"labels": [("k", "v")], "states": [State.FAILED]}, "label"),
        ({"error": "x", "labels": [("k", "v")]}, "error"),
        ({"api": "c", "owner": "ana"}, "api"),
    ],
)
def test_the_shortest_index_is_walked(query: dict[str, object], walk: str) -> None:
    made = Query(**query)  # type: ignore[arg-type]
    assert choose(made, MANY if wants_counts(made) else ()) == walk


def test_counters_know_states_and_queues_and_nothing_else() -> None:
    assert exact_counts(Query(), MANY) == {"succeeded": 1_003_000, "failed": 7, "queued": 5}
    assert exact_counts(Query(queue="small", states=[State.SUCCEEDED]), MANY) == {"succeeded": 3000}
    assert exact_counts(Query(queue="none"), MANY) == {}
    for query in (
        Query(owner="ana"),
        Query(handler="h"),
        Query(labels=[("a", "b")]),
        Query(error="x"),
        Query(from_id="0"),
    ):
        assert exact_counts(query, MANY) is None


def test_a_text_is_looked_for_as_json_has_it() -> None:
    assert needle('A "b"\n') == 'a \\"b\\"\\n'
