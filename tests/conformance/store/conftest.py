from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bench import KINDS, Bench


@pytest.fixture(params=sorted(KINDS))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    kind = KINDS[request.param](tmp_path)
    bench = Bench(kind)
    yield bench
    bench.close()
    asyncio.run(kind.end())
