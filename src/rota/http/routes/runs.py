"""`/v1/runs`: workflows that are submitted, looked at, aborted and run again as a whole."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from rota.core.access import Who
from rota.core.runs import (
    ID_PREFIX,
    GraphView,
    Run,
    RunSubmission,
    RunView,
    SubmittedRunView,
    run_view,
    submitted_view,
)
from rota.core.states import State
from rota.core.wire import Page
from rota.http.operations import BATCH_LIMIT, Call, NoBody, NoQuery, Operation
from rota.http.replies import Reply, json_reply
from rota.http.routes.filters import Limit, check_cursor
from rota.http.routes.jobs import SubmitQuery, WaitQuery, check_submission, page_reply
from rota.service.dry_runs import DryRun
from rota.service.run_access import RunsFor
from rota.store.run_rows import RunQuery

_RunState = Literal["running", "succeeded", "failed", "aborted", "canceled"]


class RunsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters of a listing; all must hold."""

    state: _RunState | None = None
    owner: str | None = None
    name: str | None = None
    limit: Limit = 100
    cursor: str | None = None


class GraphQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`limit`: how many jobs; `cursor`: where the part before has ended."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000
    cursor: str = ""


def _runs(call: Call[Any, Any]) -> RunsFor:
    return RunsFor(call.service.runs, call.caller, call.traceparent)


def _submitted(made: tuple[Run, dict[str, str]]) -> Reply:
    run, jobs = made
    return json_reply(submitted_view(run, jobs), 201, [(b"location", b"/v1/runs/" + run.id.encode())])


async def submit(call: Call[SubmitQuery, RunSubmission]) -> Reply:
    """Submit a workflow, all of it or nothing: up to 10,000 jobs that wait for each other. It has an id of its own.

    200: it was a dry run.
    """
    for at, submission in enumerate(call.body.jobs):
        check_submission(submission, f"jobs[{at}].")
    if call.query.dry_run:
        return json_reply(await _runs(call).dry_run(call.body, key=call.key))
    made = await _runs(call).submit(call.body, key=call.key)
    call.target = made[0].id
    return _submitted(made)


async def find(call: Call[RunsQuery, NoBody]) -> Reply:
    """List runs, newest first. A page may be short, or empty, and yet have a next one."""
    query = call.query
    check_cursor(query.cursor, prefix=ID_PREFIX)
    found, cursor = await _runs(call).find(
        RunQuery(
            state=None if query.state is None else State(query.state), owner=query.owner, name=query.name,
            cursor=query.cursor, limit=query.limit,
        )
    )  # fmt: skip
    return page_reply(call, [run_view(run) for run in found], cursor)


async def get(call: Call[WaitQuery, NoBody]) -> Reply:
    """Show a run, with `wait` when it is over or the time is up. Its jobs: `GET /v1/jobs?run=…`."""
    runs = _runs(call)
    run = await (call.wait(runs.wait(call.id, call.query.wait)) if call.query.wait > 0 else runs.get(call.id))
    return json_reply(run_view(run))


async def graph(call: Call[GraphQuery, NoBody]) -> Reply:
    """Show a run's jobs, the first first, and what they wait for: a part at a time.

    An edge's `from` may be a job of another part, or one that stands of an earlier run, which is shown too.
    """
    check_cursor(call.query.cursor)
    return json_reply(await _runs(call).graph(call.id, call.query.cursor, call.query.limit))


async def abort(call: Call[WaitQuery, NoBody]) -> Reply:
    """Stop a run: what waits is canceled, what runs aborted. 200 when it has ended, 202 when not yet.

    The request is durable before it is answered. With `wait`, waits for the end.
    """
    runs = _runs(call)
    run = await runs.abort(call.id)
    if run.finished_at is None and call.query.wait > 0:
        run = await call.wait(runs.wait(call.id, call.query.wait))
    return json_reply(run_view(run), 202 if run.finished_at is None else 200)


async def retry(call: Call[NoQuery, NoBody]) -> Reply:
    """Run again, as a new run whose `retry_of` is the old one, what has not succeeded in it. What has succeeded stands."""
    return _submitted(await _runs(call).retry(call.id, key=call.key))


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="POST", path="/v1/runs", function=submit, summary="Submit a workflow", tag="runs", who=Who.OWNERS,
        query=SubmitQuery, body=RunSubmission, answers={201: SubmittedRunView, 200: DryRun}, keyed=True, limit=BATCH_LIMIT,
    ),
    Operation(
        method="GET", path="/v1/runs", function=find, summary="List runs", tag="runs", who=Who.OWNERS,
        query=RunsQuery, body=NoBody, answers={200: Page[RunView]},
    ),
    Operation(
        method="GET", path="/v1/runs/{id}", function=get, summary="Show a run", tag="runs", who=Who.OWNERS,
        query=WaitQuery, body=NoBody, answers={200: RunView}, problems=(404,),
    ),
    Operation(
        method="GET", path="/v1/runs/{id}/graph", function=graph, summary="Show the graph of a run", tag="runs",
        who=Who.OWNERS, query=GraphQuery, body=NoBody, answers={200: GraphView}, problems=(404,),
    ),
    Operation(
        method="POST", path="/v1/runs/{id}/abort", function=abort, summary="Stop a run", tag="runs", who=Who.OWNERS,
        query=WaitQuery, body=NoBody, answers={200: RunView, 202: RunView}, problems=(404, 409),
    ),
    Operation(
        method="POST", path="/v1/runs/{id}/retry", function=retry, summary="Run again what has not succeeded", tag="runs",
        who=Who.OWNERS, query=NoQuery, body=NoBody, answers={201: SubmittedRunView}, problems=(404, 409), keyed=True,
    ),
]  # fmt: skip
