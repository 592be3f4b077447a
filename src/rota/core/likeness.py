"""Which errors are alike: messages that differ only in numbers, ids, addresses or quoted parts are one. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec
from msgspec import Struct

MOST_MESSAGE = 300  # characters of a message that are looked at
MOST_EXAMPLES = 5
_PARTS = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b0[xX][0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"(?<!\w)(?:'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`)"), "<text>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{6,}\b"), "<hex>"),
    (re.compile(r"\d+(?:[.:,_-]\d+)*"), "<n>"),
    (re.compile(r"\s+"), " "),
)
_TYPE = re.compile(r'"type":"((?:[^"\\]|\\.)*)')
_MESSAGE = re.compile(r'"message":"((?:[^"\\]|\\.)*)')
_string = msgspec.json.Decoder(str).decode


class Fault(Struct, frozen=True):
    """One failed attempt, and what its error says."""

    job: str
    at: int
    handler: str | None
    kind: str
    type: str
    message: str


class Faults(Struct, kw_only=True):
    """Failed attempts that are alike. `message` has placeholders for what differs; `example` is the newest one's own."""

    kind: str
    handler: str | None
    type: str
    message: str
    example: str
    count: int
    jobs: list[str]
    first_at: int
    last_at: int


@lru_cache(maxsize=8192)
def pattern_of(message: str) -> str:
    """Return a message with placeholders for what tells one occurrence from another."""
    text = message[:MOST_MESSAGE]
    for part, placeholder in _PARTS:
        text = part.sub(placeholder, text)
    return text.strip()


def group(faults: Iterable[Fault]) -> list[Faults]:
    """Group faults, which come the newest first; the most frequent group is the first. Each has its newest jobs."""
    groups: dict[tuple[str, str | None, str, str], Faults] = {}
    for fault in faults:
        pattern = pattern_of(fault.message)
        key = (fault.kind, fault.handler, fault.type, pattern)
        found = groups.get(key)
        if found is None:
            groups[key] = Faults(
                kind=fault.kind, handler=fault.handler, type=fault.type, message=pattern, example=fault.message, count=1,
                jobs=[fault.job], first_at=fault.at, last_at=fault.at,
            )  # fmt: skip
            continue
        found.count += 1
        found.first_at = min(found.first_at, fault.at)
        found.last_at = max(found.last_at, fault.at)
        if len(found.jobs) < MOST_EXAMPLES and fault.job not in found.jobs:
            found.jobs.append(fault.job)
    return sorted(groups.values(), key=lambda one: (-one.count, -one.last_at))


def beginning_of(error: str | None) -> tuple[str, str]:
    """Return (type, message) of an error's JSON, of which there may be only the beginning; texts are cut where it ends."""
    found = [pattern.search(error or "") for pattern in (_TYPE, _MESSAGE)]
    type_, message = (_decoded(match.group(1)) if match else "" for match in found)
    return type_, message


def _decoded(text: str) -> str:
    """Decode the inside of a JSON string, without an escape at its end that is not whole."""
    for end in range(len(text), max(len(text) - 13, -1), -1):
        try:
            return _string(f'"{text[:end]}"')
        except msgspec.DecodeError:
            continue
    return ""
