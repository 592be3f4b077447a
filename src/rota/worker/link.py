"""The supervisor's end of the keeper: starting it, telling it what to do, hearing what it did."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

_SECRETS = ("ROTA_STORE",)
_SECRET_PARTS = ("TOKEN", "SECRET", "PASSWORD", "KEY")


class KeeperLink:
    """One life of the keeper. `manner` says how jobs run. `heard` gets each answer, `lost` is called once when it has died.

    `first` are orders that it finds when it starts: it carries them out even if this process is gone by then.
    """

    def __init__(
        self,
        folder: str,
        manner: Mapping[str, Any],
        keep_fds: Sequence[int],
        heard: Callable[[dict[str, Any]], None],
        lost: Callable[[], None],
        *,
        first: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard = heard
        self._lost = lost
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            for order in first:
                self.send(**order)
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [
                    *(sys.executable, "-P", "-m", "rota.worker.keeper"),
                    *(str(theirs.fileno()), folder, json.dumps(manner), *map(str, keep_fds)),
                ],
                pass_fds=(theirs.fileno(), *keep_fds),
                stdin=subprocess.DEVNULL,
                stdout=2,  # what an import prints is no result of ours
                env=clean_environment(os.environ),
            )
        self.pid = self._process.pid
        self._loop.add_reader(self._control, self._read)

    def send(self, do: str, fds: Sequence[int] = (), **fields: Any) -> None:
        """Give an order. The descriptors are duplicated where they cannot be sent at once: close them when you like."""
        message = json.dumps({"do": do, **fields}).encode()
        if not self._waiting and self._sent(message, fds):
            return
        self._waiting.append((message, [os.dup(fd) for fd in fds]))
        self._loop.add_writer(self._control, self._write)

    def close(self) -> None:
        """Hang up: the keeper ends everything below it, and itself."""
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control)
            self._loop.remove_writer(self._control)
            self._control.close()
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()

    def kill(self) -> None:
        """Kill the keeper; the kernel kills its children with it."""
        self._process.kill()

    def ended(self) -> bool:
        """Reap the keeper if it has ended, and say whether it has."""
        return self._process.poll() is not None

    def wait(self) -> None:
        """Wait until the keeper has ended; blocks."""
        self._process.wait()

    def _sent(self, message: bytes, fds: Sequence[int]) -> bool:
        try:
            socket.send_fds(self._control, [message], list(fds))
        except BlockingIOError:
            return False
        except OSError:  # it has died: the reader notices
            pass
        return True

    def _write(self) -> None:
        while self._waiting and self._sent(*self._waiting[0]):
            _, fds = self._waiting.popleft()
            for fd in fds:
                os.close(fd)
        if not self._waiting:
            self._loop.remove_writer(self._control)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while True:
                try:
                    message = self._control.recv(1 << 20)
                except ConnectionError:
                    message = b""
                if not message:
                    self.close()
                    self._lost()
                    return
                self._heard(json.loads(message))
                if self._control.fileno() < 0:
                    return


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without Rota's own secrets: no handler needs them."""
    return {name: value for name, value in environment.items() if not _is_secret(name)}


def _is_secret(name: str) -> bool:
    return name in _SECRETS or (name.startswith("ROTA_") and any(part in name for part in _SECRET_PARTS))
