"""`/v1/workers`: all that a worker in any language needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta, Struct

from rota.core.access import Who
from rota.core.checkpoints import CheckpointNote
from rota.core.errors import Invalid
from rota.core.jobs import (
    Free,
    Held,
    HookCall,
    InputReport,
    Lease,
    LogChunk,
    Orders,
    ProgressNote,
    Report,
    Settled,
    Welcome,
    WorkerHello,
)
from rota.core.states import Outcome
from rota.core.times import MAX_DELAY_S
from rota.core.wire import Page
from rota.http.operations import BATCH_LIMIT, MAX_WAIT_S, Call, NoBody, NoQuery, Operation
from rota.http.parsing import check_raw
from rota.http.replies import Reply, json_reply
from rota.http.views import WorkerView, worker_view
from rota.http.waiting import ClientGone

_MAX_NUMBER = 2**31
_NOTHING = Reply(204)
Wait = Annotated[float, Meta(ge=0, le=MAX_WAIT_S)]


class Heartbeat(Struct, frozen=True, forbid_unknown_fields=True):
    """Names every attempt that the worker holds; a lease that is not named is not renewed."""

    held: list[Held]


class Claim(Struct, frozen=True, forbid_unknown_fields=True):
    """Asks for at most `free` jobs (a number: of any kind), and waits up to `wait` seconds for the first one."""

    free: Free | Annotated[int, Meta(ge=0)]
    wait: Wait = 0.0


class Claimed(Struct, frozen=True):
    """The jobs that the worker is to run now."""

    leases: list[Lease]


class Watch(Struct, frozen=True, forbid_unknown_fields=True):
    """Waits up to `wait` seconds for orders."""

    wait: Wait = 0.0


class Reports(Struct, frozen=True, forbid_unknown_fields=True):
    """How attempts ended."""

    reports: list[Report]


class SettledReports(Struct, frozen=True):
    """What became of each report, in their order."""

    settled: list[Settled]


class Output(Struct, frozen=True, forbid_unknown_fields=True):
    """What attempts have written, how far they are, calls of their hooks, ends of inputs, what they leave for the next one."""

    logs: list[LogChunk] = []
    progress: list[ProgressNote] = []
    hooks: list[HookCall] = []
    results: list[InputReport] = []
    checkpoints: list[CheckpointNote] = []


async def register(call: Call[NoQuery, WorkerHello]) -> Reply:
    """Make a worker known. Each call makes a new worker with a new id: one boot, one id."""
    return json_reply(await call.work.register(call.body), 201)


async def heartbeat(call: Call[NoQuery, Heartbeat]) -> Reply:
    """Renew the leases that are named; hear what to abort, what is lost, and whether to drain."""
    return json_reply(await call.work.heartbeat(call.id, call.body.held))


async def claim(call: Call[NoQuery, Claim]) -> Reply:
    """Take jobs: the highest priority first, then the oldest. An empty list says that there was none."""
    work, wait, free = call.work, call.body.wait, call.body.free
    if isinstance(free, int):
        free = Free(process=free, asynchronous=free, total=free)
    if wait <= 0:
        return json_reply(Claimed(await work.claim(call.id, free, 0.0)))
    try:
        return json_reply(Claimed(await call.wait(work.claim(call.id, free, wait))))
    except ClientGone as gone:
        if gone.result:  # taken, but nobody is there to run them
            taken: list[Lease] = gone.result
            reports = [Report(job=lease.job, attempt=lease.attempt, outcome=Outcome.INTERRUPTED) for lease in taken]
            await work.settle(call.id, reports)
        raise


async def watch(call: Call[NoQuery, Watch]) -> Reply:
    """Wait for orders. A hint: heartbeats say it too."""
    return json_reply(await call.wait(call.work.watch(call.id, call.body.wait)))


async def report(call: Call[NoQuery, Reports]) -> Reply:
    """Record how attempts ended. What is not this worker's, or is over, changes nothing and is told so."""
    for at, each in enumerate(call.body.reports):
        where = f"reports[{at}]."
        check_raw(each.result, where + "result")
        _check_end(each, where)
    return json_reply(SettledReports(await call.work.settle(call.id, call.body.reports)))


async def tell(call: Call[NoQuery, Output]) -> Reply:
    """Store output, progress, hook calls, ends of inputs and checkpoints of attempts that this worker holds, no others.

    What is told twice counts once. An input of a shard whose end was not told before the shard's report runs again.
    """
    body = call.body
    _check_attempts("logs", body.logs)
    _check_attempts("progress", body.progress)
    _check_attempts("hooks", body.hooks)
    for at, each in enumerate(body.hooks):
        check_raw(each.data, f"hooks[{at}].data")
    _check_attempts("results", body.results)
    for at, result in enumerate(body.results):
        _check_result(result, f"results[{at}].")
    _check_attempts("checkpoints", body.checkpoints)
    for at, note in enumerate(body.checkpoints):
        check_raw(note.value, f"checkpoints[{at}].value")
    await call.work.tell(call.id, body.logs, body.progress, body.hooks, body.results, checkpoints=body.checkpoints)
    return _NOTHING


def _check_result(result: InputReport, where: str) -> None:
    if not 0 <= result.index < _MAX_NUMBER:
        raise Invalid(where + "index", "is no number of an input")
    if not 0 <= result.duration_s <= MAX_DELAY_S:
        raise Invalid(where + "duration_s", "is between 0 and 100 years")
    check_raw(result.result, where + "result")
    _check_end(result, where)


def _check_end(end: Report | InputReport, where: str) -> None:
    if end.retry_in_s is not None and not 0 <= end.retry_in_s <= MAX_DELAY_S:
        raise Invalid(where + "retry_in_s", "is between 0 and 100 years")
    if end.exit_code is not None and not -_MAX_NUMBER <= end.exit_code < _MAX_NUMBER:
        raise Invalid(where + "exit_code", "is no exit code")


def _check_attempts(
    field: str, items: Iterable[LogChunk | ProgressNote | HookCall | InputReport | CheckpointNote]
) -> None:
    for at, item in enumerate(items):
        if not 0 <= item.attempt < _MAX_NUMBER:
            raise Invalid(f"{field}[{at}].attempt", "is no number of an attempt")


async def find(call: Call[NoQuery, NoBody]) -> Reply:
    """List all workers, those that are present first; those that are gone stay for an hour."""
    return json_reply(Page(items=[worker_view(info) for info in await call.service.workers()]))


async def get(call: Call[NoQuery, NoBody]) -> Reply:
    """Show a worker."""
    return json_reply(worker_view(await call.service.worker(call.id)))


async def drain(call: Call[NoQuery, NoBody]) -> Reply:
    """Ask a worker to take no more jobs, to finish what runs, and to leave."""
    await call.service.work.drain(call.id)
    return Reply(202, b"{}")


async def leave(call: Call[NoQuery, NoBody]) -> Reply:
    """Forget a worker. What it still holds goes back to the queue at once, uncharged."""
    await call.work.leave(call.id)
    return _NOTHING


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="POST", path="/v1/workers/{id}/report", function=report, summary="Report how attempts ended", tag="workers",
        who=Who.WORKERS, query=NoQuery, body=Reports, answers={200: SettledReports}, problems=(404,),
        limit=BATCH_LIMIT, texts=False,
    ),
    Operation(
        method="POST", path="/v1/workers/{id}/claim", function=claim, summary="Take jobs", tag="workers",
        who=Who.WORKERS, query=NoQuery, body=Claim, answers={200: Claimed}, problems=(404,),
    ),
    Operation(
        method="POST", path="/v1/workers/{id}/heartbeat", function=heartbeat, summary="Renew leases", tag="workers",
        who=Who.WORKERS, query=NoQuery, body=Heartbeat, answers={200: Orders}, problems=(404,), limit=BATCH_LIMIT,
    ),
    Operation(
        method="POST", path="/v1/workers/{id}/watch", function=watch, summary="Wait for orders", tag="workers",
        who=Who.WORKERS, query=NoQuery, body=Watch, answers={200: Orders}, problems=(404,),
    ),
    Operation(
        method="POST", path="/v1/workers/{id}/logs", function=tell, summary="Send output and progress", tag="workers",
        who=Who.WORKERS, query=NoQuery, body=Output, answers={204: None}, problems=(404,), limit=BATCH_LIMIT, texts=False,
    ),
    Operation(
        method="POST", path="/v1/workers", function=register, summary="Register a worker", tag="workers",
        who=Who.WORKERS, audited=True, query=NoQuery, body=WorkerHello, answers={201: Welcome},
    ),
    Operation(
        method="GET", path="/v1/workers", function=find, summary="List workers", tag="workers", who=Who.ADMINS,
        query=NoQuery, body=NoBody, answers={200: Page[WorkerView]},
    ),
    Operation(
        method="GET", path="/v1/workers/{id}", function=get, summary="Show a worker", tag="workers", who=Who.ADMINS,
        query=NoQuery, body=NoBody, answers={200: WorkerView}, problems=(404,),
    ),
    Operation(
        method="DELETE", path="/v1/workers/{id}", function=leave, summary="Leave", tag="workers",
        who=Who.WORKERS, audited=True, query=NoQuery, body=NoBody, answers={204: None}, problems=(404,),
    ),
    Operation(
        method="POST", path="/v1/workers/{id}/drain", function=drain, summary="Ask a worker to drain", tag="workers",
        who=Who.ADMINS, query=NoQuery, body=NoBody, answers={202: NoBody}, problems=(404,),
    ),
]  # fmt: skip
