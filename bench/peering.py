"""Rota beside its peers, in turn, so that each ratio compares what ran side by side.

The drain rate runs from the first handler's line to the last's, and a start ends with it: handlers write the time into a
file, Rota's too. A broker is new for every peer and every repetition; peers on Redis's protocol have a Valkey without
persistence.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.valkey import Valkey

from bench import cluster
from bench.figures import Row, percentile
from bench.peers import environments, ticks
from bench.peers.table import OURS, PEERS, Peer
from bench.peers.work import BROKER, TICKS
from bench.scale import Scale

_ROOT = Path(__file__).parent.parent
_PORT = "ROTA_BENCH_PORT"
_STOP_S = 20.0
_SINGLES = 2_000
_STARTS = 200
_UNITS = {
    "submit one by one": "/s",
    "submit in bulk": "/s",
    "drain": "/s",
    "idle start p50": "ms",
    "idle start p99": "ms",
}

Produce = Callable[[str, int], str]


def rows(scale: Scale) -> Iterator[Row]:
    """Submit one by one and in bulk, drain a backlog, and start on idle workers: Rota and each peer."""
    everybody = [peer for peer in (*OURS.values(), *PEERS.values()) if cluster.found() or peer.broker != "postgres"]
    for peer in everybody:
        environments.python(peer)
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in scale.repetitions():
        for peer in everybody:
            for what, value in _measure(peer, scale):
                taken.setdefault((what, peer.name), []).append(value)
    for what, unit in _UNITS.items():
        for peer in everybody:
            if values := taken.get((what, peer.name)):
                yield Row(f"{what}: {peer.name}", values, unit)
        for ours in OURS.values():
            for peer in PEERS.values():
                mine, others = taken.get((what, ours.name)), taken.get((what, peer.name))
                if mine and others:
                    ratios = [a / b for a, b in zip(mine, others, strict=True)]
                    yield Row(f"{what}: {ours.name} over {peer.name}", ratios, "times", _required(what, ours, peer))


def about() -> list[str]:
    """Return a line about each peer: versions, settings, what it keeps."""
    return [f"{peer.name} ({', '.join(peer.requires)}): {peer.settings}; {peer.keeps}" for peer in PEERS.values()]


def _required(what: str, ours: Peer, peer: Peer) -> str:
    if what == "drain" and (ours, peer) == (OURS["postgres"], PEERS["pgqueuer"]):
        return "≥ 1.2 (design)"
    return ""


def _measure(peer: Peer, scale: Scale) -> Iterator[tuple[str, float]]:
    count, singles, starts = scale.jobs(peer.backlog), scale.jobs(_SINGLES), scale.jobs(_STARTS)
    with _scene(peer) as produce:
        produce("prepare", 0)
        produce("submit", singles)  # warm-up
        yield "submit one by one", singles / float(produce("submit", singles))
        took = float(produce("bulk" if peer.bulk else "submit", count))
        if peer.bulk:
            yield "submit in bulk", count / took
        with _running(peer, peer.workers):
            ticks.wait(2 * singles + count, 60)
            times = sorted(ticks.read())
            yield "drain", (len(times) - 1) / ((times[-1] - times[0]) / 1e9)
            produce("starts", 20)  # warm-up
            taken = json.loads(produce("starts", starts))
            yield "idle start p50", 1000 * percentile(taken, 50)
            yield "idle start p99", 1000 * percentile(taken, 99)


@contextmanager
def _scene(peer: Peer) -> Iterator[Produce]:
    """Start a new broker, and a server where there is one; point the environment at them and at a new file of times.

    Yields the peer's client.
    """
    with (
        tempfile.TemporaryDirectory(prefix="rota-bench-", ignore_cleanup_errors=True) as folder,
        _broker(peer, Path(folder)) as url,
    ):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        before = dict(os.environ)
        os.environ |= {BROKER: url, TICKS: str(Path(folder) / "ticks"), "PYTHONWARNINGS": "ignore"}
        os.environ |= {"ROTA_SERVER": f"http://127.0.0.1:{port}", _PORT: port}

        def produce(what: str, count: int) -> str:
            command = [environments.python(peer), "-m", "bench.peers.produce", peer.module, what, str(count)]
            return subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout

        try:
            with _running(peer, [peer.server] if peer.server else []):
                if peer.server:
                    _wait_ready(f"http://127.0.0.1:{port}/readyz")
                yield produce
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextmanager
def _broker(peer: Peer, folder: Path) -> Iterator[str]:
    match peer.broker:
        case "valkey":
            valkey = Valkey(folder)
            try:
                yield valkey.url
            finally:
                valkey.kill()
        case "postgres":
            with cluster.new_database() as database:
                yield database.url
        case "sqlite":
            yield f"sqlite:///{folder}/bench.db"


@contextmanager
def _running(peer: Peer, commands: Sequence[str]) -> Iterator[None]:
    """Run commands until the block is left; what they leave behind is ended too."""
    values = {"{python}": environments.python(peer), "{broker}": os.environ[BROKER], "{port}": os.environ[_PORT]}
    processes = [
        subprocess.Popen(
            [values.get(word, word) for word in command.split()],
            cwd=_ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for command in commands
    ]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
            with suppress(ProcessLookupError):  # what it left behind: each leads a process group of its own
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # ours
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
