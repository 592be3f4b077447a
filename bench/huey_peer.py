"""Huey on SQLite, as durable as it can be set: the peer that the design names for the embedded store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from huey import SqliteHuey

VERSION = version("huey")
_FILE = "ROTA_BENCH_HUEY"  # the consumer is a process of its own and finds the file by this variable
_ROOT = Path(__file__).parent.parent


def _noop(payload: str) -> float:  # noqa: ARG001  # as long as the payload of Rota's jobs
    return time.time()


def _open(file: str) -> SqliteHuey:
    return SqliteHuey(filename=file, journal_mode="wal", fsync=True)


huey = _open(os.environ.get(_FILE, ":memory:"))  # the consumer's
huey.task(name="noop")(_noop)


def drain(count: int) -> float:
    """Return jobs a second, from the first handler to the last; the results are read from Huey's own store."""
    with tempfile.TemporaryDirectory(prefix="rota-bench-", ignore_cleanup_errors=True) as folder:
        file = str(Path(folder) / "huey.db")
        producer = _open(file)
        noop = producer.task(name="noop")(_noop)
        for _ in range(count):
            noop("x" * 80)
        consumer = subprocess.Popen(
            [sys.executable, "-m", "huey.bin.huey_consumer", "bench.huey_peer.huey", "-w", "2", "-k", "process", "-q"],
            cwd=_ROOT,
            env={**os.environ, _FILE: file},
            stderr=subprocess.DEVNULL,
        )
        try:
            while producer.storage.result_store_size() < count:
                time.sleep(0.1)
        finally:
            consumer.send_signal(signal.SIGTERM)
            consumer.wait(30)
        times = sorted(producer.serializer.deserialize(value) for value in producer.storage.result_items().values())
        producer.storage.close()
    return count / float(times[-1] - times[0])
