from __future__ import annotations

import pytest

from rota.core.states import FINAL, TRANSITIONS, WAITING, Reason, State, mermaid


def test_every_state_is_drawn():
    assert set(TRANSITIONS) == set(State)
    assert WAITING | FINAL | {State.RUNNING} == set(State)
    assert not WAITING & FINAL


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_final_state_never_changes(state: State):
    assert not TRANSITIONS[state]


@pytest.mark.parametrize("state", sorted(WAITING))
def test_what_waits_can_be_canceled_and_never_succeeds_unrun(state: State):
    assert State.CANCELED in TRANSITIONS[state]
    unrun = TRANSITIONS[state] & {State.SUCCEEDED, State.FAILED, State.ABORTED}
    of_maps = (
        {State.FAILED, State.SUCCEEDED} if state is State.BLOCKED else set()
    )  # over what is no list, or over nothing
    assert unrun == of_maps


def test_only_what_is_queued_is_claimed():
    assert [s for s in State if State.RUNNING in TRANSITIONS[s]] == [State.QUEUED]


def test_what_runs_is_never_canceled_and_what_is_aborted_ran():
    assert State.CANCELED not in TRANSITIONS[State.RUNNING]
    assert [s for s in State if State.ABORTED in TRANSITIONS[s]] == [State.RUNNING]


def test_every_state_is_reached_and_leads_to_an_end():
    reached, frontier = set(), [State.BLOCKED, State.SCHEDULED, State.QUEUED]
    while frontier:
        state = frontier.pop()
        if state not in reached:
            reached.add(state)
            frontier += TRANSITIONS[state]
    assert reached == set(State)
    ends = set(FINAL)
    while more := {s for s in State if s not in ends and TRANSITIONS[s] & ends}:
        ends |= more
    assert ends == set(State)


def test_the_drawing_shows_each_change_once():
    lines = mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    drawn = [line.split() for line in lines[1:]]
    changes = [(a, b) for a, _, b in drawn if "[*]" not in (a, b)]
    assert sorted(changes) == sorted((a.value, b.value) for a in State for b in TRANSITIONS[a])
    assert {a for a, _, b in drawn if b == "[*]"} == {s.value for s in FINAL}
    assert {b for a, _, b in drawn if a == "[*]"} == {s.value for s in WAITING}


def test_a_reason_is_no_state():
    assert not {r.value for r in Reason} & {s.value for s in State}
