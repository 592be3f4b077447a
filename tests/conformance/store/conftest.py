from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .bench import KINDS, Bench


@pytest.fixture(params=sorted(KINDS))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(KINDS[request.param](tmp_path))
    yield bench
    bench.close()
