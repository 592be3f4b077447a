"""The route tables as OpenAPI 3.1. Made once, when somebody asks: a start that makes it takes twice as long."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from rota.core.access import Who
from rota.http.guards import NDJSON
from rota.http.operations import FORBIDDEN, NoBody, Operation
from rota.http.parsing import list_fields
from rota.http.problems import PLAIN, PROBLEMS, Problem
from rota.http.schemas import schemas_of
from rota.http.streams import EVENT_STREAM

_OF_THE_GUARD = (403, 421)
_OF_THE_GATE = (401, 429)
_ALWAYS = (*_OF_THE_GUARD, 503)  # beside it the store
_WITH_BODY = (400, 413, 415)
_KEYED = (409, 422)
_DESCRIPTION = """Durable jobs, run and stopped.

Errors are problems (RFC 9457) with stable types. Times are RFC 3339, in UTC. Ids are opaque. Unknown members and
parameters are refused. Web pages from elsewhere are refused too."""
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token."},
    "basic": {"type": "http", "scheme": "basic", "description": "Any name, and a token as the password."},
}
_OPTIONAL_TOKEN: list[dict[str, list[str]]] = [
    {},
    {"bearer": []},
    {"basic": []},
]  # whether one is asked for, servers differ
_HEADERS = {
    "location": {"description": "Where it is.", "schema": {"type": "string"}},
    "link": {"description": 'The next page, with rel="next".', "schema": {"type": "string"}},
}


def describe(operations: Sequence[Operation[Any, Any]]) -> bytes:
    """Return the OpenAPI document of these operations, as JSON."""
    types: list[Any] = [Problem]
    for operation in operations:
        types += [operation.body, operation.query, operation.refusals.view]
        types += [kind for answer in operation.answers.values() for kind in _kinds(answer)]
    schemas, components = schemas_of(types)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.shown_path, {})[operation.method.lower()] = _describe(operation, schemas, components)
    used = {name: schema for name, schema in components.items() if not name.endswith("Query")}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Rota",
            "version": version("rota"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": used, "securitySchemes": _SCHEMES},
    }
    return msgspec.json.encode(document)


def _describe(operation: Operation[Any, Any], schemas: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    text = inspect.getdoc(operation.function) or ""
    described: dict[str, Any] = {
        "operationId": _name(operation),
        "summary": operation.summary,
        "description": text,
        "tags": [operation.tag],
        "parameters": _parameters(operation, schemas, components),
        "responses": _responses(operation, schemas),
    }
    if operation.who is not Who.ANYONE:
        described["security"] = _OPTIONAL_TOKEN
    if operation.takes_body:
        content = {media: {"schema": schemas[repr(operation.body)]} for media in operation.takes}
        if NDJSON in content:
            content[NDJSON] = {"schema": {"type": "string", "description": "One object a line."}}
        required = not operation.optional and operation.body is not NoBody
        described["requestBody"] = {"required": required, "content": content}
    return described


def _name(operation: Operation[Any, Any]) -> str:
    """Return an operation's id. What pull workers call is found at two paths, and has two."""
    name = f"{operation.tag}_{operation.function.__name__}"
    return f"scheduler_{name}" if operation.path.startswith("/scheduler/") else name


def _parameters(
    operation: Operation[Any, Any], schemas: dict[str, Any], components: dict[str, Any]
) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", operation.shown_path)
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    query = components[schemas[repr(operation.query)]["$ref"].rpartition("/")[2]]
    lists = list_fields(operation.query)
    for name, schema in query["properties"].items():
        parameter = {"name": name, "in": "query", "required": name in query.get("required", ()), "schema": schema}
        if name in lists:
            parameter |= {"style": "form", "explode": True}
        found.append(parameter)
    if operation.keyed:
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}
        text = "The same key and body within 24 hours: the same answer, and nothing is done twice."
        found.append({"name": "Idempotency-Key", "in": "header", "description": text, "schema": schema})
    return found


def _responses(operation: Operation[Any, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, kind in operation.answers.items():
        answer: dict[str, Any] = {"description": "Done."}
        found[str(status)] = answer
        found_schemas = [schemas[repr(each)] for each in _kinds(kind)]
        if found_schemas:
            schema = found_schemas[0] if len(found_schemas) == 1 else {"anyOf": found_schemas}
            answer["content"] = {"application/json": {"schema": schema}}
    if operation.media:
        answer = found.setdefault("200", {"description": "Done."})
        answer.setdefault("content", {}).update({media: _text(media) for media in operation.media})
    refusals = operation.refusals
    statuses = {*_ALWAYS, refusals.invalid, *operation.problems}
    if operation.who is not Who.ANYONE:
        statuses.update(_OF_THE_GATE)
    if operation.takes_body:
        statuses.update(_WITH_BODY)
    if operation.keyed:
        statuses.update(_KEYED)
    for status in sorted(statuses):
        titles = [title for code, (number, title) in PROBLEMS.items() if number == status]
        spoken = PLAIN if status in _OF_THE_GUARD else refusals
        content = {spoken.media[0]: {"schema": schemas[repr(spoken.view)]}}
        content |= {media: _text(media) for media in spoken.media[1:]}
        if status == FORBIDDEN and operation.who is not Who.ANYONE:  # of the token, in the API's own words
            content[refusals.media[0]] = {"schema": schemas[repr(refusals.view)]}
        found[str(status)] = {"description": "; ".join(titles) + ".", "content": content}
    return found


def _kinds(answer: Any) -> tuple[Any, ...]:
    """Return the types that an answer may have: none, one, or any of several."""
    return answer if isinstance(answer, tuple) else () if answer is None else (answer,)


def _text(media: str) -> dict[str, Any]:
    """Describe an answer that is no JSON; of an event stream a schema would describe the events, which are of many kinds."""
    return {} if media == EVENT_STREAM else {"schema": {"type": "string"}}
