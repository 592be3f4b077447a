"""How long jobs ran lately, as rows say it. Shared by all stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rota.core.forecasts import Pace
from rota.core.times import SECOND


def paces_of(rows: Iterable[Sequence[Any]]) -> list[Pace]:
    """Add up how long jobs ran, by owner, priority and lane, from `recent_runs`' columns."""
    found: dict[tuple[str, int, str], list[tuple[int, int]]] = {}
    for owner, priority, lane, started_at, finished_at in rows:
        if started_at is not None:
            found.setdefault((owner, priority, lane), []).append((started_at, finished_at))
    return [
        Pace(
            owner,
            priority,
            lane,
            len(runs),
            sum(end - start for start, end in runs) / SECOND,
            min(end for _, end in runs),
        )
        for (owner, priority, lane), runs in found.items()
    ]
