"""Decoders, made by one thread at a time.

msgspec (0.22) notes what a Struct's fields are when the first decoder of it is made, and other threads see that note while it
is unfinished: two that decode a type for the first time at the same moment can end the process by a segmentation fault.
"""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import Any

from msgspec import json

_making = Lock()


def decoder_of(kind: Any) -> json.Decoder[Any]:
    """Return the decoder of a type, always the same one."""
    with _making:
        return _decoder(kind)


def prepare(kind: Any) -> None:
    """Have msgspec know a type of the caller's. Raises TypeError for one that it cannot read."""
    with _making:
        json.Decoder(kind)


@cache
def _decoder(kind: Any) -> json.Decoder[Any]:
    return json.Decoder(kind)
