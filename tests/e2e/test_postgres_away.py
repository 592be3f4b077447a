"""A server that starts while PostgreSQL is away: it waits, says so, and works when it is there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import postgres
from tests.processes import PATIENCE_S, started


@pytest.fixture
def cluster() -> Iterator[postgres.Cluster]:
    own = postgres.Cluster(postgres.programs())
    yield own
    own.remove()


def read_until(lines: Iterator[str], word: str) -> str:
    return next(line for line in lines if word in line)


def url_in(line: str) -> str:
    return next(part.rstrip(":.,") for part in line.split() if part.startswith("http://"))


@pytest.mark.timeout(300)
def test_a_server_waits_for_a_database_that_is_away(cluster: postgres.Cluster, tmp_path: Path) -> None:
    url = cluster.new_database()
    cluster.stop()
    command = [sys.executable, "-m", "rota", "serve", "--store", url, "--port", "0", "--workers", "0"]
    with started(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        assert server.stderr is not None
        said = read_until(server.stderr, "cannot be reached")
        with httpx.Client(base_url=url_in(said), timeout=PATIENCE_S) as client:
            assert client.get("/healthz").status_code == 200
            for path in ("/readyz", "/v1/jobs"):
                answer = client.get(path)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert answer.json()["detail"] == "the store is not there yet"
            assert client.get("/readyz", headers={"host": "elsewhere.example"}).status_code == 421
            cluster.start()
            assert url_in(read_until(server.stderr, "listening on")) == url_in(said)
            assert client.get("/readyz").status_code == 200
            assert client.post("/v1/jobs", json={"handler": "h"}).status_code == 201
        server.terminate()
        assert server.wait(PATIENCE_S) == 0


@pytest.mark.timeout(300)
def test_a_server_that_waits_can_be_stopped(tmp_path: Path) -> None:
    url = f"postgresql://rota@127.0.0.1:{postgres.free_port()}/rota"
    command = [sys.executable, "-m", "rota", "serve", "--store", url, "--port", "0", "--workers", "0"]
    with started(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        assert server.stderr is not None
        read_until(server.stderr, "cannot be reached")
        server.terminate()
        assert server.wait(PATIENCE_S) == 0
