"""Master tasks: `POST /schedule/create`, `GET /schedule/status`, `GET /schedule/node-beat`, `GET /schedule/ping`.

A master task is an array: its script is the template with the variables filled in, its inputs are the task's, and a chunk
is one input. What the client gave (template and variables) is kept as the job's `variables`, to be given back as it was.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Raw, Struct

from rota.core.access import Who
from rota.core.errors import Invalid, NotFound, RotaError
from rota.core.jobs import Job, Submission
from rota.http.apis.filling import escaped, filled
from rota.http.apis.forms import FORMS, Pairs, form_body
from rota.http.apis.naming import named
from rota.http.apis.states import words
from rota.http.operations import BATCH_LIMIT, AnyQuery, Call, NoBody, Operation
from rota.http.parsing import decode, struct_of
from rota.http.problems import Problem, Refusals
from rota.http.replies import Reply, json_reply

API = "d"
# ours: theirs. The job's variables are what the client gave.
_NAMES = {"inputs": "inputList", "script": "templateFunction", "variables": "variableJson"}
_TEMPLATE, _VARIABLES = "templateFunction", "variableJson"
_object = msgspec.json.Decoder(dict[str, Any]).decode
_list = msgspec.json.Decoder(list[Raw]).decode


class FaultView(Struct, frozen=True, omit_defaults=True):
    """Why a request failed; `field` is the part of it that is wrong."""

    status: int
    error: str
    message: str
    field: str | None = None


def _fault_view(problem: Problem) -> FaultView:
    return FaultView(problem.status, HTTPStatus(problem.status).phrase, problem.detail, problem.field)


REFUSALS = Refusals(view=FaultView, render=_fault_view)


class StatusQuery(Struct, frozen=True):
    """`taskId`: of the task; required."""

    taskId: str | None = None  # noqa: N815  # their name


class NodeQuery(Struct, frozen=True):
    """`nodeId`: the name of the node; required."""

    nodeId: str | None = None  # noqa: N815  # their name


class NewMasterTask(Struct, frozen=True):
    """A task to run. `templateFunction` is a bash script, in which each `{{name}}` becomes its variable's text; it runs once
    for every item of `inputList`. `variableJson` is a JSON object of texts, as a text or as it is.
    """

    inputList: list[Raw]  # noqa: N815  # their names
    templateFunction: str  # noqa: N815
    variableJson: str | dict[str, Any] | None = None  # noqa: N815


class _Form(Struct, frozen=True):
    inputList: list[str]  # noqa: N815
    templateFunction: str  # noqa: N815
    variableJson: str | None = None  # noqa: N815


class MasterTaskView(Struct, kw_only=True):
    """A task. A chunk is an input; those that failed are executed too."""

    id: str
    status: str
    inputList: Raw  # noqa: N815  # their names
    variableJson: str  # noqa: N815
    templateFunction: str  # noqa: N815
    chunksToExecute: int  # noqa: N815
    chunksExecuted: int  # noqa: N815


def submission_of(new: NewMasterTask) -> Submission:
    """Return the job of a master task. Raises Invalid."""
    if not new.inputList:
        raise Invalid("inputList", "is empty")
    if not new.templateFunction.strip():
        raise Invalid("templateFunction", "is empty")
    given = new.variableJson
    text = msgspec.json.encode(given).decode() if isinstance(given, dict) else given or "{}"
    return Submission(
        script=escaped(filled(new.templateFunction, _variables_of(text))),
        inputs=Raw(msgspec.json.encode(new.inputList)),
        variables={_TEMPLATE: new.templateFunction, _VARIABLES: text},
    )


def master_task_view(job: Job, inputs: Raw) -> MasterTaskView:
    """Render a job as a master task."""
    given, array = job.variables or {}, job.array
    assert array is not None, "what came through this API has inputs"
    return MasterTaskView(
        id=job.id,
        status=words(job).d,
        inputList=inputs,
        variableJson=str(given.get(_VARIABLES, "{}")),
        templateFunction=str(given.get(_TEMPLATE, job.script or "")),
        chunksToExecute=array.inputs,
        chunksExecuted=array.done,
    )


def _variables_of(text: str) -> dict[str, str]:
    """Read `variableJson`. Raises Invalid."""
    try:
        variables = _object(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Invalid("variableJson", f"is no JSON object: {error}") from None
    for name, value in variables.items():
        if not isinstance(value, str):
            raise Invalid(f"variableJson.{name}", "is no text")
    return variables


def of_form(pairs: Pairs) -> NewMasterTask:
    """Read a form: the inputs are its repeated fields, or its one field, a JSON array or a list with commas."""
    given = struct_of(pairs, _Form, frozenset({"inputList"}))
    texts = given.inputList
    if len(texts) == 1:
        text = texts[0].strip()
        if text.startswith("["):
            try:
                return NewMasterTask(decode(_list, text.encode()), given.templateFunction, given.variableJson)
            except RotaError as error:
                raise Invalid("inputList", f"begins like a JSON array, and is none: {error}") from None
        texts = [part.strip() for part in text.split(",")] if text else []
    return NewMasterTask([Raw(msgspec.json.encode(text)) for text in texts], given.templateFunction, given.variableJson)


async def create(call: Call[AnyQuery, NewMasterTask]) -> Reply:
    """Submit a master task. The answer is sent when it is durable."""
    submission = submission_of(call.body)
    with named(_NAMES):
        job = await call.jobs.submit(submission, key=call.key, api=API)
    return json_reply(master_task_view(job, submission.inputs), 202)


async def status(call: Call[StatusQuery, NoBody]) -> Reply:
    """Show a master task as it stands."""
    task = call.query.taskId
    if not task:
        raise Invalid("taskId", "is required")
    try:
        job = await call.jobs.get(task)
        if job.api != API:
            raise NotFound(task)
        inputs = await call.jobs.inputs(task)
    except NotFound:
        raise NotFound(f"there is no task {task!r}") from None
    return json_reply(master_task_view(job, inputs), 202)


async def node_beat(call: Call[NodeQuery, NoBody]) -> Reply:
    """Say that a node lives: it counts as a worker, which takes no jobs, for one lease from now on."""
    node = call.query.nodeId
    if not node:
        raise Invalid("nodeId", "is required")
    await call.service.nodes.beat(node)
    return json_reply(True, 202)


async def ping(_: Call[AnyQuery, NoBody]) -> Reply:
    """Say that the server is alive."""
    return Reply(200, b"Scheduler Service Status :  [Running]", media=b"text/plain; charset=utf-8")


OPERATIONS: list[Operation[Any, Any]] = [
    Operation(
        method="POST", path="/schedule/create", function=create, summary="Submit a master task", tag="master-tasks",
        who=Who.OWNERS, query=AnyQuery, body=NewMasterTask, answers={202: MasterTaskView}, keyed=True,
        limit=BATCH_LIMIT, takes=FORMS,
        parse=form_body(NewMasterTask, convert=of_form), refusals=REFUSALS,
    ),
    Operation(
        method="GET", path="/schedule/status", function=status, summary="Show a master task", tag="master-tasks",
        who=Who.OWNERS, query=StatusQuery, body=NoBody, answers={202: MasterTaskView}, problems=(404,), refusals=REFUSALS,
    ),
    Operation(
        method="GET", path="/schedule/node-beat", function=node_beat, summary="Say that a node lives", tag="master-tasks",
        who=Who.WORKERS, query=NodeQuery, body=NoBody, answers={202: bool}, refusals=REFUSALS,
    ),
    Operation(
        method="GET", path="/schedule/ping", function=ping, summary="Alive?", tag="master-tasks", who=Who.ANYONE,
        query=AnyQuery, body=NoBody, answers={}, media=("text/plain",), refusals=REFUSALS,
    ),
]  # fmt: skip
