from __future__ import annotations

import pytest

from tests.chronos.chronos import Chronos


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_what_was_expected_to_fire_did_and_nothing_else(seed: int) -> None:
    world = Chronos(seed, years=0.3)
    world.run()
    assert world.told["slots fired"] > 200
    assert world.told["the clock is set"] > 0
    assert world.told["outage"] > 5
