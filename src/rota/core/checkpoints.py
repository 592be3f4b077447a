"""What an attempt of a job leaves for the next one: a value that the handler chooses, the newest of each job."""

from __future__ import annotations

from msgspec import Raw, Struct

MAX_CHECKPOINT = 1 << 20  # bytes of JSON


class Checkpoint(Struct, frozen=True):
    """What an attempt has left for the next one, as that is given it."""

    attempt: int
    value: Raw


class CheckpointNote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an attempt leaves for the next one. The newest counts."""

    job: str
    attempt: int
    value: Raw


class Kept(Struct, frozen=True):
    """A checkpoint as the store keeps it: which attempt left it, when, its bytes. `value` is left out where nobody needs it."""

    attempt: int
    at: int
    size: int
    value: Raw = Raw(b"null")
