"""User tasks with abort: `GET /{userId}`, `POST /`, `DELETE /`.

A task is a job of the handler that it names, and its `uid` is the job's owner. An abort is answered once it is durable; the
task says `running` until its processes have ended, and `aborted` from then on. One that is over stays as it is.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from msgspec import Raw, Struct

from rota.core.access import Who
from rota.core.errors import Conflict, Invalid, NotFound
from rota.core.jobs import Job, Submission
from rota.core.times import rfc3339
from rota.http.apis.forms import json_body
from rota.http.apis.naming import named
from rota.http.apis.states import words
from rota.http.operations import AnyQuery, Call, NoBody, Operation
from rota.http.parsing import check_raw
from rota.http.problems import Refusals
from rota.http.replies import Reply, json_reply
from rota.http.routes.filters import check_cursor
from rota.service.admission import check_name
from rota.store.protocol import Query

API = "a"
PAGE = 1000
_TEXT = "text/plain"
_ABSENT = Raw(b"")
_NAMES = {"owner": "uid", "handler": "task"}  # ours: theirs

Id = str | int | float  # of a user: compared as a text


class ErrView(Struct, frozen=True):
    """Why a request failed."""

    err: str


REFUSALS = Refusals(view=ErrView, render=lambda problem: ErrView(problem.detail), media=("application/json", _TEXT))


class NewUserTask(Struct, frozen=True):
    """A task to run: all but `hook` are required. `data` is any JSON, for the handler; `hook` is called at the end."""

    uid: Id | None = None
    task: str | None = None
    data: Raw = _ABSENT
    hook: str | None = None


class UserTask(Struct, frozen=True):
    """A task of a user."""

    uid: Id | None = None
    id: str | None = None


class TargetQuery(Struct, frozen=True):
    """The same as the body's members, for those whose proxies drop bodies."""

    uid: str | None = None
    id: str | None = None


class PageQuery(Struct, frozen=True):
    """`after`: the last task of the page before, as the `Link` header gives it."""

    after: str | None = None


class UserTaskView(Struct, kw_only=True):
    """A task. `webhook` is the same as `hook`."""

    id: str
    uid: str
    status: str
    task: str | None
    data: Raw
    hook: str | None
    webhook: str | None
    createdAt: str  # noqa: N815  # their name
    updatedAt: str  # noqa: N815


class SubmittedView(Struct, frozen=True):
    """The id of a new task."""

    id: str


class AbortedView(Struct, frozen=True):
    """How many tasks were found, and told to stop."""

    n: int


def user_task_view(job: Job) -> UserTaskView:
    """Render a job as a task."""
    changes = (job.submitted_at, job.started_at, job.abort_requested_at, job.finished_at)
    return UserTaskView(
        id=job.id,
        uid=job.owner,
        status=words(job).a,
        task=job.handler,
        data=job.data,
        hook=job.hook,
        webhook=job.hook,
        createdAt=rfc3339(job.submitted_at),
        updatedAt=rfc3339(max(at for at in changes if at is not None)),
    )


async def submit(call: Call[AnyQuery, NewUserTask]) -> Reply:
    """Submit a task. The answer is sent when it is durable."""
    new = call.body
    if new.uid in (None, "") or new.task in (None, "") or new.data == _ABSENT:
        return Reply(400, b"Request Missing Parameters", media=b"text/plain; charset=utf-8")
    check_raw(new.data, "data")
    task = Submission(handler=new.task, data=new.data, owner=_uid(new.uid), hook=new.hook or None)
    with named(_NAMES):
        job = await call.jobs.submit(task, key=call.key, api=API)
    return json_reply(SubmittedView(job.id))


async def abort(call: Call[TargetQuery, UserTask]) -> Reply:
    """Stop a task: one that waits never runs, a running one is ended. The request is durable before it is answered."""
    uid = call.query.uid if call.body.uid is None else call.body.uid
    task = call.query.id if call.body.id is None else call.body.id
    if uid is None or task is None:
        raise Invalid("uid" if uid is None else "id", "is required")
    call.target = task
    call.jobs.check_owner(_uid(uid), "uid")
    try:
        job = await call.jobs.get(task)
        if (job.api, job.owner) != (API, _uid(uid)):
            raise NotFound(task)
        await call.jobs.abort(task)
    except NotFound:
        raise Invalid("", "Task not found for this user") from None
    except Conflict:  # it is over: nothing is left to stop, and asking again is no error
        pass
    return json_reply(AbortedView(1))


async def tasks(call: Call[PageQuery, NoBody]) -> Reply:
    """List a user's tasks: the newest 1,000, and a `Link` to the rest. A user without any has an empty list.

    A name that is a route's (`/jobs`) is listed under `/users/`.
    """
    return await _tasks(call)


async def tasks_of(call: Call[PageQuery, NoBody]) -> Reply:
    """List a user's tasks, whatever the user's name is."""
    return await _tasks(call)


async def _tasks(call: Call[PageQuery, NoBody]) -> Reply:
    uid = call.id
    try:
        check_name("uid", uid, "")
    except Invalid:  # nobody is called so
        return json_reply([])
    call.jobs.check_owner(uid, "uid")
    check_cursor(call.query.after, "after")
    found, cursor = await call.jobs.find(Query(api=API, owner=uid, cursor=call.query.after, limit=PAGE))
    link = [(b"link", f'</users/{quote(uid)}?after={cursor}>; rel="next"'.encode())] if cursor else None
    return json_reply([user_task_view(job) for job in found], headers=link)


def _uid(given: Id | None) -> str:
    """Return a user's id as a text; 1.0 is 1, as it is to the clients of this API."""
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    return str(given)


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="POST", path="/", function=submit, summary="Submit a task", tag="user-tasks", who=Who.OWNERS,
        query=AnyQuery, body=NewUserTask, answers={200: SubmittedView}, keyed=True, parse=json_body(NewUserTask),
        refusals=REFUSALS,
    ),
    Operation(
        method="DELETE", path="/", function=abort, summary="Stop a task", tag="user-tasks", who=Who.OWNERS,
        query=TargetQuery, body=UserTask, answers={200: AbortedView}, optional=True, parse=json_body(UserTask),
        refusals=REFUSALS,
    ),
    Operation(
        method="GET", path="/users/{id:path}", function=tasks_of, summary="List any user's tasks", tag="user-tasks",
        who=Who.OWNERS, query=PageQuery, body=NoBody, answers={200: list[UserTaskView]}, named=False, refusals=REFUSALS,
    ),
    Operation(
        method="GET", path="/{userId}", function=tasks, summary="List a user's tasks", tag="user-tasks", who=Who.OWNERS,
        query=PageQuery, body=NoBody, answers={200: list[UserTaskView]}, named=False, refusals=REFUSALS,
    ),
]  # fmt: skip
