from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rota.core.histograms import BOUNDS, BUCKETS, add, bucket_of, quantile, sparse

durations = st.floats(0.0006, 500_000)


def histogram(values: list[float]) -> list[int]:
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket_of(value)] += 1
    return counts


@given(st.lists(durations, min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_value_that_it_stands_for(values: list[float], q: float) -> None:
    found = quantile(histogram(values), q)
    assert found is not None
    at = sorted(values)[math.ceil(q * len(values)) - 1]
    assert abs(bucket_of(found) - bucket_of(at)) <= 1


def test_ends() -> None:
    assert quantile([0] * BUCKETS, 0.5) is None
    assert bucket_of(0.0) == 0
    assert bucket_of(-1.0) == 0
    assert bucket_of(1e9) == BUCKETS - 1
    assert quantile(histogram([1e9]), 0.5) == BOUNDS[-1]


@given(st.lists(durations, max_size=30), st.lists(durations, max_size=30))
def test_histograms_add_up(some: list[float], more: list[float]) -> None:
    counts = histogram(some)
    add(counts, sparse(histogram(more)))
    assert counts == histogram(some + more)
