"""Checkpoints: what an attempt leaves is kept with its job, and goes along with the lease of the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from rota.core.checkpoints import MAX_CHECKPOINT, Checkpoint, CheckpointNote
from rota.core.errors import Invalid
from rota.core.jobs import Job
from rota.core.states import State
from rota.store.protocol import Claimed, Tx


def check_checkpoints(notes: Sequence[CheckpointNote]) -> None:
    """Raise Invalid for one that is too long."""
    for at, note in enumerate(notes):
        if len(bytes(note.value)) > MAX_CHECKPOINT:
            raise Invalid(f"checkpoints[{at}].value", f"is at most {MAX_CHECKPOINT} bytes of JSON")


async def keep_checkpoints(tx: Tx, worker: str, locked: Mapping[str, Job], notes: Sequence[CheckpointNote]) -> set[str]:
    """Keep what the worker's attempts leave, the newest of each, and return their jobs. Arrays have none."""
    newest = {note.job: note for note in notes if _holds(locked.get(note.job), worker, note.attempt)}
    await tx.put_checkpoints(list(newest.values()))
    return set(newest)


async def with_checkpoints(tx: Tx, claimed: list[Claimed]) -> list[Claimed]:
    """Return claimed jobs with what attempts before have left for them."""
    again = [c.lease.job for c in claimed if c.lease.attempt > 1]
    kept = await tx.checkpoints_of(again) if again else {}
    if not kept:
        return claimed
    return [
        c if (left := kept.get(c.lease.job)) is None
        else replace(c, lease=replace(c.lease, checkpoint=Checkpoint(left.attempt, left.value)))
        for c in claimed
    ]  # fmt: skip


def _holds(job: Job | None, worker: str, attempt: int) -> bool:
    return (
        job is not None
        and job.array is None
        and job.state is State.RUNNING
        and (job.worker, job.attempt) == (worker, attempt)
    )
