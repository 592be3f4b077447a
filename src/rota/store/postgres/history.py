"""The part of a transaction on PostgreSQL that concerns what happened, who works, whom to call, what was answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from rota.core.jobs import Attempt, Event, HandlerSpec, LogChunk, WorkerHello
from rota.store.events import SharedRow, is_there, of_job, spread
from rota.store.postgres.arrays import ArrayTx
from rota.store.postgres.statement import columns
from rota.store.postgres.tokens import TokenTx
from rota.store.rows import (
    STATES,
    CountRow,
    DeliveryRow,
    NewEvent,
    Try,
    WorkerRow,
    attempt_of,
    encode,
    text,
    worker_of,
)

_spec = msgspec.json.Decoder(HandlerSpec).decode
_tries = msgspec.json.Decoder(list[Try]).decode


class HistoryTx(ArrayTx, TokenTx):
    """See store/protocol.py."""

    # -- history

    async def insert_attempts(self, attempts: Sequence[tuple[str, Attempt]]) -> None:
        rows = [
            (
                job, a.attempt, a.worker, a.started_at, a.finished_at, a.outcome, a.exit_code, text(a.error), text(a.proof),
                a.first, a.inputs,
            )
            for job, a in attempts
        ]  # fmt: skip
        if rows:
            await self._run("insert_attempt", *columns(rows, 11))

    async def attempts_of(self, job: str) -> list[Attempt]:
        return [attempt_of(tuple(row)) for row in await self._all("attempts_of", job)]

    async def append_events(self, events: Sequence[NewEvent]) -> None:
        self._events += events

    async def events_of(self, job: str, after: int, limit: int) -> list[Event]:
        shared = await self._all("shared_events_of", job)
        return of_job(job, await self._all("events_of", job, after, limit), shared, after, limit)

    async def events_after(self, seq: int, limit: int) -> list[Event]:
        rows = await self._all("events_after", seq, limit)
        while rows and not rows[-1][10]:  # one with a lower number may be about to be committed
            rows.pop()
        return spread(rows, seq, limit)

    async def is_event(self, seq: int) -> bool:
        row = await self._one("event_from", seq)
        return is_there(seq, None if row is None else SharedRow(*row))

    async def last_event(self) -> int:
        row = await self._one("last_event")
        return row[0] if row else 0

    async def append_logs(self, chunks: Sequence[LogChunk]) -> None:
        rows = sorted((c.job, c.attempt, c.n, c.stream, c.text.encode()) for c in chunks)
        if rows:
            await self._run("append_log", self.now, *columns(rows, 5))

    async def logs_of(self, job: str, attempt: int | None, after: tuple[int, int], limit: int) -> list[LogChunk]:
        if attempt is None:
            rows = await self._all("logs_of", job, *after, limit)
        elif after[0] <= attempt:
            n = after[1] if after[0] == attempt else -1
            rows = await self._all("logs_of_attempt", job, attempt, n, limit)
        else:
            rows = []
        return [
            LogChunk(job=job, attempt=a, n=n, stream=stream, at=at, text=piece.decode())
            for a, n, stream, at, piece in rows
        ]

    async def counts(self) -> list[CountRow]:
        await self.flush()
        return [CountRow(queue, lane, STATES[state], n) for queue, lane, state, n in await self._all("counts")]

    async def timed_out_tasks(self) -> int:
        await self.flush()
        row = await self._one("timed_out_tasks")
        return row[0] if row else 0

    # -- workers

    async def insert_worker(self, worker: str, hello: WorkerHello, lease_until: int) -> None:
        await self._run("insert_worker", worker, text(hello), self.now, lease_until)
        self._held_workers.add(worker)
        if hello.handlers and not hello.pull:  # those are functions, not handlers
            specs = {spec.name: text(spec) for spec in hello.handlers}
            await self._run("put_handler", *columns(sorted(specs.items()), 2), self.now)

    async def get_worker(self, worker: str) -> WorkerRow | None:
        row = await self._one("get_worker", worker)
        return None if row is None else worker_of(tuple(row))

    async def lock_worker(self, worker: str) -> WorkerRow | None:
        return (await self.lock_workers([worker])).get(worker)

    async def lock_workers(self, workers: Iterable[str]) -> dict[str, WorkerRow]:
        return {row[0]: worker_of(tuple(row)) for row in await self._hold_workers(workers)}

    async def list_workers(self) -> list[WorkerRow]:
        return [worker_of(tuple(row)) for row in await self._all("list_workers")]

    async def renew_workers(self, leases: Sequence[tuple[str, int]]) -> None:
        await self._run("renew_worker", self.now, *columns(leases, 2))

    async def drain_worker(self, worker: str) -> None:
        await self._run("drain_worker", worker)

    async def bury_worker(self, worker: str, why: str) -> None:
        await self._run("bury_worker", self.now, why, worker)

    async def expired_workers(self, limit: int) -> list[str]:
        return [worker for (worker,) in await self._all("expired_workers", self.now, limit)]

    async def forget_workers(self, before: int) -> None:
        await self._run("forget_workers", before)

    async def handlers(self) -> list[tuple[HandlerSpec, int]]:
        return [(_spec(spec), seen_at) for _, spec, seen_at in await self._all("handlers")]

    # -- hooks and answers

    async def insert_deliveries(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        if rows:
            await self._run("insert_delivery", *columns(sorted(rows), 4), self.now)

    async def take_deliveries(self, limit: int, until: int) -> list[DeliveryRow]:
        rows = await self._all("due_deliveries", self.now, limit)
        if rows:
            await self._run("lease_delivery", until, [row[0] for row in rows])
        return [
            DeliveryRow(id=id_, job=job, url=url, body=body, tries=tries, next_at=until, log=_tries(log))
            for id_, job, url, body, tries, log in rows
        ]

    async def note_delivery(self, row: DeliveryRow) -> None:
        log = encode(row.log).decode()
        await self._run("note_delivery", row.tries, row.next_at, row.done_at, row.gave_up, log, row.id)

    async def resend_delivery(self, job: str, delivery: str) -> bool:
        return await self._one("resend_delivery", self.now, delivery, job) is not None

    async def deliveries_of(self, job: str) -> list[DeliveryRow]:
        return [
            DeliveryRow(
                id=id_, job=job, url=url, body=body, tries=tries, next_at=next_at, done_at=done_at, gave_up=gave_up,
                log=_tries(log),
            )
            for id_, job, url, body, tries, next_at, done_at, gave_up, log in await self._all("deliveries_of", job)
        ]  # fmt: skip

    async def get_answer(self, key: str) -> tuple[str, bytes] | None:
        row = await self._one("get_answer", key)
        return None if row is None else (row[0], row[1])

    async def put_answer(self, key: str, fingerprint: str, body: bytes) -> None:
        await self._run("put_answer", key, fingerprint, body, self.now)

    async def forget_answers(self, before: int, limit: int) -> None:
        await self._run("forget_answers", before, limit)
