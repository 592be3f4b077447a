"""Two workers that join while the second array runs, and leave before it is over: the array does not notice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from msgspec import Struct

import rota
from examples.plan import VISITORS
from examples.processes import die_with_parent
from rota.client import Job

_LOOK_S = 0.1
_LEAVE_AT = (0.35, 0.7)  # of the inputs
_STOP_S = 20.0


class Visited(Struct):
    """What became of the visitors: the exit status of each, in the order in which they came."""

    statuses: list[int] = []


def visit(client: rota.Client, url: str, arrays: tuple[Job, Job], visited: Visited, stopping: threading.Event) -> None:
    """Start a worker when the first array runs and another when the second does; stop each while the second runs."""
    present: list[subprocess.Popen[bytes]] = []
    try:
        for array in arrays:
            _until(client, array, 0.0, stopping)
            present.append(_worker(url, len(present) + 1))
        for share, process in zip(_LEAVE_AT, present, strict=True):
            _until(client, arrays[1], share, stopping)
            while not stopping.is_set() and not _is_there(client, len(visited.statuses) + 1):
                stopping.wait(_LOOK_S)
            process.send_signal(signal.SIGTERM)
            visited.statuses.append(process.wait(_STOP_S))
    finally:
        for process in present:
            process.kill()
            process.wait()


def _worker(url: str, number: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rota", "worker", "--server", url, "--queue", VISITORS, "--slots", "2"]
    return subprocess.Popen(
        [*command, "--name", f"visitor-{number}"],
        env={"ROTA_LOG_LEVEL": "warning", **os.environ},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # it does one system call
    )


def _is_there(client: rota.Client, number: int) -> bool:
    return any(worker.name == f"visitor-{number}" for worker in client.workers() if worker.state == "present")


def _until(client: rota.Client, job: Job, share: float, stopping: threading.Event) -> None:
    """Wait until an array runs and so much of it is over."""
    while not stopping.wait(_LOOK_S):
        found = client.get(job)
        if found.over or (found.state == "running" and found.array and found.array.done >= share * found.array.inputs):
            return
