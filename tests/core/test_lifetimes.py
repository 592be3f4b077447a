"""The time of a job is added up by its events, whatever they are, and no part of it is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.core.jobs import Event
from rota.core.lifetimes import in_words, spent
from rota.core.states import Outcome, State
from rota.core.times import SECOND

KINDS = ["submitted", "released", "queued", "started", "edited", *(outcome.value for outcome in Outcome)]


def event(at: int, kind: str, state: State) -> Event:
    return Event(seq=at, at=at, job="j", owner="o", kind=kind, state=state)


@given(
    st.lists(st.tuples(st.integers(0, 2000), st.sampled_from(KINDS), st.sampled_from(State)), max_size=30),
    st.integers(0, 1000), st.integers(0, 1000), st.booleans(),
)  # fmt: skip
def test_the_parts_are_the_whole_life(
    changes: list[tuple[int, str, State]], submitted: int, life: int, whole: bool
) -> None:
    """Also where clocks went back, and where the history is cut off."""
    told = spent(submitted, submitted + life, [event(*change) for change in changes], attempts=1, whole=whole)
    parts = [told.dependency_s, told.scheduled_s, told.queued_s, told.ran_s, told.backoff_s, told.other_s]
    assert min(parts) >= 0
    assert round(sum(parts) * SECOND) == life == round(told.total_s * SECOND)
    ends = [0.0, *(span.end_s for span in told.spans)]
    assert [span.begin_s for span in told.spans] == ends[:-1]
    assert ends[-1] == told.total_s
    for part in ("dependency", "scheduled", "queued", "ran", "backoff", "other"):
        took = sum(round((span.end_s - span.begin_s) * SECOND) for span in told.spans if span.part == part)
        assert took == round(getattr(told, f"{part}_s") * SECOND)


def test_what_failed_is_retried_what_was_put_off_or_interrupted_is_not() -> None:
    story = [
        event(0, "submitted", State.QUEUED), event(1, "started", State.RUNNING), event(2, "errored", State.SCHEDULED),
        event(4, "edited", State.SCHEDULED), event(5, "queued", State.QUEUED), event(5, "started", State.RUNNING),
        event(6, "snoozed", State.SCHEDULED), event(9, "queued", State.QUEUED), event(9, "started", State.RUNNING),
        event(10, "interrupted", State.QUEUED), event(12, "started", State.RUNNING), event(13, "lost", State.QUEUED),
        event(14, "started", State.RUNNING),
    ]  # fmt: skip
    told = spent(0, 20 * SECOND, [Event(**{**_fields(e), "at": e.at * SECOND}) for e in story], attempts=5)
    assert (told.queued_s, told.ran_s, told.backoff_s, told.scheduled_s) == (4.0, 10.0, 3.0, 3.0)
    assert told.retries == 2
    assert told.text == "waited for its time 3 s, for a slot 4 s, ran 10 s, retried twice (back-off 3 s)"


def _fields(e: Event) -> dict[str, object]:
    return {name: getattr(e, name) for name in e.__struct_fields__}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (0.004, "0.004 s"), (3.14, "3.1 s"), (41.4, "41 s"), (59.7, "1 min"), (90, "1 min 30 s"),
        (7200, "2 h"), (7500, "2 h 5 min"), (86400 * 4 + 7200, "4 d 2 h"),
    ],
)  # fmt: skip
def test_durations_as_people_say_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
