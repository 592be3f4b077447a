"""Tests of a group run in one process: one container engine, one browser. Some versions of pytest forget it silently."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("shape")
def test_groups_are_known(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("loadgroup", False):
        pytest.skip("only a run with --dist loadgroup has groups")
    assert request.node.nodeid.endswith("@shape")
