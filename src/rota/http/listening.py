"""Sockets to listen on: loopback, and a Unix socket beside the store's file. Loads no web server."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from pathlib import Path

from rota.core.errors import Invalid

_LONGEST_SOCKET = 107  # bytes; the kernel's struct has no more room


def listen(host: str, port: int) -> socket.socket:
    """Bind a TCP socket. Raises Invalid unless only this machine can reach it."""
    if host == "localhost":
        host = "127.0.0.1"
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise Invalid(
            "host",
            f"{host} can be reached from other machines, and there are no tokens yet: use 127.0.0.1 and a tunnel",
        )
    listener = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def listen_at(path: Path) -> socket.socket:
    """Bind a Unix socket that only its owner may open; the store's lock says that a file there is a dead server's."""
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise Invalid("store", f"{path} is too long for a socket's name: keep the file at a shorter path")
    listener = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(listener.fileno(), 0o600)  # before the name exists: nobody else gets in between
        path.unlink(missing_ok=True)
        listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
