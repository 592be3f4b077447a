from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .cluster import run


@pytest.fixture(params=["direct", "http", "postgres"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], None]:
    """Return a function that runs a coroutine function with a cluster of each kind."""
    return lambda test: run(test, tmp_path, request.param)
