"""The part of a transaction on PostgreSQL that reads whole jobs, and finds them by what they have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from rota.core.jobs import Job
from rota.core.states import State
from rota.core.waits import Condition
from rota.store.postgres.arrays import ArrayTx
from rota.store.postgres.statement import Row
from rota.store.rows import STATES, Query, job_of
from rota.store.walks import MOST_ERRORS, MOST_SCANNED, choose, fits, needle, wants_counts

_MOST_AT_ONCE = 2_000  # rows of a listing in one statement


class ListingTx(ArrayTx):
    """See store/protocol.py."""

    async def whole_jobs(self, jobs: Sequence[str]) -> dict[str, Job]:
        """Return those of these jobs that there are."""
        rows = await self._all("get_job", jobs)
        if not rows:
            return {}
        after: dict[str, list[tuple[str, Condition]]] = {}
        for job, waits_for, on in await self._all("after_of", jobs):
            after.setdefault(job, []).append((waits_for, on))
        found = {row[0]: job_of(tuple(row), after.get(row[0], [])) for row in rows}
        if arrays := [job.id for job in found.values() if job.array is not None]:
            for id_, array in (await self.arrays_of(arrays)).items():
                found[id_].array = array
        return found

    async def find_jobs(self, query: Query) -> tuple[list[Job], str | None]:
        found, last = await self.find_ids(query)
        jobs = await self.whole_jobs([id_ for id_, _ in found])
        return [jobs[id_] for id_, _ in found if id_ in jobs], last

    async def find_ids(self, query: Query) -> tuple[list[tuple[str, State]], str | None]:
        found: list[tuple[str, State]] = []
        last, scanned = None, 0
        most = MOST_SCANNED if query.error is None else MOST_ERRORS
        async with aclosing(self._candidates(query)) as candidates:
            async for row in candidates:
                if len(found) == query.limit or scanned == most:
                    break
                scanned += 1
                last = row[0]
                if fits(query, row):
                    found.append((last, STATES[row[1]]))
            else:
                last = None
        return found, last

    async def _candidates(self, query: Query) -> AsyncGenerator[Row, None]:
        """Walk the most selective index there is for the query, newest first, a piece at a time; labels all hold."""
        below = min(filter(None, (query.cursor, query.below_id)), default="~")  # "~" is above every id
        counts = await self.counts() if wants_counts(query) else ()  # type: ignore[attr-defined]  # of the whole
        name, values = _walk(query, counts)
        size = min(query.limit + 1, _MOST_AT_ONCE)
        while True:
            rows = await self._all(name, *values, query.from_id or "", below, size)
            rows = sorted(rows, key=lambda row: row[0], reverse=True)  # as they come, but for a join's whim
            held = [True] * len(rows)
            for label, value in query.labels[name == "find_by_label" :]:
                have = {job for (job,) in await self._all("has_label", label, value, [row[0] for row in rows])}
                held = [each and row[0] in have for each, row in zip(held, rows, strict=True)]
            for each, row in zip(held, rows, strict=True):
                yield row if each else (*row, False)
            if len(rows) < size:
                return
            below = rows[-1][0]
            size = min(2 * size, _MOST_AT_ONCE)


def _walk(query: Query, counts: Any) -> tuple[str, list[Any]]:
    """Return the statement that walks the most selective index for a query, and its first values."""
    states = sorted({state.value for state in query.states or list(State)})
    match choose(query, counts):
        case "run":
            return "find_by_run", [query.run]
        case "api" if query.owner is not None:
            return "find_by_api_owner", [query.api, query.owner]
        case "api":
            return "find_by_api", [query.api, states]
        case "error":
            return "find_by_error", [needle(query.error or "")]
        case "label":
            return "find_by_label", [*query.labels[0]]
        case "owner":
            return "find_by_owner", [query.owner]
        case "state":
            return "find_by_state", [states]
        case "handler":
            return "find_by_handler", [query.handler]
        case "queue":
            return "find_by_queue", [query.queue]
        case "all":
            return "find_all", []
