"""Names of spans: what W3C Trace Context calls one, and nothing else."""

from __future__ import annotations

import pytest

from rota.core.traces import read_traceparent, trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_span_is_named() -> None:
    name = f"00-{TRACE}-{SPAN}-01"
    assert read_traceparent(name) == name == read_traceparent(f" {name} ")
    assert trace_of(name) == TRACE


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    for rest in ("", "-what-ever"):
        assert read_traceparent(f"cc-{TRACE}-{SPAN}-00{rest}") == f"00-{TRACE}-{SPAN}-00"


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01\n00",
    ],
)
def test_nonsense_is_none(wrong: str) -> None:
    assert read_traceparent(wrong) is None
