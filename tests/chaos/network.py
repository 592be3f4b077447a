"""A network of one's own: every node in a network namespace, all of them on one bridge, each link able to fail either way.

It is made inside the namespaces of `isolation.py`, so nothing of it is left when the run is over, however that ends.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

SUBNET = "10.77.0"
_NAMES = Path("/run/netns")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class Network:
    """`host` is where the run itself is: it reaches every node, and nothing here cuts it off but a cut of the whole node."""

    host = f"{SUBNET}.1"

    def __init__(self) -> None:
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "hub", "type", "bridge")
        _run("ip", "address", "add", f"{self.host}/24", "dev", "hub")
        _run("ip", "link", "set", "hub", "up")
        self._addresses: dict[str, str] = {}

    def join(self, node: str) -> str:
        """Make a node; return its address."""
        address = f"{SUBNET}.{10 + len(self._addresses)}"
        _run("ip", "netns", "add", node)
        _run("ip", "link", "add", f"to-{node}", "type", "veth", "peer", "name", "eth0", "netns", node)
        _run("ip", "link", "set", f"to-{node}", "master", "hub", "up")
        for command in (
            ["address", "add", f"{address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["link", "set", "lo", "up"],
        ):
            _run("ip", "-n", node, *command)
        self._addresses[node] = address
        return address

    def inside(self, node: str) -> list[str]:
        """Return what stands before a command that is to run in a node."""
        return ["nsenter", f"--net={_NAMES / node}"]

    def cut(self, node: str, *, hears: bool = False, speaks: bool = False, other: str | None = None) -> None:
        """Drop, without a word, what a node would hear, or say, or both; with `other`, from and to that node alone."""
        self._rules("-I", node, hears, speaks, other)

    def mend(self, node: str, *, hears: bool = False, speaks: bool = False, other: str | None = None) -> None:
        """Undo a cut, which is named as it was made."""
        self._rules("-D", node, hears, speaks, other)

    def _rules(self, verb: str, node: str, hears: bool, speaks: bool, other: str | None) -> None:
        for chain, way, cut in (("INPUT", "-s", not hears), ("OUTPUT", "-d", not speaks)):
            if cut:
                whom = [] if other is None else [way, self._addresses[other]]
                _run(*self.inside(node), "iptables", "-w", verb, chain, "-i" if way == "-s" else "-o", "eth0", *whom,
                     "-j", "DROP")  # fmt: skip
