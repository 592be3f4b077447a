"""What jobs need of a worker, and the labels that workers have. A need is met by a label of the same name and value.

Jobs with needs wait in lanes of their own, so that no claim goes over jobs that it cannot take. Values are compared as texts:
`true` is true, and 8 is 8.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from msgspec import json

Value = str | bool | int | float
MAX_NEEDS = 16
_MARK = "\t"  # no handler's name has one
_SLOTS = "=slots"  # no need is called so; to a server of before it is one that nobody meets


def text_of(value: Value) -> str:
    """Return the text that stands for a value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return str(value)


def lane_with(base: str, needs: Mapping[str, Value] | None, slots: int = 1) -> str:
    """Return the lane of jobs that would be in the lane `base` if they had no needs, and took one slot."""
    if not needs and slots == 1:
        return base
    texts = {name: text_of(value) for name, value in (needs or {}).items()}
    if slots > 1:
        texts[_SLOTS] = str(slots)
    return base + _MARK + json.encode(texts, order="sorted").decode()


def base_of(lane: str) -> str:
    """Return what a worker must offer to run a lane's jobs, whatever they need besides."""
    return lane.partition(_MARK)[0]


@lru_cache(maxsize=4096)
def needs_of(lane: str) -> frozenset[tuple[str, str]]:
    """Return what a lane's jobs need."""
    return frozenset((name, text) for name, text in _texts_of(lane).items() if name != _SLOTS)


@lru_cache(maxsize=4096)
def slots_of(lane: str) -> int:
    """Return how many slots of its worker each job of a lane takes."""
    return int(_texts_of(lane).get(_SLOTS, "1"))


def _texts_of(lane: str) -> dict[str, str]:
    _, mark, texts = lane.partition(_MARK)
    return json.decode(texts, type=dict[str, str]) if mark else {}


def labels_of(labels: Mapping[str, Value]) -> frozenset[tuple[str, str]]:
    """Return labels in the form that needs are compared with."""
    return frozenset((name, text_of(value)) for name, value in labels.items())


def shown(needs: frozenset[tuple[str, str]]) -> str:
    """Return needs as people read them."""
    return ", ".join(f"{name}={value}" for name, value in sorted(needs))
