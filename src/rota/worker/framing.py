"""Frames on a stream socket (four bytes of length, little end first, then the body), and datagrams with descriptors.

Standard library only.
"""

from __future__ import annotations

import array
import socket
import struct

_HEADER = struct.Struct("<I")
LIMIT = 16 << 20  # bytes; data, arguments and results have limits of their own, far below


class BrokenFrame(Exception):
    """What came is no frame: the other end was overwritten by something that is not ours."""


def frame(body: bytes) -> bytes:
    """Return `body` as it goes over the socket."""
    return _HEADER.pack(len(body)) + body


class Splitter:
    """Cuts a stream of bytes into the bodies of its frames."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and return the bodies that are whole now. Raises BrokenFrame."""
        if self._rest:
            data = self._rest + data
        bodies = []
        at, size = 0, len(data)
        while size - at >= 4:
            (length,) = _HEADER.unpack_from(data, at)
            if length > LIMIT:
                raise BrokenFrame(f"a frame of {length} bytes")
            if size - at - 4 < length:
                break
            at += 4 + length
            bodies.append(data[at - length : at])
        self._rest = data[at:]
        return bodies


def receive_with_fds(source: socket.socket, flags: int = 0) -> tuple[bytes, list[int]]:
    """Receive a datagram and the descriptors that came along, closed on exec (`socket.recv_fds` forgets its flags).

    An empty datagram says that the other end is gone.
    """
    fds = array.array("i")
    space = socket.CMSG_SPACE(8 * fds.itemsize)
    try:
        message, ancillary, _, _ = source.recvmsg(1 << 18, space, flags | socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return b"", []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return message, list(fds)
