"""`/v1/events`: everything that happens, as server-sent events."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from rota.core.access import Who
from rota.core.errors import Invalid
from rota.http.operations import Call, NoBody, Operation
from rota.http.replies import Stream
from rota.http.streams import EVENT_STREAM, event_frames

_MAX_SEQ = 2**62


class EventsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`after`: the number of the last event that is known already (without it: from now on); `owner`, `job`: only theirs;
    `every`: what happens within so many seconds comes together, of each job only the last event (0: all, at once).
    """

    after: Annotated[int, Meta(ge=0, le=_MAX_SEQ)] | None = None
    owner: str | None = None
    job: str | None = None
    every: Annotated[float, Meta(ge=0, le=60)] = 0.0


async def stream(call: Call[EventsQuery, NoBody]) -> Stream:
    """Stream changes of jobs as they are committed. `Last-Event-ID` resumes where a stream ended.

    `id` is the event's number, `event` its kind, `data` the event in JSON. A comment comes at least every 15 seconds.
    An event `reset` says that events are left out, or were pruned: look again at what they may have changed.
    """
    query, caller = call.query, call.caller
    call.jobs.check_owner(query.owner, "owner")
    after = _last_id(call.headers.get(b"last-event-id"))
    if after is None:
        after = query.after
    frames = event_frames(call.service, after, caller.owner or query.owner, query.job, query.every)
    return Stream(frames, EVENT_STREAM.encode())


def _last_id(header: bytes | None) -> int | None:
    if not header:
        return None
    if not header.isdigit() or len(header) > 19 or int(header) > _MAX_SEQ:
        raise Invalid("Last-Event-ID", "is the number of an event")
    return int(header)


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/v1/events", function=stream, summary="Stream what happens", tag="events", who=Who.OWNERS,
        query=EventsQuery, body=NoBody, answers={}, media=(EVENT_STREAM,),
    ),
]  # fmt: skip
