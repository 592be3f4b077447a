"""References to results of other jobs: `{"$result": "load", "path": "/rows/0"}` in what a job is given. Pure.

In data, arguments and variables such an object stands for the result of a job that this one waits for, or for a part of it
(`path` is a JSON pointer, RFC 6901). A member that is really called `$result` is written `$$result`, one that is called
`$$result` has one more `$`, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

KEY = "$result"
MARK = b'$result"'  # without it there is nothing to look for
MAX_REFERENCES = 100  # of one job
MAX_PATH = 1000  # characters
_ESCAPED = re.compile(r"\${2,}result")
_DEEPEST = 200
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[Raw]).decode
Result = Callable[[str, str], Raw]


class ResultOf(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, rename={"job": KEY}):
    """A variable that is the result of a job, or a part of it: a text as it is, anything else as JSON."""

    job: str
    path: str = ""


class MapOver(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Whose result has the inputs of an array, and where in it: each item of that list is one."""

    over: str
    path: str = ""


class Mapped(Struct, frozen=True, omit_defaults=True):
    """What is kept of a `map` until its inputs are there: the rules of the array that it becomes."""

    over: str
    path: str = ""
    parallel: int | None = None
    halt: str | None = None


class Unusable(Exception):
    """A result is not what the job that refers to it needs. The message is for people."""


def names(data: Raw) -> list[str]:
    """Return the jobs whose results JSON refers to. Raises ValueError for a reference that makes no sense."""
    if MARK not in bytes(data):
        return []
    found: dict[str, None] = {}

    def note(job: str, path: str) -> Raw:
        check_path(path)
        found[job] = None
        return Raw(b"null")

    _replaced(_decode(data), note)
    return list(found)


def renamed(data: Raw, ids: Mapping[str, str]) -> Raw:
    """Return JSON whose references name jobs by their ids; names that `ids` has not stay as they are."""
    if MARK not in bytes(data):
        return data

    def rename(job: str, path: str) -> Raw:
        return Raw(_encode(ResultOf(ids.get(job, job), path)))

    return Raw(_encode(_replaced(_decode(data), rename, escapes=True)))


def filled(data: Raw, result: Result) -> Raw:
    """Return JSON with results in the places of references, as `result(job, path)` gives them."""
    return Raw(_encode(_replaced(_decode(data), result))) if MARK in bytes(data) else data


def check_path(path: str) -> None:
    """Raise ValueError unless this is a JSON pointer."""
    if path and (not path.startswith("/") or len(path) > MAX_PATH or re.search("~(?![01])", path)):
        raise ValueError(f"{path[:100]!r} is no path: like /rows/0, with ~1 for a slash and ~0 for a tilde in a name")


def part(result: Raw, path: str, job: str) -> Raw:
    """Return a part of a job's result. Raises Unusable when it has none there."""
    value = result
    for token in path.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        head = bytes(value).lstrip()[:1]
        try:
            value = _object(value)[name] if head == b"{" else _list(value)[_index(name)] if head == b"[" else _nothing()
        except (LookupError, msgspec.DecodeError):
            raise Unusable(f"the result of job {job} has nothing at {path}") from None
    return value


def items(result: Raw, job: str, path: str) -> list[Raw]:
    """Return the items of a list that a job's result is, or has at `path`. Raises Unusable."""
    value = part(result, path, job)
    if bytes(value).lstrip()[:1] != b"[":
        where = f" at {path}" if path else ""
        raise Unusable(f"a map over what is no list: the result of job {job}{where} is {_kind(value)}")
    return _list(value)


def as_text(value: Raw) -> str:
    """Return a result as the text of a variable: a text as it is, anything else as JSON."""
    read = _decode(value)
    return read if isinstance(read, str) else bytes(value).decode()


def _replaced(value: Any, put: Result, *, escapes: bool = False, depth: int = 0) -> Any:
    """Return JSON with something else in the places of references; escaped names are kept so, or are as they are meant."""
    if depth > _DEEPEST:
        raise ValueError("is nested too deeply for references")
    if isinstance(value, list):
        return [_replaced(item, put, escapes=escapes, depth=depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    if KEY in value:
        job, path = value[KEY], value.get("path", "")
        if not isinstance(job, str) or not isinstance(path, str) or not value.keys() <= {KEY, "path"}:
            raise ValueError(
                'a reference is {"$result": "JOB"}, or with a "path" like /rows/0; a member of that name is written $$result'
            )
        return put(job, path)
    return {
        name[1:] if not escapes and _ESCAPED.fullmatch(name) else name: _replaced(
            item, put, escapes=escapes, depth=depth + 1
        )
        for name, item in value.items()
    }


def _index(name: str) -> int:
    if not re.fullmatch(r"0|[1-9]\d{0,9}", name):
        raise LookupError(name)
    return int(name)


def _nothing() -> Raw:
    raise LookupError


def _kind(value: Raw) -> str:
    head = bytes(value).lstrip()[:1]
    return {b"{": "an object", b'"': "a text", b"n": "null", b"t": "true", b"f": "false"}.get(head, "a number")
