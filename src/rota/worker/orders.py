"""From a lease to what its child is told."""

from __future__ import annotations

from rota.core import inputs
from rota.core.jobs import Lease
from rota.worker.confine import ulimits
from rota.worker.frames import RunScript, Start
from rota.worker.handle import Bounds


def order_of(number: int, lease: Lease, slot: int) -> Start | RunScript:
    """Return the frame that starts an attempt, or one input of it; `slot` is what a command's `{%}` stands for.

    Raises inputs.BadInput.
    """
    item = bytes(lease.inputs[0]) if lease.index is not None else None
    if lease.kind == "handler":
        return Start(
            number,
            lease.job,
            lease.attempt,
            lease.handler or "",
            bytes(lease.data),
            bytes(lease.args),
            lease.owner,
            lease.timeout_s,
            lease.index,
            item,
            lease.traceparent,
            None if lease.checkpoint is None else bytes(lease.checkpoint.value),
        )
    text = lease.script or ""
    stdin = argument = None
    if item is not None:
        argument = inputs.text_of(item)
        if lease.kind == "command":
            text = inputs.render(text, argument, number=(lease.index or 0) + 1, slot=slot)
            argument = None
        else:
            stdin = argument + "\n"
    elif lease.kind == "script" and (data := bytes(lease.data)) != b"null":
        stdin = data.decode()
    limits = lease.limits
    return RunScript(
        number,
        lease.job,
        lease.attempt,
        lease.owner,
        text,
        lease.kind == "command",
        lease.timeout_s,
        stdin,
        lease.index,
        argument,
        environment_of(lease),
        cpu=limits.cpu is not None,
    )


def environment_of(lease: Lease) -> dict[str, str]:
    """Return what the job wants in the environment of its attempts, and the span that they are in."""
    environment = lease.options.env if lease.options is not None else {}
    return environment if lease.traceparent is None else environment | {"TRACEPARENT": lease.traceparent}


def ulimits_of(lease: Lease, *, memory_held: bool, processes_held: bool) -> str:
    """Return what a script's shell is told of its limits: those that its control group does not hold."""
    limits = lease.limits
    return ulimits(
        memory=None if memory_held else limits.memory,
        cpu=limits.cpu,
        processes=None if processes_held else limits.processes,
        files=limits.files,
    )


def bounds_of(lease: Lease) -> Bounds:
    """Return what a control group is to hold of an attempt's limits; handlers have none."""
    if lease.kind == "handler":
        return None, None
    limits = lease.limits
    return limits.memory, limits.processes
