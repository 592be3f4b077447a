"""Runs, and what a graph shows of jobs, as rows. Shared by all stores."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from rota.core.jobs import Kind
from rota.core.runs import Run
from rota.core.states import State
from rota.store.rows import STATES, text

_texts = msgspec.json.Decoder(dict[str, str]).decode


class RunQuery(Struct, frozen=True, kw_only=True):
    """Filters of a listing of runs, all of which must hold; `cursor` is the last id of the page before."""

    state: State | None = None
    owner: str | None = None
    name: str | None = None
    cursor: str | None = None
    limit: int = 100


class Node(Struct, frozen=True):
    """What a graph shows of a job."""

    id: str
    ref: str | None
    run: str | None
    state: State
    handler: str | None
    kind: Kind
    attempt: int
    submitted_at: int
    started_at: int | None
    finished_at: int | None
    inputs: int | None
    owner: str


def walk_of(query: RunQuery) -> tuple[str, list[Any]]:
    """Return the statement that walks the most selective index for a query, and its first values."""
    if query.name is not None:
        return "find_runs_by_name", [query.name]
    if query.owner is not None:
        return "find_runs_by_owner", [query.owner]
    if query.state is not None:
        return "find_runs_by_state", [query.state.value]
    return "find_runs", []


def run_row(run: Run) -> tuple[Any, ...]:
    """Return the columns that `insert_run` writes."""
    return (
        run.id, run.state.value, run.name, run.owner, text(run.labels), run.hook, run.jobs, run.submitted_at, run.retry_of,
        run.submitted_at,
    )  # fmt: skip


def run_of(row: tuple[Any, ...], counts: dict[str, int]) -> Run:
    """Build a run from `get_run`'s columns and its counts."""
    return Run(
        id=row[0], state=STATES[row[1]], name=row[2], owner=row[3], labels=_texts(row[4]) if row[4] else None, hook=row[5],
        jobs=row[6], submitted_at=row[7], started_at=row[8], finished_at=row[9], abort_requested_at=row[10],
        stopping=bool(row[11]), retry_of=row[12], counts=counts,
    )  # fmt: skip


def node_of(row: tuple[Any, ...]) -> Node:
    """Build a node from `nodes`' columns."""
    id_, ref, run, state, *rest = row
    return Node(id_, ref, run, STATES[state], *rest)


def chosen_run(query: RunQuery, row: tuple[Any, ...]) -> bool:
    """Say whether all filters of a query hold for a row of its walk."""
    _, state, owner, name = row
    return (
        query.state in (None, STATES[state]) and query.owner in (None, owner) and query.name in (None, name)
    )  # fmt: skip
