"""`rota map` in processes of its own, on a store in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ROTA = [sys.executable, "-m", "rota"]
PATIENCE_S = 60.0


class Folder:
    """A folder with a store, in which commands are run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
        self._started: list[subprocess.Popen[str]] = []

    def map(self, *words: str, stdin: str | bytes = "", **more: Any) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*ROTA, "map", *words], cwd=self.path, env=self._env | more.pop("env", {}), input=given, capture_output=True,
            timeout=PATIENCE_S, check=False, **more,
        )  # fmt: skip
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback (most recent" not in err, err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Begin to run."""
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        process = subprocess.Popen(
            [*ROTA, "map", *words], cwd=self.path, env=self._env, text=True, start_new_session=True, **more
        )
        self._started.append(process)
        return process

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file, which need not be there yet."""
        try:
            return (self.path / name).read_text().splitlines()
        except FileNotFoundError:
            return []

    def close(self) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def until(true: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path)
    yield made
    made.close()
