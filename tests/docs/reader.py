"""A reader who does what a document says: a folder, a shell that stays open, a server that goes on in the background."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from rota.client import Client, ServerUnreachable
from rota.core.errors import RotaError
from tests.docs.blocks import Block, Command, matches

_PATIENCE_S = 60.0
_WRITTEN = "127.0.0.1:8000"  # what documents say; here it is a free port
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Wrong(Exception):
    """A document says what does not hold."""


class Reader:
    """Follows the blocks of one document in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
        self._environment = environment | {
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
            "ROTA_PORT": self._address.partition(":")[2],
            "ROTA_LOG_LEVEL": "warning",
            "ROTA_WORKERS": "1",  # unless a document says how many: each takes a second of a core to start
            "COLUMNS": "120",
            "PYTHONDONTWRITEBYTECODE": "1",  # a handler's file that is written twice within a second is read twice
        }
        self._servers: list[subprocess.Popen[bytes]] = []
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()
        for server in self._servers:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def follow(self, block: Block) -> None:
        """Do what a block's mark says. Raises Wrong."""
        match block.mark:
            case "file":
                (self.folder / block.detail).write_text(block.text)
            case "serve":
                self._serve(block.commands[0])
            case "run":
                self._run(block)

    def _run(self, block: Block) -> None:
        *first, last = block.commands
        last_status = int(block.detail.removeprefix("exits ")) if block.detail else 0
        for command, status in [*[(one, 0) for one in first], (last, last_status)]:
            ended, printed = self._type(self._here(command.text))
            text = "\n".join(printed)
            if ended != status:
                raise Wrong(f"`{command.text}` ended with {ended}, not {status}:\n{text}")
            if not matches(command.prints, printed):
                shown = "\n".join(command.prints)
                raise Wrong(f"`{command.text}` is said to print\n{shown}\nand printed\n{text}")

    def _type(self, command: str) -> tuple[int, list[str]]:
        """Type a command into the shell; return its status and the lines that it printed."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        mark = f"--{time.monotonic_ns()}--"
        self._shell.stdin.write(f"{{ {command}\n}} </dev/null; echo {mark}$?{mark}\n".encode())
        self._shell.stdin.flush()
        deadline = time.monotonic() + _PATIENCE_S
        output = b""
        while (end := re.search(rf"{mark}(\d+){mark}\n".encode(), output)) is None:
            ready, _, _ = select.select([self._shell.stdout], [], [], max(deadline - time.monotonic(), 0))
            piece = os.read(self._shell.stdout.fileno(), 65536) if ready else b""
            if not piece:
                raise Wrong(f"`{command}` did not end; it printed\n{output.decode(errors='replace')}")
            output += piece
        text = _ANSI.sub("", output[: end.start()].decode(errors="replace")).replace(self._address, _WRITTEN)
        return int(end[1]), [line.rstrip() for line in text.splitlines()]

    def _serve(self, command: Command) -> None:
        server = subprocess.Popen(
            ["bash", "-c", "exec " + self._here(command.text)],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
        )
        self._servers.append(server)
        deadline = time.monotonic() + _PATIENCE_S
        # One that asks for tokens is asked over the socket beside its store.
        places = (f"http://{self._address}", f"unix:{self.folder / 'rota.db.sock'}")
        while True:
            if server.poll() is not None or time.monotonic() > deadline:
                raise Wrong(f"`{command.text}` does not start")
            for place in places:
                with suppress(ServerUnreachable, RotaError), Client(place, tries=1, timeout=2) as client:
                    if any(worker.state == "present" for worker in client.workers()):
                        return
            time.sleep(0.02)  # between two looks at a server that is starting

    def _here(self, text: str) -> str:
        return text.replace(_WRITTEN, self._address)
