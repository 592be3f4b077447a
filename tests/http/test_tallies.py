"""What several processes of one server have counted, as each of them tells it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from rota.core.states import State
from rota.http.metrics import Metrics
from rota.wiring.tallies import Tallies


@pytest.fixture
def places() -> Iterator[list[Tallies]]:
    first = Tallies.make(3)
    yield [replace(first, at=at) for at in range(3)]
    os.close(first.fd)


def test_all_that_is_counted_can_be_counted_by_another_one() -> None:
    one, two = Metrics(), Metrics()
    one.submitted(3)
    one.ended(State.SUCCEEDED, 0.2)
    one.stored("submit", 0.001)
    two.submitted(1)
    two.count(one.tally())
    two.count(one.tally())
    assert two.tally()[0] == [7]
    twice = [[2 * n for n in numbers] for numbers in one.tally()]
    twice[0][0] += 1
    assert two.tally() == twice


def test_places_are_apart_and_keep_what_was_counted(places: list[Tallies]) -> None:
    assert [list(place.others()) for place in places] == [[], [], []]
    assert places[1].mine() is None
    places[0].write([[1.0], [2.0, 3.0]])
    places[2].write([[4.0], []])
    assert list(places[1].others()) == [[[1.0], [2.0, 3.0]], [[4.0], []]]
    assert places[0].mine() == [[1.0], [2.0, 3.0]], "who takes the place of one that died goes on from there"
    assert list(places[0].others()) == [[[4.0], []]]


def test_what_is_being_written_is_not_believed(places: list[Tallies]) -> None:
    places[0].write([[1.0, 2.0]])
    os.pwrite(places[0].fd, b"9", 10)
    assert list(places[1].others()) == []


def test_there_is_room_for_all_that_is_counted(places: list[Tallies]) -> None:
    metrics = Metrics()
    metrics.count([[1e15 + n for n in range(len(numbers))] for numbers in metrics.tally()])
    places[0].write(metrics.tally())
    with pytest.raises(ValueError, match="bytes of counts"):
        places[0].write([[1e15] * 10_000])
