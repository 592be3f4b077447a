"""Quotas of owners: how many of their jobs may wait, how many bytes those that are not over may hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from rota.core.errors import QuotaFull
from rota.core.jobs import Job
from rota.core.owners import Owner
from rota.core.states import WAITING, State

MOST = 1 << 53  # of a quota: whole numbers that every reader of JSON has
_WAITING = frozenset(state.value for state in WAITING)
_OPEN = _WAITING | {State.RUNNING.value}
_encode = msgspec.json.Encoder().encode


class Kept(Struct, frozen=True):
    """What is kept for an owner: how many of its jobs wait, and the bytes of those that are not over."""

    waiting: int = 0
    size: int = 0


NOTHING = Kept()


class Places(Struct, frozen=True):
    """How many jobs of an owner may run at once, and how many do, shards of arrays among them."""

    most: int
    running: int

    @property
    def free(self) -> int:
        """Return how many may start."""
        return max(0, self.most - self.running)


def inputs_bytes(pieces: Iterable[tuple[int, int, str]]) -> int:
    """Return the bytes of inputs, in pieces as they are stored: (first, n, a list in JSON)."""
    return sum(len(piece.encode()) for _, _, piece in pieces)


def stored_bytes(job: Job) -> int:
    """Return the bytes that a new job holds in the store: its data, arguments, text, options and inputs."""
    size = len(memoryview(job.data)) + len(memoryview(job.args))
    if job.script is not None:
        size += len(job.script.encode())
    if job.variables is not None:
        size += len(_encode(job.variables))
    if job.options is not None:
        size += len(_encode(job.options))
    return size if job.array is None else size + job.array.size


def kept_by(old: str | None, new: str | None, size: int) -> tuple[int, int]:
    """Return by how much a job of this size changes what is kept for its owner: jobs that wait, and bytes.

    Of a job that is not there a state is None.
    """
    waits = (new in _WAITING) - (old in _WAITING)
    return waits, size * ((new in _OPEN) - (old in _OPEN)) if size else 0


class Room:
    """What owners have room for, while submissions are looked at one after another. Who has no quota has room for all."""

    def __init__(self, owners: Mapping[str, Owner], kept: Mapping[str, Kept]) -> None:
        self._owners = owners
        self._kept = dict(kept)

    def take(self, owner: str, size: int) -> None:
        """Take room for a job. Raises QuotaFull, and takes none then."""
        quotas = self._owners.get(owner)
        if quotas is None:
            return
        kept = self._kept.get(owner, NOTHING)
        if quotas.max_waiting is not None and kept.waiting >= quotas.max_waiting:
            raise QuotaFull(
                f"max_waiting of {owner!r} is {quotas.max_waiting:,}, and {kept.waiting:,} of its jobs wait",
                "max_waiting", quotas.max_waiting, kept.waiting,
            )  # fmt: skip
        if quotas.max_bytes is not None and kept.size + size > quotas.max_bytes:
            raise QuotaFull(
                f"max_bytes of {owner!r} is {quotas.max_bytes:,}, and its jobs that are not over hold {kept.size:,}; "
                f"one more would hold {size:,}", "max_bytes", quotas.max_bytes, kept.size,
            )  # fmt: skip
        self._kept[owner] = Kept(kept.waiting + 1, kept.size + size)
