"""A server as a child process: `rota serve` with the tour's handlers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import rota
from examples.processes import die_with_parent
from rota.client import ServerUnreachable
from rota.core.errors import RotaError
from rota.settings import Settings

_START_S = 60.0
_STOP_S = 30.0


class CannotStart(Exception):
    """The server does not start; the text says why and what to do."""


class Server:
    """Runs until it is asked to stop. What it prints once it is ready goes to `hear`, line by line, from another thread."""

    def __init__(self, settings: Settings, hear: Callable[[str], None]) -> None:
        self.settings = settings
        self.client = rota.Client(settings.server_url, tries=5)
        self._said: list[str] = []
        self._ready = False
        self._hear = hear
        command = [
            sys.executable, "-m", "rota", "serve", "--app", "examples.handlers:app", "--store", settings.store,
            "--host", settings.host, "--port", str(settings.port), "--workers", str(settings.workers),
        ]  # fmt: skip
        # A session of its own: Ctrl-C reaches the tour alone, which then asks the server to stop, once.
        self._process = subprocess.Popen(
            command,
            env={"ROTA_LOG_LEVEL": "warning", "ROTA_DRAIN": "2s", **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  # there are no threads yet
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def running(self) -> bool:
        """Say whether the process is there."""
        return self._process.poll() is None

    def wait_ready(self, stopping: threading.Event) -> None:
        """Wait until the server answers and its workers are there, or `stopping` is set. Raises CannotStart."""
        asking = rota.Client(self.settings.server_url, tries=1, timeout=2)
        deadline = time.monotonic() + _START_S
        while not stopping.wait(0.05):
            if not self.running:
                self._listener.join(2)
                said = "\n".join(self._said).removeprefix("Error: ")
                raise CannotStart(said or "the server ended at once and said nothing")
            if time.monotonic() > deadline:
                raise CannotStart(f"the server was not ready within {_START_S:.0f} s")
            with suppress(ServerUnreachable, RotaError):
                present = [worker for worker in asking.workers() if worker.state == "present" and worker.owned]
                if len(present) >= self.settings.workers:
                    break
        asking.close()
        self._ready = True

    def ask_to_stop(self) -> None:
        """Send SIGTERM; a second one ends what runs at once."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> int:
        """Wait for the end of the process; return its status."""
        try:
            status = self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._listener.join(2)
        self.client.close()
        return status

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if self._ready:
                self._hear(line.rstrip("\n"))
            else:
                self._said.append(line.rstrip("\n"))


def free_port(settings: Settings) -> int:
    """Return the port to listen on: the one that was set, or any for 0. Raises CannotStart when it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((settings.host, settings.port))
        except OSError as error:
            raise CannotStart(
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror}.\n"
                f"Stop what uses the port, or choose another one: ROTA_PORT={settings.port + 1} make run"
            ) from None
        port: int = attempt.getsockname()[1]
        return port
