"""Where hooks may go: to public addresses, and to what was allowed besides.

Whoever submits a job chooses its hook, and the server sits where its owner does not: beside databases, other machines'
ports, a cloud's metadata. So a name is resolved once, its addresses are judged, and the call goes to the one that was: a
name that means something else a moment later changes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

ANY = "any"
LOOPBACK = ("127.0.0.0/8", "::1/128")
_NAT64 = ip_network("64:ff9b::/96")
Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]


class TargetRefused(Exception):
    """A hook may not go there. The text does not say what is there."""


async def resolve(host: str, port: int) -> list[str]:
    """Return a host's addresses, as the system knows them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Targets:
    """Judges where hooks go. `allowed` are networks (`10.0.0.0/8`), addresses and names of hosts; `any` is everything."""

    def __init__(self, allowed: Iterable[str] = (), *, resolve: Resolve = resolve) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._hosts: set[str] = set()
        self._resolve = resolve
        for text in allowed:
            try:
                self._networks.append(ip_network(text, strict=False))
            except ValueError:
                self._hosts.add(text.lower())

    async def choose(self, host: str, port: int) -> str:
        """Return the address to connect to for a host. Raises TargetRefused, OSError (the name is not known)."""
        free = ANY in self._hosts or host.lower().rstrip(".") in self._hosts
        for text in await self._resolve(host, port):
            address = ip_address(text.partition("%")[0])
            if free or self._allows(address):
                return text
        raise TargetRefused("hooks may not go to that address; the setting hook_targets allows private ones")

    def _allows(self, address: Address) -> bool:
        meant = _inside(address) or address
        return is_public(meant) or any(one in network for network in self._networks for one in (address, meant))


def is_public(address: Address) -> bool:
    """Say whether an address is one that anybody on the internet can reach."""
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inside(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one leads to, if it is of that kind."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
