"""Server-sent events and texts, made of what the service's feed yields. An empty batch is a sign of life."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import lru_cache

import msgspec

from rota.core.errors import Invalid
from rota.core.jobs import Event, LogChunk
from rota.core.wire import event_view, log_view, result_view
from rota.service.service import Service
from rota.service.tail import Batch

EVENT_STREAM = "text/event-stream"
TEXT = "text/plain"
ALIVE = b": alive\n\n"
BEGIN = b"retry: 1000\n\n"  # a client that lost the stream comes back after so many milliseconds
_POSITION = re.compile(r"(\d{1,9})\.(\d{1,9})", re.ASCII)
_PAGE = 1000
_encode = msgspec.json.Encoder().encode


def frame(kind: str, data: bytes, id_: str | None = None) -> bytes:
    """Return one event of a stream; JSON has no line breaks of its own."""
    head = f"id: {id_}\nevent: {kind}\n" if id_ is not None else f"event: {kind}\n"
    return b"%bdata: %b\n\n" % (head.encode(), data)


def position(field: str, text: str | None) -> tuple[int, int] | None:
    """Return the pair that `attempt.n` means. Raises Invalid."""
    if text is None:
        return None
    found = _POSITION.fullmatch(text)
    if found is None:
        raise Invalid(field, f"{text!r} is not like 1.0 (attempt and piece)")
    return int(found[1]), int(found[2])


async def event_frames(
    service: Service, after: int | None, owner: str | None, job: str | None, every_s: float
) -> AsyncIterator[bytes]:
    """Yield every event from after `after` on, or from now on. A batch that many get is worded once."""
    yield BEGIN
    async for batch in service.feed.events(after, owner=owner, job=job, every_s=every_s):
        if batch.worded is None:
            batch.worded = _reset(batch) if batch.reset else b"".join([_event_frame(event) for event in batch]) or ALIVE
        yield batch.worded


@lru_cache(maxsize=4096)  # the same event goes to readers with different filters
def _event_frame(event: Event) -> bytes:
    return frame(event.kind, _encode(event_view(event)), str(event.seq))


def _reset(batch: Batch) -> bytes:
    return frame("reset", _encode({"why": batch.reset}), str(batch.last))


async def log_events(
    service: Service, job: str, after: tuple[int, int] | None, attempt: int | None
) -> AsyncIterator[bytes]:
    """Yield a job's output as it comes, and an `end` when the job is over."""
    yield BEGIN
    async for batch in service.feed.logs(job, after, attempt):
        yield b"".join([frame("log", _encode(log_view(c)), f"{c.attempt}.{c.n}") for c in batch]) or ALIVE
    found = await service.jobs.get(job)
    yield frame("end", _encode({"state": found.state}))


async def log_texts(
    service: Service, job: str, after: tuple[int, int] | None, attempt: int | None, *, follow: bool
) -> AsyncIterator[bytes]:
    """Yield a job's output as plain text: what there is, or until the job is over."""
    batches = service.feed.logs(job, after, attempt) if follow else _stored(service, job, after, attempt)
    async for batch in batches:
        text = "".join([chunk.text for chunk in batch])
        if text:
            yield text.encode()


async def _stored(
    service: Service, job: str, after: tuple[int, int] | None, attempt: int | None
) -> AsyncIterator[list[LogChunk]]:
    while True:
        chunks = await service.jobs.logs(job, attempt=attempt, after=after, limit=_PAGE)
        yield chunks
        if len(chunks) < _PAGE:
            return
        after = chunks[-1].attempt, chunks[-1].n


async def result_lines(
    service: Service, job: str, after: int, limit: int | None, *, bad: bool, follow: bool
) -> AsyncIterator[bytes]:
    """Yield lines of NDJSON, one for each input that is over; with `follow` until all are, without a gap."""
    left = limit if limit is not None else 1 << 62
    async for batch in service.feed.results(job, after, bad=bad, follow=follow):
        lines = batch[:left]
        left -= len(lines)
        yield b"".join([_encode(result_view(line.input, line.outcome)) + b"\n" for line in lines])
        if left <= 0:
            return
