"""What is asked of the engine for an attempt's container. Pure, but for the time."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec

from rota.core.inputs import BadInput, text_of
from rota.core.jobs import Lease, Limits, RunOptions
from rota.core.times import SECOND, rfc3339
from rota.worker.orders import environment_of
from rota.worker.reaper import ATTEMPT, INDEX, JOB, WORKER


class BadContainer(Exception):
    """What the job asks for cannot be run; the text says why."""


def name_of(lease: Lease) -> str:
    """Return the name of an attempt's container: it says whose it is, and no two have the same."""
    name = f"rota-{lease.job}-{lease.attempt}"
    return name if lease.index is None else f"{name}-{lease.index}"


def labels_of(lease: Lease, worker: str) -> dict[str, str]:
    """Return the labels by which Rota finds the container again; `worker` is `reaper.whoami`."""
    labels = {JOB: lease.job, ATTEMPT: str(lease.attempt), WORKER: worker}
    return labels if lease.index is None else labels | {INDEX: str(lease.index)}


def config_of(lease: Lease, worker: str, *, init: bool) -> dict[str, Any]:
    """Return the body of "create a container". Raises BadContainer.

    `init`: a small program of the engine's is process 1. A program that is itself process 1 does not hear SIGTERM, unless
    it asks for it. Capabilities are the engine's usual ones: what images that begin as root need to become somebody else.
    """
    options = lease.options or RunOptions()
    config: dict[str, Any] = {
        "Image": lease.image,
        "Env": [f"{name}={value}" for name, value in _environment(lease).items()],
        "Labels": labels_of(lease, worker),
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {
            "NetworkMode": _network(options.network),
            "Init": init,
            "LogConfig": {"Type": "none"},  # what it writes comes to us, and nowhere else
            "SecurityOpt": ["no-new-privileges"],
            **_limits(options.limits),
        },
    }
    if arguments := _arguments(lease):
        config["Cmd"] = arguments
    return config


def _arguments(lease: Lease) -> list[str]:
    try:
        given = msgspec.json.decode(lease.args, type=list[msgspec.Raw])
        return [text_of(raw) for raw in (*given, *lease.inputs)]
    except (BadInput, msgspec.DecodeError) as wrong:
        raise BadContainer(f"an argument cannot be one: {wrong}") from None


def _environment(lease: Lease) -> dict[str, str]:
    ours = {"ROTA_JOB_ID": lease.job, "ROTA_ATTEMPT": str(lease.attempt), "ROTA_OWNER": lease.owner}
    if lease.index is not None:
        ours["ROTA_INDEX"] = str(lease.index)
    if lease.timeout_s is not None:
        ours["ROTA_DEADLINE"] = rfc3339(round((time.time() + lease.timeout_s) * SECOND))
    return environment_of(lease) | ours


def _network(name: str) -> str:
    if name == "host" or ":" in name:
        raise BadContainer(f"network {name!r} is not for jobs: name a network of the engine, like bridge, or none")
    return name


def _limits(limits: Limits) -> dict[str, Any]:
    host: dict[str, Any] = {}
    if limits.memory is not None:
        host |= {"Memory": limits.memory, "MemorySwap": limits.memory}  # the sum of both: no swap beside it
    if limits.cpus is not None:
        host["NanoCpus"] = round(limits.cpus * 1e9)
    if limits.processes is not None:
        host["PidsLimit"] = limits.processes
    ulimits = {"nofile": limits.files, "cpu": None if limits.cpu is None else max(1, math.ceil(limits.cpu))}
    if given := [{"Name": name, "Soft": most, "Hard": most} for name, most in ulimits.items() if most is not None]:
        host["Ulimits"] = given
    return host
