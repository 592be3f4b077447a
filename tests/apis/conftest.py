"""A live server (`rota serve` as a process) with the handlers that the transcripts name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Server

HANDLERS = """
import time
import rota

app = rota.App()

@app.handler
def add(a, b=0):
    return a + b

@app.handler
def echo(data=None):
    return data

@app.handler
def hold(seconds=600, *, ctx: rota.Context):
    ctx.progress(0.5, "holding")
    time.sleep(seconds)

@app.handler
def fail(message="no"):
    raise ValueError(message)

@app.handler(timeout=0.3)
def slow():
    time.sleep(600)

@app.handler
def tell(what, *, ctx: rota.Context):
    ctx.call_hook({"half": what})
    return what

@app.handler(name="JOB_A")
def job_a():
    return "ran"
"""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers; all of them end with the test."""
    servers: list[Server] = []
    (tmp_path / "api_handlers.py").write_text(HANDLERS)

    def start(*arguments: str, **kwargs: Any) -> Server:
        server = Server(tmp_path, "--app", "api_handlers:app", *arguments, **kwargs)
        servers.append(server)
        return server.ready()

    yield start
    for server in servers:
        server.kill()
