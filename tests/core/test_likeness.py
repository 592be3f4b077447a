from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.core.jobs import Failure
from rota.core.likeness import MOST_EXAMPLES, MOST_MESSAGE, Fault, beginning_of, group, pattern_of


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("user 17 has no account", "user <n> has no account"),
        ("no such file: '/tmp/a b.txt'", "no such file: <text>"),
        ('bad value "x" at 0xDEADbeef', "bad value <text> at <hex>"),
        ("job 01890a5d-ac96-774b-bcce-b302099a8057 is gone", "job <id> is gone"),
        ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8 failed", "commit <hex> failed"),
        ("timed out after 3.5 s\n  at 10:02:11", "timed out after <n> s at <n>"),
        ("can't connect, isn't there", "can't connect, isn't there"),
        ("", ""),
    ],
)
def test_what_differs_between_occurrences_is_replaced(message: str, pattern: str) -> None:
    assert pattern_of(message) == pattern


@given(st.text(max_size=2000))
def test_any_text_has_a_pattern_of_a_bounded_size(message: str) -> None:
    assert len(pattern_of(message)) <= MOST_MESSAGE * 6


def fault(job: str, at: int = 1, **fields: Any) -> Fault:
    return Fault(job, at, **({"handler": "h", "kind": "handler", "type": "KeyError", "message": "m"} | fields))


def test_faults_that_are_alike_are_one_group_with_its_newest_jobs() -> None:
    faults = [fault(f"j{n}", 100 - n, message=f"row {n} is missing") for n in range(9)]
    faults += [
        fault("x", 50, type="ValueError", message="row 1 is missing"),
        fault("j8", 1, message="row 2 is missing"),
    ]
    first, second = group(faults)
    assert (first.count, first.message, first.example) == (10, "row <n> is missing", "row 0 is missing")
    assert first.jobs == [f"j{n}" for n in range(MOST_EXAMPLES)]
    assert (first.first_at, first.last_at) == (1, 100)
    assert (second.type, second.count, second.jobs) == ("ValueError", 1, ["x"])


def test_handlers_and_kinds_are_kept_apart() -> None:
    faults = [fault("a"), fault("b", handler="i"), fault("c", handler=None, kind="script")]
    assert len(group(faults)) == 3


@given(st.text(max_size=30), st.text(max_size=60), st.integers(0, 200))
def test_the_beginning_of_an_error_gives_the_beginning_of_its_texts(type_: str, message: str, cut: int) -> None:
    whole = msgspec.json.encode(Failure(type=type_, message=message, traceback='x "message":"other"')).decode()
    assert beginning_of(whole) == (type_, message)
    some_type, some_message = beginning_of(whole[:cut])
    assert type_.startswith(some_type)
    assert message.startswith(some_message)
    assert beginning_of(None) == ("", "")
