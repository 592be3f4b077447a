"""Unique keys: at most one job of an owner has a key, and what becomes of the next one that wants it.

A key has a row, and so is taken once, whatever number of servers take it. Who settles a job has nothing to do with it: the
row names the job, and whether that is over is looked at by who wants the key next.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from rota.core.jobs import Job, OnConflict
from rota.core.states import FINAL, WAITING, Reason
from rota.service.changes import cancel_jobs
from rota.service.signals import Effects
from rota.store.protocol import Tx
from rota.store.rows import Unique


class Wish(Struct, frozen=True):
    """A new job that has a `unique_key`; for how long (microseconds), and what if another one has it."""

    job: Job
    unique_for: int | None
    on_conflict: OnConflict

    @property
    def key(self) -> str:
        """Return the key."""
        assert self.job.unique_key is not None
        return self.job.unique_key


class Taken(Struct, frozen=True):
    """A key that another job has: its id, its state (None: it is pruned), whether it is to `stand` for the new one."""

    job: str
    state: str | None
    stands: bool

    def sentence(self, key: str) -> str:
        """Say it, for people."""
        stands = "" if self.state is None else f", which is {self.state}"
        return f"job {self.job}{stands}, has the key {key!r}; give another key, or say what to do with on_conflict"


async def take_keys(tx: Tx, wishes: Sequence[Wish], effects: Effects, *, by: str | None) -> dict[str, Taken]:
    """Take the keys of new jobs; return, by their ids, those whose key another job has. To be called before jobs are locked.

    Jobs that are replaced are canceled.
    """
    first: dict[tuple[str, str], Wish] = {}
    taken: dict[str, Taken] = {}
    for wish in wishes:
        first.setdefault(_name(wish), wish)
    before = {(u.owner, u.key): u for u in await tx.take_uniques([_unique(wish, tx.now) for wish in first.values()])}
    jobs = await tx.lock_jobs({unique.job for unique in before.values()})
    free: list[Unique] = []
    replaced: list[tuple[Job, Wish]] = []
    for name, unique in before.items():
        wish, job = first[name], jobs.get(unique.job)
        if _is_free(unique, job, tx.now):
            free.append(_unique(wish, tx.now))
        elif wish.on_conflict == "replace" and job is not None and job.state in WAITING:
            free.append(_unique(wish, tx.now))
            replaced.append((job, wish))
        else:
            state = None if job is None else job.state.value
            stands = wish.on_conflict == "existing" and job is not None  # it may be pruned
            taken[wish.job.id] = Taken(unique.job, state, stands)
    for wish in wishes:
        other = first[_name(wish)]
        if other is not wish:  # of the same request: who has the key for it, has it for all
            has = taken.get(other.job.id)
            stands = wish.on_conflict == "existing" and (has is None or has.state is not None)
            taken[wish.job.id] = Taken(other.job.id, None, stands) if has is None else replace(has, stands=stands)
    await tx.put_uniques(free)
    for job, wish in replaced:
        why = f"job {wish.job.id}, with the same unique key, has taken its place"
        await cancel_jobs(tx, [job], Reason.REPLACED, effects, by=by, why=why)
    return taken


def _name(wish: Wish) -> tuple[str, str]:
    return wish.job.owner, wish.key


def _unique(wish: Wish, now: int) -> Unique:
    return Unique(*_name(wish), wish.job.id, None if wish.unique_for is None else now + wish.unique_for)


def _is_free(unique: Unique, job: Job | None, now: int) -> bool:
    """Say whether a key that had a job has none any more."""
    if unique.until is not None:
        return unique.until <= now
    return job is None or job.state in FINAL
