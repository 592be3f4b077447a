"""Rows of turns with their first jobs, as a claim looks at them. Shared by all stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rota.core.fairness import Turn, TurnName


def turn_of(
    name: TurnName,
    stand: tuple[int, int, float, int],
    heads: Sequence[tuple[Any, ...]],
    depth: int,
    settings: tuple[int | None, float],
    *,
    keyed: bool,
) -> Turn:
    """Build a row: `stand` is (turn, clock, weight, served_at), `heads` the (run_at, id, key) of its first jobs,
    `settings` the owner's `max_running` and the queue's weight.

    There may be others if there are as many as `depth`, which were asked for. Without `keyed` heads have no key.
    """
    max_running, of_queue = settings
    keys = tuple(head[2] for head in heads) if keyed else ()
    if not any(keys):
        keys = ()
    return Turn(
        name, *stand, tuple((head[0], head[1]) for head in heads), len(heads) >= depth, max_running, keys, of_queue
    )
