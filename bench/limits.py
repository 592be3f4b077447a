"""What the disk, the kernel and the databases can do at all: other rows say how much of it they reach.

*The same SQL* is what Rota's own service asked of a store, word for word, replayed on a copy of that store from one loop
that does nothing else: for SQLite the statements with their values, for PostgreSQL the bytes on its connections.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from bench import cluster, replaying
from bench.figures import Row
from bench.scale import Scale

FSYNC = "limit: writes of 4 KiB, each with fsync"
PIPE = "limit: round trips of 100 bytes to another process"
SPAWN = "limit: posix_spawn of sh -c :, two threads"
SQLITE_SUBMIT = "limit: SQLite, the same SQL, submit 1,000 at once"
SQLITE_CYCLE = "limit: SQLite, the same SQL, claim and settle 250"
POSTGRES_SUBMIT = "limit: PostgreSQL, the same SQL, submit 1,000 at once"
POSTGRES_CYCLE = "limit: PostgreSQL, the same SQL, claim and settle 250"
START = "limit: two fsyncs, four messages over TCP"

_FSYNCS = 5_000
_TRIPS = 50_000
_SPAWNS = 2_000
_JOBS = 20_000
_ECHO = """
import socket, sys
line = socket.socket(fileno=int(sys.argv[1]))
while data := line.recv(4096):
    line.sendall(data)
"""


def rows(scale: Scale) -> Iterator[Row]:
    """Measure all limits."""
    fsyncs = [_fsyncs(scale.jobs(_FSYNCS)) for _ in scale.repetitions()]
    yield Row(FSYNC, fsyncs, "/s")
    yield Row(PIPE, [_trips(socket.socketpair(), scale.jobs(_TRIPS)) for _ in scale.repetitions()], "/s")
    yield Row(SPAWN, [_spawns(scale.jobs(_SPAWNS)) for _ in scale.repetitions()], "/s")
    tcp = [_trips(_tcp(), scale.jobs(_TRIPS)) for _ in scale.repetitions()]
    yield Row(START, [1000 * (2 / disk + 2 / line) for disk, line in zip(fsyncs, tcp, strict=True)], "ms")
    jobs = scale.jobs(_JOBS)
    yield from _replayed(scale, lambda: asyncio.run(replaying.sqlite(jobs)), SQLITE_SUBMIT, SQLITE_CYCLE)
    if cluster.found():
        yield from _replayed(scale, lambda: asyncio.run(replaying.postgres(jobs)), POSTGRES_SUBMIT, POSTGRES_CYCLE)


def _replayed(scale: Scale, run: Callable[[], tuple[float, float]], submit: str, cycle: str) -> Iterator[Row]:
    taken = [run() for _ in scale.repetitions()]
    yield Row(submit, [one for one, _ in taken], "/s")
    yield Row(cycle, [other for _, other in taken], "/s")


def _fsyncs(count: int) -> float:
    """Write to the disk that the stores are on, which is that of temporary files. Return how many a second, by the median."""
    taken = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return 1 / statistics.median(taken)


def _tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for each in (ours, theirs):
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def _trips(pair: tuple[socket.socket, socket.socket], count: int) -> float:
    """Return how many messages a second a process sends back that is sent one after the other."""
    ours, theirs = pair
    with closing(ours):
        with theirs:
            echo = subprocess.Popen([sys.executable, "-c", _ECHO, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        try:
            _echo(ours, 100)  # warm-up: it has to start
            began = time.perf_counter()
            _echo(ours, count)
            return count / (time.perf_counter() - began)
        finally:
            echo.kill()
            echo.wait()


def _echo(line: socket.socket, count: int) -> None:
    message = b"x" * 100
    for _ in range(count):
        line.sendall(message)
        left = len(message)
        while left:
            left -= len(line.recv(4096))


def _spawns(count: int) -> float:
    """Start so many shells that do nothing, two at a time."""

    def run() -> None:
        for _ in range(count // 2):
            os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", ":"], os.environ), 0)

    threads = [threading.Thread(target=run) for _ in range(2)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count // 2 * 2 / (time.perf_counter() - began)
