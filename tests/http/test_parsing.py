"""Bad input says what is wrong, where, and which words there are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rota.core.errors import Invalid
from rota.core.jobs import Submission
from rota.core.runs import RunSubmission
from rota.http.parsing import decode, struct_of
from rota.service.schedules import NewSchedule


@pytest.mark.parametrize(
    ("kind", "body", "told"),
    [
        (NewSchedule, b'{"rule": "x", "missed": "x"}', "missed: invalid enum value 'x'; there is skip, once, all"),
        (
            RunSubmission,
            b'{"jobs": [{"after": [{"job": "a", "on": "dead"}]}]}',
            "jobs[0].after[0].on: invalid enum value 'dead'; there is any, failed, finished, succeeded",
        ),
        (
            list[Submission],
            b'[{"on_conflict": "z"}]',
            "[0].on_conflict: invalid enum value 'z'; there is existing, reject, replace",
        ),
        (Submission, b'{"needs": {"gpu": []}}', "needs[...]: expected `bool | int | float | str`, got `array`"),
    ],
)
def test_a_word_that_is_not_known_is_told_with_those_that_are(kind: Any, body: bytes, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode(msgspec.json.Decoder(kind).decode, body)
    assert str(refused.value) == told


def test_a_parameter_of_a_query_too() -> None:
    with pytest.raises(Invalid, match="missed: invalid enum value 'x'; there is skip, once, all"):
        struct_of([("missed", "x"), ("rule", "every 1m")], NewSchedule, frozenset())
