"""`python -m bench.peers.produce MODULE prepare|submit|bulk|starts COUNT`: act as a peer's client, and print what it took.

A process of its own: what a peer imports, and what it does to the process, is nobody else's.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from types import ModuleType

from bench.peers import ticks

_PAUSE_S = 0.02  # between two jobs, so that the workers are idle
_WAIT_S = 60.0


def main() -> None:
    """Print seconds as JSON: one number, or those of each start."""
    module, what, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    peer = import_module(f"bench.peers.{module}")
    began = time.perf_counter()
    match what:
        case "prepare":
            getattr(peer, "prepare", lambda: None)()
        case "submit":
            peer.submit(count, lambda: None)
        case "bulk":
            peer.bulk(count)
        case "starts":
            print(json.dumps(_starts(peer, count)))
            return
    print(time.perf_counter() - began)


def _starts(peer: ModuleType, count: int) -> list[float]:
    """Return the seconds from before each call of the client to the first line of its job."""
    sent: list[int] = []
    seen = len(ticks.read())

    def before() -> None:
        ticks.wait(seen + len(sent), _WAIT_S)
        time.sleep(_PAUSE_S)
        sent.append(time.time_ns())

    peer.submit(count, before)
    ticks.wait(seen + count, _WAIT_S)
    return [(started - at) / 1e9 for at, started in zip(sent, ticks.read()[seen:], strict=True)]


if __name__ == "__main__":
    main()
