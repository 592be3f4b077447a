"""What a transaction on SQLite does for listings; see store/protocol.py."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from rota.core.jobs import Job
from rota.core.states import State
from rota.store.protocol import Tx
from rota.store.rows import STATES, Query
from rota.store.sqlite.statement import BaseTx
from rota.store.walks import MOST_ERRORS, MOST_SCANNED, choose, fits, needle, wants_counts

Row = tuple[Any, ...]  # id, state, owner, queue, handler, api; of a walk over errors also whether it has the text


class ListingTx(BaseTx):
    """The part of `SqliteTx` that finds jobs by what they have in common."""

    async def find_jobs(self: Tx, query: Query) -> tuple[list[Job], str | None]:
        found, last = await self.find_ids(query)
        return [whole for id_, _ in found if (whole := await self.get_job(id_)) is not None], last

    async def find_ids(self, query: Query) -> tuple[list[tuple[str, State]], str | None]:
        found: list[tuple[str, State]] = []
        last = None
        most = MOST_SCANNED if query.error is None else MOST_ERRORS
        counts = await self.counts() if wants_counts(query) else ()  # type: ignore[attr-defined]  # of the whole
        for scanned, row in enumerate(self._candidates(query, counts)):
            if len(found) == query.limit or scanned == most:
                break
            last = job = row[0]
            if fits(query, row) and all(self._one("has_label", name, value, job) for name, value in query.labels):
                found.append((job, STATES[row[1]]))
        else:
            last = None
        return found, last

    def _candidates(self, query: Query, counts: Any) -> Iterator[Row]:
        """Walk the most selective index there is for the query, newest first."""
        below = min(filter(None, (query.cursor, query.below_id)), default="~")  # "~" is above every id
        bounds = (query.from_id or "", below)
        match choose(query, counts):
            case "run":
                return self._con.execute(self._sql["find_by_run"], (query.run, *bounds))
            case "api":
                return self._candidates_of_api(query, bounds)
            case "error":
                return self._con.execute(self._sql["find_by_error"], (needle(query.error or ""), *bounds))
            case "label":
                return self._con.execute(self._sql["find_by_label"], (*query.labels[0], *bounds))
            case "owner":
                return self._con.execute(self._sql["find_by_owner"], (query.owner, *bounds))
            case "state":
                walks = [self._con.execute(self._sql["find_by_state"], (s.value, *bounds)) for s in set(query.states)]
                return heapq.merge(*walks, key=lambda row: row[0], reverse=True)
            case "handler":
                return self._con.execute(self._sql["find_by_handler"], (query.handler, *bounds))
            case "queue":
                return self._con.execute(self._sql["find_by_queue"], (query.queue, *bounds))
            case "all":
                return self._con.execute(self._sql["find_all"], bounds)

    def _candidates_of_api(self, query: Query, bounds: tuple[str, str]) -> Iterator[Row]:
        if query.owner is not None:
            return self._con.execute(self._sql["find_by_api_owner"], (query.api, query.owner, *bounds))
        states = query.states or list(State)
        walks = [self._con.execute(self._sql["find_by_api"], (query.api, s.value, *bounds)) for s in set(states)]
        return heapq.merge(*walks, key=lambda row: row[0], reverse=True)
