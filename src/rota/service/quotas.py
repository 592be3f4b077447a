"""Owners' quotas where jobs come into being: every way of submitting leads here (`changes.insert_jobs`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rota.core.jobs import Job
from rota.core.quotas import Room, stored_bytes
from rota.core.states import FINAL
from rota.store.protocol import Tx


async def room_of(tx: Tx, owners: Iterable[str]) -> Room:
    """Return what owners have room for; of one with quotas nobody else submits jobs until the end of the transaction."""
    quotas = await tx.quotas_of(owners)
    return Room(quotas, await tx.hold_quotas(quotas) if quotas else {})


async def hold_quotas(tx: Tx, owners: Iterable[str]) -> None:
    """Let nobody else submit jobs of those that have quotas: before anything else is held, whose holders may wait for these."""
    await room_of(tx, owners)


async def check_quotas(tx: Tx, jobs: Sequence[Job]) -> None:
    """Note how many bytes new jobs hold, and raise QuotaFull for the first that its owner has no room for."""
    take_room(await room_of(tx, {job.owner for job in jobs}), jobs)


def take_room(room: Room, jobs: Sequence[Job]) -> None:
    """Note how many bytes new jobs hold, and that they are there. Raises QuotaFull for the first that has no room."""
    measure(jobs)
    for job in jobs:
        if job.state not in FINAL:
            room.take(job.owner, job.size)


def measure(jobs: Iterable[Job]) -> None:
    """Note how many bytes new jobs hold."""
    for job in jobs:
        job.size = stored_bytes(job)
