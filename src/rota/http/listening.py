"""Sockets to listen on: an address, and a Unix socket beside the store's file. Loads no web server."""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from rota.core.errors import Invalid

_LONGEST_SOCKET = 107  # bytes; the kernel's struct has no more room


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach this address. Raises Invalid for what is no address."""
    return _address(host).is_loopback


def listen(host: str, port: int, *, public: bool = False) -> socket.socket:
    """Bind a TCP socket. Raises Invalid unless only this machine can reach it, or it is meant to be `public`."""
    address = _address(host)
    if not address.is_loopback and not public:
        raise Invalid("host", f"{host} can be reached from other machines, and no token is asked for")
    listener = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def url_of(host: str, port: int, *, tls: bool) -> str:
    """Return the URL of what listens at an address."""
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def _address(host: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise Invalid("host", f"{host!r} is no address to listen on, like 127.0.0.1, 0.0.0.0 or ::") from None


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
