"""`python -m bench.peers.produce MODULE prepare|submit|bulk|starts|load|hold|aborts COUNT`: act as a peer's client.

Prints what it took, in seconds, as JSON. A process of its own: what a peer imports, and what it does to the process, is nobody
else's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from types import ModuleType

from bench.peers.ticks import Holds, Ticks
from bench.peers.work import HOLDS, PAYLOAD, TICKS, stamped

PAUSE_S = 0.02  # between two jobs, so that the workers are idle
LOAD_S = 2.0
WAIT_S = 60.0


def main() -> None:
    """Do one thing, and print what it took."""
    module, what, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    peer = import_module(f"bench.peers.{module}")
    began = time.perf_counter()
    match what:
        case "prepare":
            getattr(peer, "prepare", lambda: None)()
        case "submit":
            peer.submit(count, lambda: PAYLOAD)
        case "bulk":
            peer.bulk(count)
        case "hold":
            peer.holding()
        case "starts":
            print(json.dumps(_starts(peer, count)))
            return
        case "load":
            print(json.dumps(_load(peer, count)))
            return
        case "aborts":
            print(json.dumps(_aborts(peer, count)))
            return
    print(time.perf_counter() - began)


def _starts(peer: ModuleType, count: int) -> list[float]:
    """Return the seconds from before each call of the client to the first line of its job, one at a time."""
    ticks = Ticks(os.environ[TICKS])
    seen = ticks.count()
    sent = 0

    def before() -> str:
        nonlocal sent
        ticks.wait(seen + sent, WAIT_S)
        time.sleep(PAUSE_S)
        sent += 1
        return stamped()

    peer.submit(count, before)
    ticks.wait(seen + count, WAIT_S)
    return _taken(ticks.read()[seen:])


def _load(peer: ModuleType, rate: int) -> list[float]:
    """Return the same while so many come each second, whether the ones before have started or not."""
    ticks = Ticks(os.environ[TICKS])
    seen = ticks.count()
    count = max(int(rate * LOAD_S), 20)
    due = time.perf_counter()

    def before() -> str:
        nonlocal due
        time.sleep(max(0.0, due - time.perf_counter()))
        due += 1 / rate
        return stamped()

    peer.submit(count, before)
    ticks.wait(seen + count, WAIT_S)
    return _taken(ticks.read()[seen:])


def _taken(read: list[tuple[int, int]]) -> list[float]:
    """Return how long each took to start. What bears no time is a job of before, that its peer has run again."""
    return [(started - at) / 1e9 for started, at in read if at]


def _aborts(peer: ModuleType, count: int) -> list[float]:
    """Return the seconds from the call that aborts a job to its end; where `abort` waits for a proof, to that."""
    holds = Holds(os.environ[HOLDS])
    taken = []
    for n in range(1, count + 1):
        job = peer.holding()
        process, _ = holds.begun(n, WAIT_S)
        time.sleep(PAUSE_S)
        began = time.time_ns()
        peer.abort(job)
        proven = time.time_ns() if getattr(peer, "PROVES", False) else 0
        taken.append((max(holds.ended(n, process, WAIT_S), proven) - began) / 1e9)
    return taken


if __name__ == "__main__":
    main()
