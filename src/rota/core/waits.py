"""What a job waits for: on which end of another one, and how many of them must come about. Pure.

A job keeps two numbers: how many conditions must still be met before it may start (`need`), and how many of those that are
open may yet turn out never to be met (`spare`). So each end of a job that it waits for costs the same, however many there
are, and the order in which they end changes nothing: a job starts as soon as enough are met, and will never start as soon
as too few are left.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Literal

from msgspec import Struct

from rota.core.states import FINAL, State

Condition = Literal["succeeded", "failed", "finished", "any"]

_MET: dict[Condition, frozenset[State]] = {
    "succeeded": frozenset({State.SUCCEEDED}),
    "failed": frozenset({State.FAILED}),
    "finished": frozenset({State.SUCCEEDED, State.FAILED}),
    "any": FINAL,
}
_WORDS: dict[Condition, str] = {
    "succeeded": "to succeed", "failed": "to fail", "finished": "to run to its end", "any": "to be over",
}  # fmt: skip


class After(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that a job waits for. `on`: `succeeded`; `failed`; `finished` (it ran to its end, well or badly); `any`
    (whatever became of it, also if it was aborted or canceled).
    """

    job: str
    on: Condition = "succeeded"


class AtLeast(Struct, frozen=True, forbid_unknown_fields=True):
    """Of all that a job waits for, so many conditions must be met."""

    at_least: int


Join = Literal["all", "any"] | AtLeast


class Verdict(Enum):
    """What a job that waits is to do."""

    WAIT = "wait"
    START = "start"
    NEVER = "never"


class Waits(Struct, frozen=True):
    """How a job stands with what it waits for, and what follows."""

    need: int
    spare: int
    verdict: Verdict


def meets(on: Condition, state: State) -> bool:
    """Say whether the end of a job, in a final state, is the one that was waited for."""
    return state in _MET[on]


def words(on: Condition) -> str:
    """Return what a job is waited for to do."""
    return _WORDS[on]


def begin(total: int, ends: Collection[tuple[Condition, State]], least: int | None) -> Waits:
    """Return how a new job stands that waits for so many; `ends` are the states of those that have ended.

    `least` is how many conditions must be met, None: all of them.
    """
    met = sum(meets(on, state) for on, state in ends)
    need = total if least is None else min(least, total)
    return count(need, total - need, met=met, never=len(ends) - met)


def count(need: int, spare: int, *, met: int, never: int) -> Waits:
    """Return how a job stands when conditions of so many have been met, and of so many others never will be."""
    need, spare = max(0, need - met), spare - never
    if need == 0:
        return Waits(0, max(0, spare), Verdict.START)
    if spare < 0:
        return Waits(need, 0, Verdict.NEVER)
    return Waits(need, spare, Verdict.WAIT)


def least_of(join: Join, waits_for: int) -> int | None:
    """Return how many conditions must be met, None: all. Raises ValueError for what can never be."""
    if join == "all":
        return None
    if waits_for == 0:
        raise ValueError("says how many of `after` must come about, and there is none")
    least = 1 if join == "any" else join.at_least
    if not 1 <= least <= waits_for:
        raise ValueError(f"is between 1 and the {waits_for} that the job waits for")
    return least


def join_of(least: int | None) -> Join:
    """Return how a number of conditions that must be met is said."""
    if least is None:
        return "all"
    return "any" if least == 1 else AtLeast(least)


def never(job: str, on: Condition, state: State) -> str:
    """Say why a job that waits for another one will never start."""
    if on == "succeeded":
        return f"job {job}, which this one waits for, is {state}"
    return f"job {job}, which this one waits for {words(on)}, is {state}"
