"""From bytes to structs, strictly: whatever a client sends becomes a struct, or a 4xx that names the field.

msgspec does nearly all of it. Left to do: what it keeps undecoded (`Raw`) is checked, texts that are no texts (lone
surrogates, NUL) are found, and its messages are turned into our errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from enum import Enum
from functools import cache
from typing import Any, NoReturn, TypeVar, get_origin
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw, inspect

from rota.core.errors import Invalid, TooLarge
from rota.http.problems import Refusal
from rota.http.waiting import ClientGone

T = TypeVar("T")

_type_info = cache(inspect.type_info)

_WHERE = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?", re.DOTALL)
_NAMED = re.compile(r"Object (?:contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|(\[[^\]]*\])")
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_MAX_PARAMETERS = 200
_any = msgspec.json.Decoder().decode
_EMPTY = (Raw(b"null"), Raw(b"[]"))


async def read_body(receive: Callable[[], Any], declared: int | None, limit: int) -> bytes:
    """Return a request's body. Raises TooLarge as soon as it is known to exceed `limit` bytes, reading no further."""
    if declared is not None and declared > limit:
        raise TooLarge("body", limit, f"the body has {declared} bytes, this route takes {limit}")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge("body", limit, f"the body has more than the {limit} bytes that this route takes")
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)


def decode(decoder: Callable[[bytes], T], body: bytes, *, texts: bool = True) -> T:
    """Decode a body. `texts`: refuse NUL characters, which neither scripts nor all stores can hold."""
    try:
        value = decoder(body)
    except msgspec.ValidationError as error:
        raise invalid(error, getattr(getattr(decoder, "__self__", None), "type", None)) from None
    except UnicodeDecodeError as error:
        raise Refusal("malformed-json", f"the body is not UTF-8: {error.reason}") from None
    except msgspec.DecodeError as error:
        _refuse_texts(body)
        raise Refusal("malformed-json", str(error)) from None
    except RecursionError:
        raise Invalid("body", "is nested too deeply") from None
    if texts and b"\\u0000" in body:
        _refuse_texts(body)
    return value


def check_raw(raw: Raw | None, field: str) -> None:
    """Raise Invalid unless what was kept undecoded is JSON that every reader will be able to decode."""
    if raw is None or raw in _EMPTY:
        return
    try:
        _any(raw)
    except UnicodeDecodeError as error:
        raise Invalid(field, f"is not UTF-8: {error.reason}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(field, str(error)) from None


def parse_query(query: bytes, kind: type[T], lists: frozenset[str]) -> T:
    """Return the query's parameters as a struct; those named in `lists` may come more than once."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict"
        )
    except UnicodeDecodeError:
        raise Invalid("query", "is not percent-encoded UTF-8") from None
    except ValueError as error:
        raise Invalid("query", str(error)) from None
    return struct_of(pairs, kind, lists)


def struct_of(pairs: Iterable[tuple[str, str]], kind: type[T], lists: frozenset[str]) -> T:
    """Return names and their texts as a struct; those named in `lists` may come more than once. Raises Invalid."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise Invalid(name.replace("\0", "?"), "has a NUL character")
        if name in lists:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Invalid(name, "is given twice")
        else:
            values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(error, kind) from None


def media_of(content_type: str) -> str:
    """Return the type that a Content-Type header names, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(media: str) -> bool:
    """Say whether this type is JSON; no HTML form can send one."""
    return media == "application/json" or (media.startswith("application/") and media.endswith("+json"))


def idempotency_key(value: bytes | None) -> str | None:
    """Return a request's Idempotency-Key, checked."""
    if value is None:
        return None
    if not _KEY.fullmatch(value):
        raise Invalid("Idempotency-Key", "is 1 to 255 printable ASCII characters")
    return value.decode("ascii")


def invalid(error: msgspec.ValidationError, kind: Any = None) -> Invalid:
    """Turn msgspec's message, which ends with a path like `$[3].after[0]`, into an error with a field.

    `kind` is the type that was wanted, if it is known: then the error says which words there are.
    """
    found = _WHERE.fullmatch(str(error))
    assert found is not None  # the pattern matches every text
    what, path = found["what"], (found["path"] or "$").removeprefix("$")
    named = _NAMED.fullmatch(what)
    if named is not None:
        path += f".{named['name']}"
        what = "is required" if "missing" in what else "is not known here"
    elif kind is not None and what.startswith("Invalid enum value") and (words := _words_at(kind, path)):
        what += f"; there is {', '.join(words)}"
    return Invalid(path.removeprefix(".") or "body", what[:1].lower() + what[1:])


def _words_at(kind: Any, path: str) -> list[str]:
    """Return the words that a type takes at a path of msgspec's."""
    found = [_type_info(kind)]
    for name, _ in _STEP.findall(path):
        found = [child for each in _options(found) for child in _children(each, name)]
    values = [
        list(each.cls) if isinstance(each, inspect.EnumType) else each.values
        for each in _options(found)
        if isinstance(each, inspect.EnumType | inspect.LiteralType)
    ]
    return [str(value.value if isinstance(value, Enum) else value) for of_one in values for value in of_one]


def _options(types: Iterable[inspect.Type]) -> list[inspect.Type]:
    """Return types with unions taken apart."""
    return [one for each in types for one in (each.types if isinstance(each, inspect.UnionType) else (each,))]


def _children(each: inspect.Type, name: str) -> list[inspect.Type]:
    """Return the types of a field, or of the items of a list when there is no name."""
    if isinstance(each, inspect.StructType):
        return [field.type for field in each.fields if field.encode_name == name]
    if isinstance(each, inspect.CollectionType) and not name:
        return [each.item_type]
    return [each.value_type] if isinstance(each, inspect.DictType) else []


def _refuse_texts(body: bytes) -> None:
    """Raise Invalid if the body is JSON with a string in it that is no text; msgspec does not say which."""
    try:
        value = json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return
    todo: list[tuple[str, Any]] = [("", value)]
    for path, item in todo:  # grows while it is walked
        if isinstance(item, str) and _NO_TEXT.search(item):
            raise Invalid(path or "body", "has a NUL character or half a surrogate pair")
        if isinstance(item, dict):
            if any(_NO_TEXT.search(name) for name in item):
                raise Invalid(path or "body", "has a name with a NUL character or half a surrogate pair")
            todo += [(f"{path}.{name}".removeprefix("."), child) for name, child in item.items()]
        elif isinstance(item, list):
            todo += [(f"{path}[{at}]", child) for at, child in enumerate(item)]


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def list_fields(kind: type[Any]) -> frozenset[str]:
    """Return the names of a query struct's fields that may come more than once."""
    fields: Iterable[msgspec.structs.FieldInfo] = msgspec.structs.fields(kind)
    return frozenset(field.encode_name for field in fields if get_origin(field.type) is list)
