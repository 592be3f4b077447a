"""What needs a real process: Ctrl-C, a closed pipe, a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from rota.client import Client
from tests.client.live import Hands, LiveServer
from tests.processes import PATIENCE_S, started

ROTA = [sys.executable, "-m", "rota"]


@pytest.fixture
def env(server: LiveServer) -> dict[str, str]:
    return os.environ | {"ROTA_SERVER": server.url, "TERM": "xterm", "COLUMNS": "100"}


def test_ctrl_c_while_waiting_leaves_the_job(env: dict[str, str], hands: Hands, client: Client) -> None:
    words = [*ROTA, "submit", "hang", "--wait"]
    with started(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert hands.started.wait(PATIENCE_S)
        id_ = process.stderr.readline().strip()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (130, "")
    assert f"job {id_} goes on; stop it with: rota abort {id_}" in err
    assert client.get(id_).state == "running"
    client.abort(id_, wait=PATIENCE_S)


def test_a_reader_that_goes_away_is_no_error(env: dict[str, str], client: Client) -> None:
    client.submit("nobody")
    ours, theirs = os.pipe()
    os.close(ours)
    with started([*ROTA, "jobs", "--json"], env=env, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (141, b"")


def test_a_terminal_gets_colours_columns_and_a_bar(env: dict[str, str], client: Client) -> None:
    shown = on_terminal(["submit", "talk", "--wait"], env)
    assert '"said"' in shown
    job = client.submit("fail").wait(PATIENCE_S)
    listed = on_terminal(["jobs", "--state", "failed", "--limit", "3"], env)
    assert job.id in listed
    assert "\x1b[31mfailed" in listed
    assert all(len(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)) <= 100 for line in listed.splitlines())
    assert "traceback" in on_terminal(["job", job.id], env)


def on_terminal(words: list[str], env: dict[str, str]) -> str:
    """Return what a command writes to a terminal, which is its stdout and its stderr."""
    ours, theirs = pty.openpty()
    parts = []
    with started([*ROTA, *words], env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        with suppress(OSError):  # Linux's way to say that the other end is closed
            while select.select([ours], [], [], PATIENCE_S)[0]:
                parts.append(os.read(ours, 1 << 16))
        process.wait(PATIENCE_S)
    os.close(ours)
    return b"".join(parts).decode()
