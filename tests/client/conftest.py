from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rota.client import Client
from tests.client.live import Hands, LiveServer, running


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("SERVER", "HOST", "PORT", "TOKEN", "CONFIG", "STORE", "TIMEOUT"):
        monkeypatch.delenv(f"ROTA_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, Hands]]:
    with running(tmp_path_factory.mktemp("live") / "r.db") as (server, start):
        yield server, start()


@pytest.fixture
def server(live: tuple[LiveServer, Hands]) -> LiveServer:
    return live[0]


@pytest.fixture
def hands(live: tuple[LiveServer, Hands]) -> Hands:
    live[1].started.clear()
    return live[1]


@pytest.fixture
def client(server: LiveServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client
