"""Containers that nobody minds any more, and their ends: plain calls to a container engine's socket.

Standard library only and no event loop: the keeper uses it when its worker has died or stands still, and a worker when it
starts. What runs containers is `rota.worker.images`.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

JOB, ATTEMPT, INDEX, WORKER = "rota.job", "rota.attempt", "rota.index", "rota.worker"  # labels

_CALL_S = 20.0
_LATE_S = 1.0  # a container that was being created when its worker died is there after this
_GONE = 404


def call(engine: str, method: str, path: str, timeout_s: float = _CALL_S) -> tuple[int, bytes]:
    """Make one call to the engine whose socket is the file `engine`; return status and body. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(engine)
        connection.sendall(f"{method} {path} HTTP/1.0\r\nHost: engine\r\n\r\n".encode())
        answer = bytearray()
        while piece := connection.recv(1 << 16):
            answer += piece
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise OSError(f"what answers at {engine} does not speak HTTP")
    return int(words[1]), body


def remove(engine: str, container: str) -> int:
    """End a container, whatever it does, and remove it; return the status of the answer (404: there was none)."""
    return call(engine, "DELETE", f"/containers/{quote(container)}?force=true&v=true")[0]


def remove_all(containers: Iterable[tuple[str, str]]) -> None:
    """Remove containers, given as (engine, name); those that are not there yet are looked for once more."""
    late = []
    for engine, name in containers:
        with suppress(OSError):
            if remove(engine, name) == _GONE:
                late.append((engine, name))
    if late:
        time.sleep(_LATE_S)
        for engine, name in late:
            with suppress(OSError):
                remove(engine, name)


def sweep(engine: str) -> list[str]:
    """Remove the containers of workers of this machine that have died; return their names. Raises OSError."""
    filters = quote(json.dumps({"label": [WORKER]}))
    status, body = call(engine, "GET", f"/containers/json?all=true&filters={filters}")
    if status != 200:
        raise OSError(f"the engine answers {status}: {body[:200].decode('utf-8', 'replace')}")
    found: list[dict[str, Any]] = json.loads(body)
    swept = []
    for container in found:
        if is_dead(container.get("Labels", {}).get(WORKER, "")):
            with suppress(OSError):
                remove(engine, container["Id"])
                swept.append(container["Names"][0].lstrip("/") if container.get("Names") else container["Id"])
    return swept


def whoami() -> str:
    """Return what names this process for ever: host, boot, space of process ids, process id, time of its start."""
    return "/".join((*_where(), str(os.getpid()), _started(os.getpid()) or ""))


def is_dead(who: str) -> bool:
    """Say whether the process that `whoami` named so is certainly gone. Of one elsewhere nobody here knows."""
    parts = who.split("/")
    host, boot, space = _where()
    if len(parts) != 5 or parts[0] != host:
        return False
    if parts[1] != boot:
        return True
    return parts[2] == space and parts[3].isdecimal() and _started(int(parts[3])) != parts[4]


def _where() -> tuple[str, str, str]:
    with open("/proc/sys/kernel/random/boot_id") as boot:
        return socket.gethostname(), boot.read().strip(), os.readlink("/proc/self/ns/pid")


def _started(pid: int) -> str | None:
    """Return when a process that is alive was started, in ticks since the boot."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()
