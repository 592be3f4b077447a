"""Pull workers: any program that can call HTTP registers, asks for tasks, runs them and says how they ended.

All of it is found at the root and under `/scheduler`. Errors are `{"detail": …}`: a text, or for wrong input a list of
`{loc, msg, type}`, as clients of the original expect.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct, structs
from starlette.types import Send

from rota.core.access import Who
from rota.core.errors import Invalid, NotFound, RotaError
from rota.core.jobs import NO_ARGS, NULL, Job, Submission
from rota.core.states import Outcome, State
from rota.core.times import SECOND, rfc3339
from rota.http.apis.forms import json_body
from rota.http.apis.naming import named
from rota.http.apis.states import words
from rota.http.operations import MAX_WAIT_S, Call, NoBody, Operation
from rota.http.parsing import check_raw
from rota.http.problems import PROBLEMS, Problem, Refusal, Refusals
from rota.http.replies import Headers, Reply, json_reply
from rota.http.waiting import ClientGone
from rota.service.access import PullFor
from rota.service.pull import PullWorker, Taken, client_name

CANCELED = b"rota-canceled"
_MOST_IN_HEADER = 100  # ids of canceled tasks; a heartbeat's answer names all
_OUTCOMES = {
    "COMPLETED": Outcome.SUCCEEDED,
    "FAILED": Outcome.ERRORED,
    "TIMED_OUT": Outcome.TIMED_OUT,
    "CANCELED": Outcome.ABORTED,
}
_NAMES = {"function": "func_name", "data": "kwargs", "after": "dependencies", "retries": "max_retries"}  # ours: theirs
_OF_PATH = {"worker_id": "path.worker_id"}
_PART = re.compile(r"[^.\[\]]+")


class Wrong(Struct, frozen=True):
    """What is wrong with the input: where (`body`, `query` or `path`, and the field), a sentence, and a word for it."""

    loc: list[str | int]
    msg: str
    type: str


class DetailView(Struct, frozen=True):
    """Why a request failed."""

    detail: str | list[Wrong]


def _detail(problem: Problem) -> DetailView:
    if problem.status != PROBLEMS["invalid"][0]:
        return DetailView(problem.detail)
    if problem.field is None:
        return DetailView([Wrong(["body"], problem.detail, "json_invalid")])
    parts = _PART.findall(problem.field) or [problem.field]  # a name may be nothing but dots
    path: list[str | int] = [int(part) if part.isdecimal() else part for part in parts]
    if path[0] not in ("body", "path", "query"):
        path.insert(0, "query" if path[0] == "wait" else "body")
    message = problem.detail.removeprefix(f"{problem.field}: ")
    return DetailView([Wrong(path, message, "missing" if message == "is required" else "value_error")])


REFUSALS = Refusals(view=DetailView, render=_detail, invalid=422, malformed=422)


class AnyQuery(Struct, frozen=True):
    """No parameters; others are ignored."""


class TakeQuery(Struct, frozen=True):
    """`wait`: seconds to wait for a task, at most 60."""

    wait: Annotated[float, Meta(ge=0, le=MAX_WAIT_S)] = 0.0


class Registration(Struct, frozen=True):
    """What a worker can run: the names of its functions (none: every task), and how many tasks it takes at once."""

    functions: list[str] | None = None
    slots: int | None = None


class PullTask(Struct, frozen=True):
    """A task to run. `args` is a list, `kwargs` an object; `timeout` is in seconds; `dependencies` are ids of tasks."""

    func_name: str
    args: Raw = NO_ARGS
    kwargs: Raw = NULL
    priority: int = 0
    dependencies: list[str] | None = None
    timeout: float | None = None
    max_retries: int | None = None


class PullReport(Struct, frozen=True):
    """How a task ended. Without `worker_id` its holder is meant; `attempt`, when it is given, must be the task's."""

    task_id: str
    status: Literal["COMPLETED", "FAILED", "TIMED_OUT", "CANCELED"]
    result: Raw = NULL
    error_message: str | None = None
    worker_id: str | None = None
    attempt: int | None = None


class DoneView(Struct, frozen=True):
    """What was done."""

    message: str


class BeatView(Struct, frozen=True):
    """The answer to a heartbeat: `canceled` are the tasks that this worker must stop."""

    message: str
    canceled: list[str]


class AddedView(Struct, frozen=True):
    """A new task."""

    message: str
    task_id: str


class StandingView(Struct, frozen=True):
    """What became of a task: its status from now on."""

    message: str
    task_id: str
    status: str


class PullTaskView(Struct, kw_only=True):
    """A task. `attempt` may be echoed with its end; `retries` of `max_retries` have been made after failures."""

    task_id: str
    attempt: int
    func: str
    args: Raw
    kwargs: Raw
    priority: int
    dependencies: list[str]
    status: str
    created_at: str
    started_at: str | None
    completed_at: str | None
    worker_id: str | None
    timeout: int | float | None
    retries: int
    max_retries: int
    result: Raw
    error_message: str | None


class PullWorkerView(Struct, kw_only=True):
    """A worker that is there. `last_heartbeat` is in seconds since 1970; `running` are the tasks that it holds."""

    status: str
    last_heartbeat: float
    functions: list[str]
    slots: int | None
    running: list[str]


class PullStatusView(Struct, kw_only=True):
    """All tasks by status, and all workers by id."""

    total_tasks: int
    tasks_by_status: dict[str, int]
    active_workers: int
    worker_details: dict[str, PullWorkerView]


def status_of(job: Job) -> str:
    """Return a task's status. One whose cancellation was asked for is CANCELED, before its worker has ended it too."""
    if job.state is State.RUNNING and job.abort_requested_at is not None:
        return "CANCELED"
    return words(job).c


def task_view(job: Job) -> PullTaskView:
    """Render a task."""
    max_retries = (job.max_failures or 1) - 1
    timeout = job.timeout_s
    completed_at = job.abort_requested_at or job.finished_at
    return PullTaskView(
        task_id=job.id,
        attempt=job.attempt,
        func=job.handler or "",
        args=job.args,
        kwargs=job.data,
        priority=job.priority,
        dependencies=job.after,
        status=status_of(job),
        created_at=rfc3339(job.submitted_at),
        started_at=None if job.started_at is None else rfc3339(job.started_at),
        completed_at=None if completed_at is None else rfc3339(completed_at),
        worker_id=None if job.worker is None else client_name(job.worker),
        timeout=int(timeout) if timeout is not None and timeout.is_integer() else timeout,
        retries=min(job.failures, max_retries),
        max_retries=max_retries,
        result=NULL if job.result is None else job.result,
        error_message=None if job.error is None else job.error.message,
    )


async def register_worker(call: Call[AnyQuery, Registration]) -> Reply:
    """Make a worker known; again is fine, and it keeps what it holds. Without a body it is offered every task."""
    body = call.body
    with named(_OF_PATH):
        await call.pull.register(call.id, body.functions or [], body.slots)
    return json_reply(DoneView(f"worker {call.id} is registered"))


async def heartbeat(call: Call[AnyQuery, NoBody]) -> Reply:
    """Keep a worker's tasks, and hear which of them it must stop. Expected every 5 seconds."""
    canceled = await call.pull.heartbeat(call.id)
    return json_reply(BeatView(f"worker {call.id} was heard", canceled))


async def unregister_worker(call: Call[AnyQuery, NoBody]) -> Reply:
    """Forget a worker; what it runs goes back to the queue at once."""
    await call.pull.unregister(call.id)
    return json_reply(DoneView(f"worker {call.id} is no longer registered"))


async def add_task(call: Call[AnyQuery, PullTask]) -> Reply:
    """Submit a task. The answer is sent when it is durable."""
    task = call.body
    args = NO_ARGS if task.args == NULL else task.args
    kwargs = Raw(b"{}") if task.kwargs == NULL else task.kwargs
    check_raw(args, "args")
    check_raw(kwargs, "kwargs")
    if not bytes(kwargs).lstrip().startswith(b"{"):
        raise Invalid("kwargs", "is an object")
    submission = Submission(
        handler=task.func_name, args=args, data=kwargs, priority=task.priority, after=[*(task.dependencies or ())],
        timeout=task.timeout, retries=task.max_retries,
    )  # fmt: skip
    try:
        with named(_NAMES):
            job = await call.pull.add(submission)
    except NotFound as error:
        return json_reply(DetailView(f"dependencies: {error}"), 400)
    return json_reply(AddedView("the task was added", job.id), 201)


async def get_task(call: Call[TakeQuery, NoBody]) -> Reply:
    """Take the first task in order, now RUNNING and leased to this worker; 204 when there is none.

    With `wait` the call stays open until there is one. It ends early when one of the worker's tasks is canceled: each
    answer names those that it must stop in the header `Rota-Canceled`, as a heartbeat's does in its body.
    """
    if call.scope["method"] == "HEAD":  # would take a task and show none
        raise Refusal("method-not-allowed", "get_task takes GET", headers=[(b"allow", b"GET")])
    pull = call.pull
    try:
        with named(_OF_PATH):
            taken: Taken = await call.wait(pull.take(call.id, call.query.wait))
    except ClientGone as gone:
        if gone.result is not None and gone.result.task is not None:
            await pull.give_back(call.id, gone.result.task)
        raise
    canceled = ",".join(taken.canceled[:_MOST_IN_HEADER]).encode()
    headers = [(CANCELED, canceled)] if canceled else None
    if taken.task is None:
        return Reply(204, headers=headers)
    return _Handed(call, taken.task, headers)


class _Handed(Reply):
    """A task on its way to its worker, which holds it from the moment that this is written."""

    __slots__ = ("_gone", "_pull", "_task", "_worker")

    def __init__(self, call: Call[TakeQuery, NoBody], task: Job, headers: Headers | None) -> None:
        whole = json_reply(task_view(task))
        super().__init__(200, whole.body, headers)
        self._pull: PullFor = call.pull
        self._worker = call.id
        self._task = task
        self._gone = call.scope["extensions"]["rota.gone"]

    async def send(self, send: Send) -> None:
        """Write the task; give it back if its worker is not there any more."""
        gone = self._gone()
        await super().send(send)
        with suppress(RotaError):  # the store is away: the lease has an end of its own
            await (self._pull.give_back if gone else self._pull.deliver)(self._worker, self._task)


async def task_status(call: Call[AnyQuery, PullReport]) -> Reply:
    """Say how a task ended. COMPLETED and CANCELED are the end; FAILED and TIMED_OUT when no retry is left."""
    body = call.body
    check_raw(body.result, "result")
    ended = await call.pull.report(
        body.task_id, _OUTCOMES[body.status], result=body.result, error=body.error_message, worker=body.worker_id,
        attempt=body.attempt,
    )  # fmt: skip
    return json_reply(StandingView(f"noted: {body.status}", ended.id, status_of(ended)))


async def cancel_task(call: Call[AnyQuery, NoBody]) -> Reply:
    """Cancel a task. A pending one never runs; of a running one the worker is told, and no result is taken any more."""
    job = await call.pull.cancel(call.id)
    told = "; its worker is told to stop" if job.state is State.RUNNING else ""
    return json_reply(StandingView(f"task {job.id} is canceled{told}", job.id, status_of(job)))


async def status(call: Call[AnyQuery, NoBody]) -> Reply:
    """Count tasks by status, and show the workers."""
    overview = await call.service.pull.overview()
    tasks = overview.tasks
    by_status = {
        "PENDING": tasks[State.BLOCKED] + tasks[State.SCHEDULED] + tasks[State.QUEUED],
        "RUNNING": tasks[State.RUNNING] - overview.canceled,
        "COMPLETED": tasks[State.SUCCEEDED],
        "FAILED": tasks[State.FAILED] - overview.timed_out,
        "TIMED_OUT": overview.timed_out,
        "CANCELED": tasks[State.ABORTED] + tasks[State.CANCELED] + overview.canceled,
    }
    workers = {worker.name: _worker_view(worker) for worker in overview.workers}
    return json_reply(
        PullStatusView(
            total_tasks=sum(tasks.values()), tasks_by_status=by_status, active_workers=len(workers),
            worker_details=workers,
        )
    )  # fmt: skip


def _worker_view(worker: PullWorker) -> PullWorkerView:
    row = worker.row
    return PullWorkerView(
        status="DRAINING" if row.draining else "ACTIVE",
        last_heartbeat=row.beat_at / SECOND,
        functions=[spec.name for spec in row.hello.handlers],
        slots=row.hello.max_jobs,
        running=[lease.job for lease in worker.running],
    )


_TAG = "pull-workers"
_AT_ROOT: list[Operation[Any, Any]] = [
    Operation(
        method="GET", path="/get_task/{worker_id}", function=get_task, summary="Take a task", tag=_TAG, who=Who.WORKERS,
        query=TakeQuery, body=NoBody, answers={200: PullTaskView, 204: None}, refusals=REFUSALS,
    ),
    Operation(
        method="POST", path="/task_status", function=task_status, summary="Say how a task ended", tag=_TAG,
        who=Who.WORKERS, query=AnyQuery, body=PullReport, answers={200: StandingView}, problems=(404, 409), texts=False,
        parse=json_body(PullReport), refusals=REFUSALS,
    ),
    Operation(
        method="PUT", path="/heartbeat/{worker_id}", function=heartbeat, summary="Show that a worker is alive", tag=_TAG,
        who=Who.WORKERS, query=AnyQuery, body=NoBody, answers={200: BeatView}, problems=(404,), refusals=REFUSALS,
    ),
    Operation(
        method="POST", path="/register_worker/{worker_id}", function=register_worker, summary="Register a worker",
        tag=_TAG, who=Who.WORKERS, audited=True, query=AnyQuery, body=Registration, answers={200: DoneView},
        optional=True, parse=json_body(Registration), refusals=REFUSALS,
    ),
    Operation(
        method="DELETE", path="/unregister_worker/{worker_id}", function=unregister_worker, summary="Unregister a worker",
        tag=_TAG, who=Who.WORKERS, audited=True, query=AnyQuery, body=NoBody, answers={200: DoneView}, problems=(404,),
        refusals=REFUSALS,
    ),
    Operation(
        method="POST", path="/add_task", function=add_task, summary="Submit a task", tag=_TAG, who=Who.OWNERS,
        query=AnyQuery, body=PullTask, answers={201: AddedView}, problems=(400,), parse=json_body(PullTask),
        refusals=REFUSALS,
    ),
    Operation(
        method="POST", path="/cancel_task/{task_id}", function=cancel_task, summary="Cancel a task", tag=_TAG,
        who=Who.OWNERS, query=AnyQuery, body=NoBody, answers={200: StandingView}, problems=(404, 409), refusals=REFUSALS,
    ),
    Operation(
        method="GET", path="/status", function=status, summary="Count tasks and show workers", tag=_TAG, who=Who.ADMINS,
        query=AnyQuery, body=NoBody, answers={200: PullStatusView}, refusals=REFUSALS,
    ),
]  # fmt: skip
OPERATIONS: list[Operation[Any, Any]] = [
    *_AT_ROOT,
    *(structs.replace(operation, path="/scheduler" + operation.path) for operation in _AT_ROOT),
]
