"""The same walks on PostgreSQL, which knows nothing of the model either."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from rota.store.postgres.store import PostgresStore
from rota.store.protocol import Store
from tests import postgres

from . import test_arrays, test_model
from .test_arrays import Walk, wander
from .test_model import Machine
from .test_walks import walk


class PostgresMachine(Machine):
    url = ""

    def new_store(self) -> Store:
        self.url = self.url or postgres.cluster().new_store()
        return PostgresStore(self.url, clock=lambda: self.now)


class PostgresWalk(Walk):
    url = ""

    def new_store(self) -> Store:
        self.url = self.url or postgres.cluster().new_store()
        return PostgresStore(self.url, clock=lambda: self.now)


@pytest.fixture(autouse=True)
def driven_by_a_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with asyncio.Runner() as runner:

        def drive(coroutine: Any) -> Any:
            return runner.run(coroutine)

        for module in (test_model, test_arrays):
            monkeypatch.setattr(module, "drive", drive)
        yield


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_long_walk(seed: int) -> None:
    walk(random.Random(seed), PostgresMachine())


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_long_walk_of_arrays(seed: int) -> None:
    wander(seed, PostgresWalk)
