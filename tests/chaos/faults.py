"""What goes wrong: each fault strikes, holds for a while, and is mended. A seed decides which, when, and for how long."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from tests.chaos.cluster import Cluster, Node, Server, tree_of

Mend = Callable[[], None]


@dataclass(frozen=True)
class Fault:
    """`target` is a node; `more` says which of several ways. It begins `after_s` the one before it was mended."""

    kind: str
    target: str
    after_s: float
    hold_s: float
    more: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.target}" + (f" ({self.more})" if self.more else "")


def plan(rng: random.Random, seconds: float, kinds: Sequence[str], lease_s: float) -> list[Fault]:
    """Draw faults enough for so many seconds; each kind comes about as often as every other."""
    faults: list[Fault] = []
    at = 0.0
    bag: list[str] = []
    while at < seconds:
        if not bag:
            bag = list(kinds)
            rng.shuffle(bag)
        kind = bag.pop()
        targets, hold, ways = _DRAWN[kind]
        fault = Fault(
            kind,
            rng.choice(targets),
            after_s=round(rng.uniform(0.5, 3.0), 2),
            hold_s=round(rng.uniform(*hold) * lease_s, 2),
            more=rng.choice(ways) if ways else "",
        )
        faults.append(fault)
        at += fault.after_s + fault.hold_s
    return faults


def strike(cluster: Cluster, fault: Fault) -> Mend:
    """Make it happen; return what mends it."""
    return _STRIKES[fault.kind](cluster, fault)


# -- processes


def _killed(cluster: Cluster, fault: Fault) -> Mend:
    """kill -9 of a server, or of a worker: of the process that people see."""
    node = cluster.nodes[fault.target]
    node.kill()
    return _start_again(node)


def _part_killed(cluster: Cluster, fault: Fault) -> Mend:
    """kill -9 of one of the processes that a worker consists of, whichever it is."""
    node = cluster.nodes[fault.target]
    parts = sorted(tree_of(node.process.pid), key=lambda process: process.pid)
    with suppress(psutil.NoSuchProcess, IndexError):
        parts[int(fault.more) % len(parts)].kill()

    def mend() -> None:
        if node.process.poll() is not None:
            node.start()

    return mend


def _restarted(cluster: Cluster, fault: Fault) -> Mend:
    """SIGTERM, and a fresh start."""
    node = cluster.nodes[fault.target]
    node.stop()
    return _start_again(node)


def _start_again(node: Node) -> Mend:
    def mend() -> None:
        node.start()
        if isinstance(node, Server):
            node.await_ready()

    return mend


def _frozen(cluster: Cluster, fault: Fault) -> Mend:
    """SIGSTOP, past the lease: of the process alone, or of all that it has started."""
    node = cluster.nodes[fault.target]
    stopped = tree_of(node.process.pid) if fault.more == "with all it runs" else [psutil.Process(node.process.pid)]
    return _stop_all(stopped)


def _stop_all(processes: list[psutil.Process]) -> Mend:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGSTOP)

    def mend() -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    return mend


# -- the network


def _cut(cluster: Cluster, fault: Fault) -> Mend:
    """Packets vanish: both ways, or one; from and to everybody, or one other node."""
    node, _, other = fault.target.partition(" and ")
    hears, speaks = fault.more == "it is mute", fault.more == "it is deaf"
    cut = {"hears": hears, "speaks": speaks, "other": other or None}
    cluster.network.cut(node, **cut)  # type: ignore[arg-type]
    return lambda: cluster.network.mend(node, **cut)  # type: ignore[arg-type]


# -- clocks


def _clock_set(cluster: Cluster, fault: Fault) -> Mend:
    """The wall clock of a server or a worker jumps by hours, while it runs; it stays so."""
    cluster.nodes[fault.target].clock.set(float(fault.more) * 3600)
    return lambda: None


# -- PostgreSQL


def _database_stopped(cluster: Cluster, fault: Fault) -> Mend:
    cluster.database.stop(fault.more)
    return cluster.database.bring_up


def _database_killed(cluster: Cluster, fault: Fault) -> Mend:
    cluster.database.kill()
    return cluster.database.bring_up


def _backend_killed(cluster: Cluster, fault: Fault) -> Mend:
    """kill -9 of one of its processes: PostgreSQL ends all connections and recovers."""
    processes = sorted(cluster.database.processes(), key=lambda process: process.pid)[1:]
    if processes:
        with suppress(psutil.NoSuchProcess):
            processes[int(fault.more) % len(processes)].kill()
    return cluster.database.bring_up


def _database_frozen(cluster: Cluster, fault: Fault) -> Mend:
    return _stop_all(cluster.database.processes())


def _disk_full(cluster: Cluster, fault: Fault) -> Mend:
    """No byte is left, of the disk of the data or of that of the log; PostgreSQL may end itself on that."""
    ballast = cluster.database.fill(fault.more)

    def mend() -> None:
        ballast.unlink()
        cluster.database.bring_up()

    return mend


# -- on purpose


def _rolling(cluster: Cluster, fault: Fault) -> Mend:
    """Each server in turn is stopped, and started again when it has ended."""
    for server in cluster.servers:
        server.stop()
        server.start()
        server.await_ready()
        time.sleep(0.5)
    return lambda: None


_SERVERS = ["server-1", "server-2", "server-3"]
_WORKERS = ["worker-1", "worker-2", "worker-3", "worker-4"]
_PAIRS = [f"{w} and {s}" for w in _WORKERS for s in _SERVERS] + [f"{s} and postgres" for s in _SERVERS * 4]
_WAYS = ["both ways", "it is mute", "it is deaf"]
_NUMBERS = [str(n) for n in range(12)]
# Of each kind: whom it may strike, for how many leases, in which ways.
_DRAWN: dict[str, tuple[list[str], tuple[float, float], list[str]]] = {
    "server killed": (_SERVERS, (0.1, 1.5), []),
    "worker killed": (_WORKERS, (0.1, 1.5), []),
    "part of a worker killed": (_WORKERS, (0.1, 0.3), _NUMBERS),
    "worker restarted": (_WORKERS, (0.05, 0.2), []),
    "server frozen": (_SERVERS, (0.3, 2.0), ["alone"]),
    "worker frozen": (_WORKERS, (1.1, 1.6), ["alone", "with all it runs"]),
    "cut": ([*_SERVERS, *_WORKERS, "postgres"], (0.2, 2.0), _WAYS),
    "cut between": (_PAIRS, (0.2, 2.0), _WAYS),
    "clock set": ([*_SERVERS, *_WORKERS], (0.0, 0.2), ["-30", "-2", "0", "3", "50"]),
    "postgres stopped": (["postgres"], (0.05, 1.0), ["fast", "immediate"]),
    "postgres killed": (["postgres"], (0.05, 1.0), []),
    "process of postgres killed": (["postgres"], (0.0, 0.1), _NUMBERS),
    "postgres frozen": (["postgres"], (0.1, 3.0), []),
    "disk full": (["postgres"], (0.2, 1.0), ["data", "wal"]),
    "rolling restart": (["all servers"], (0.1, 0.2), []),
}
_STRIKES: dict[str, Callable[[Cluster, Fault], Mend]] = {
    "server killed": _killed,
    "worker killed": _killed,
    "part of a worker killed": _part_killed,
    "worker restarted": _restarted,
    "server frozen": _frozen,
    "worker frozen": _frozen,
    "cut": _cut,
    "cut between": _cut,
    "clock set": _clock_set,
    "postgres stopped": _database_stopped,
    "postgres killed": _database_killed,
    "process of postgres killed": _backend_killed,
    "postgres frozen": _database_frozen,
    "disk full": _disk_full,
    "rolling restart": _rolling,
}
KINDS = list(_STRIKES)
