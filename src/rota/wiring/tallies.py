"""What the processes of one server have counted, in memory that they share: any of them answers `/metrics` for all.

Each has a place of its own, and writes there what it has counted every second; who takes the place of one that died goes on
from there. Who reads while another one writes reads again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from rota.http.metrics import Numbers

_PLACE = 64 << 10  # bytes
_HEAD = 8  # a length, a checksum
_TRIES = 3  # of reading what is being written


class Tallies(Struct, frozen=True):
    """The shared memory, by its descriptor: `count` places, of which `at` is this process's own."""

    fd: int
    count: int
    at: int

    @classmethod
    def make(cls, count: int) -> Tallies:
        """Make the memory."""
        return cls(os.memfd_create("rota-tallies"), count, 0)

    def write(self, numbers: Numbers) -> None:
        """Put what this process has counted into its place. Raises ValueError when there is no room for it."""
        body = msgspec.json.encode(numbers)
        if len(body) > _PLACE - _HEAD:
            raise ValueError(f"{len(body)} bytes of counts")
        head = len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big")
        os.pwrite(self.fd, head + body, self.at * _PLACE)

    def mine(self) -> Numbers | None:
        """Return what is in this process's place: what the one before it had counted."""
        return self._read(self.at)

    def share(self, numbers: Numbers) -> list[Numbers]:
        """Write what this process has counted, and return what the others have: what is shown is never less later."""
        self.write(numbers)
        return list(self.others())

    def others(self) -> Iterator[Numbers]:
        """Yield what the other processes have counted."""
        for at in range(self.count):
            if at != self.at and (numbers := self._read(at)) is not None:
                yield numbers

    def _read(self, at: int) -> Numbers | None:
        return next((numbers for _ in range(_TRIES) if (numbers := self._try(at)) is not None), None)

    def _try(self, at: int) -> Numbers | None:
        data = os.pread(self.fd, _PLACE, at * _PLACE)
        size, check = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:_HEAD], "big")
        body = data[_HEAD : _HEAD + size]
        if not body or len(body) != size or zlib.crc32(body) != check:
            return None
        return msgspec.json.decode(body, type=Numbers)
