from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rota.cli.main import main
from rota.client import Client
from tests.client.live import Hands, LiveServer, running

Run = Callable[..., Result]


@pytest.fixture(scope="session")
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


@pytest.fixture
def run(server: LiveServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Return a function that runs a command line against the live server, in an empty folder."""
    for name in ("HOST", "PORT", "TOKEN", "CONFIG", "STORE"):
        monkeypatch.delenv(f"ROTA_{name}", raising=False)
    monkeypatch.setenv("ROTA_SERVER", server.url)
    monkeypatch.chdir(tmp_path)

    def invoke(*words: str, **options: Any) -> Result:
        result = CliRunner().invoke(main, list(words), prog_name="rota", **options)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback (most recent" not in result.stderr
        return result

    return invoke
