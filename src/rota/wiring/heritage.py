"""What a server process has from the parent that starts it, one of several: `rota serve --processes`.

Four descriptors: the socket at the server's address, which all processes share; the Unix socket of its own, where workers
of the parent find it; memory for what they count; and the *line*, on which the parent tells it the secrets of its
environment (no other process can read them there), and it tells the parent once that it listens. When the line ends the
parent is gone, and so is it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from rota.http.metrics import Metrics
from rota.wiring.tallies import Tallies

_LONGEST = 1 << 20  # bytes of secrets
_LISTENS = b"\n"
_TELL_S = 1.0


class Heritage(Struct, frozen=True):
    """The sockets of a server process, the line to its parent, and what it shares with its siblings."""

    listener: socket.socket
    beside: socket.socket
    line: socket.socket
    tallies: Tallies

    @property
    def fds(self) -> tuple[int, ...]:
        """Return what a process that is started has to inherit."""
        return self.listener.fileno(), self.beside.fileno(), self.line.fileno(), self.tallies.fd

    def words(self) -> list[str]:
        """Return what the command of a process says of them."""
        return ["--heritage", ",".join(map(str, (*self.fds, self.tallies.count, self.tallies.at)))]

    @classmethod
    def take(cls, text: str) -> Heritage:
        """Take over what a command says, and put the parent's secrets into the environment. Raises EOFError."""
        listener, beside, line, fd, count, at = map(int, text.split(","))
        sockets = (socket.socket(fileno=listener), socket.socket(fileno=beside), socket.socket(fileno=line))
        heritage = cls(*sockets, Tallies(fd, count, at))
        os.environ.update(_read(heritage.line))
        for each in (heritage.listener, heritage.beside, heritage.line):
            each.setblocking(False)
        return heritage

    def watch(self) -> None:
        """End this process when its parent is gone: another one may listen at the same address soon."""
        asyncio.get_running_loop().add_reader(self.line, os._exit, 1)

    async def tell(self, metrics: Metrics) -> None:
        """Share what is counted, every second, from where the process before this one came to."""
        if (before := self.tallies.mine()) is not None:
            metrics.count(before)
        while True:
            self.tallies.write(metrics.tally())
            await asyncio.sleep(_TELL_S)

    def say_listening(self) -> None:
        """Tell the parent that whoever connects is answered."""
        self.line.send(_LISTENS)


def send_secrets(line: socket.socket, secrets: Mapping[str, str]) -> None:
    """Tell a process that was just started. Raises OSError when it has ended."""
    message = msgspec.json.encode(secrets)
    line.sendall(len(message).to_bytes(4, "big") + message)


def _read(line: socket.socket) -> dict[str, str]:
    length = int.from_bytes(_exactly(line, 4), "big")
    return msgspec.json.decode(_exactly(line, min(length, _LONGEST)), type=dict[str, str])


def _exactly(line: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = line.recv(size - len(data))
        if not piece:
            raise EOFError("the parent has gone")
        data += piece
    return data
