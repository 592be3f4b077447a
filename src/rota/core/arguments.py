"""Whether the arguments of a job fit what its handler takes. The server has no code of handlers: it has their schemas.

A schema is a JSON schema of the keyword arguments, with three words of our own: BY_POSITION names, in order, the arguments
that may also be given by position; BY_POSITION_ONLY those of them that cannot be given otherwise; ANY_NUMBER is the schema
of further ones by position. It is turned into types that msgspec decodes into, which takes a microsecond a job. What msgspec
has no type for (recursive types, patterns, unions of several objects) is not checked here; the worker does that.
"""

from __future__ import annotations

import datetime
import decimal
import re
from functools import lru_cache
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta, Raw, Struct

from rota.core.errors import Invalid

BY_POSITION = "x-by-position"
BY_POSITION_ONLY = "x-by-position-only"
ANY_NUMBER = "x-any-number"
MAX_SCHEMA = 8 << 10  # bytes
_DEEPEST = 20  # types in types; deeper ones are not checked

_FORMATS: dict[str, Any] = {
    "date-time": datetime.datetime, "date": datetime.date, "time": datetime.time, "duration": datetime.timedelta,
    "uuid": Annotated[str, Meta(pattern="^[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}$")], "decimal": decimal.Decimal,
}  # fmt: skip
_BOUNDS = {
    "minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt", "multipleOf": "multiple_of",
    "minLength": "min_length", "maxLength": "max_length", "minItems": "min_length", "maxItems": "max_length",
}  # fmt: skip
_AT = re.compile(r"(.*?)(?: - at `\$(.*)`)?\Z", re.DOTALL)
_NAMED = re.compile(r"Object (missing required|contains unknown) field `(.*)`\Z", re.DOTALL)
_NULL = b"null"
_decode_list = msgspec.json.Decoder(list[Raw]).decode


class _Root(Struct):
    """What is read of a schema's top; the rest of it are schemas."""

    properties: dict[str, Any] = {}
    required: list[str] = []
    additional: Any = msgspec.field(name="additionalProperties", default=True)
    by_position: list[str] = msgspec.field(name=BY_POSITION, default_factory=list)
    only: list[str] = msgspec.field(name=BY_POSITION_ONLY, default_factory=list)
    any_number: Any = msgspec.field(name=ANY_NUMBER, default=None)
    defs: dict[str, Any] = msgspec.field(name="$defs", default_factory=dict)


class Fit:
    """What a handler takes. Raises ValueError for what is no schema of arguments."""

    def __init__(self, schema: bytes) -> None:
        try:
            self._root = msgspec.json.decode(schema, type=_Root)
        except msgspec.DecodeError as wrong:
            raise ValueError(f"is no schema of arguments: {wrong}") from None
        self._by_keyword: dict[int, msgspec.json.Decoder[Any]] = {}  # by how many are given by position
        self._keywords(0)
        root = self._root
        self._positional = [_decoder(root.properties.get(name, True), root.defs) for name in root.by_position]
        self._more = None if root.any_number is None else _decoder(root.any_number, root.defs)

    def check(self, data: bytes, args: bytes) -> None:
        """Raise Invalid, with the field of the argument that does not fit, for what a job would call the handler with."""
        root = self._root
        given = [(f"args[{at}]", bytes(raw)) for at, raw in enumerate(_decode_list(args))] if args != b"[]" else []
        is_object = data.lstrip()[:1] == b"{"
        if not is_object and data.strip() != _NULL:
            given.append(("data", data))
        for at, (field, raw) in enumerate(given):
            decoder = self._positional[at] if at < len(self._positional) else self._more
            if decoder is None:
                n = len(self._positional)
                raise Invalid(
                    field, f"is one too many: the handler takes {n or 'no'} argument{'s' * (n != 1)} by position"
                )
            _decode(decoder, raw, field)
        missing = [name for name in root.only[len(given) :] if name in root.required]
        if missing:
            raise Invalid("args", f"{missing[0]} is missing, which is given by position")
        try:
            _decode(self._keywords(len(given)), data if is_object else b"{}", "data")
        except _Unknown as unknown:
            name = unknown.name
            if name in root.by_position[: len(given)]:
                raise Invalid(f"data.{name}", "is given twice, also by position") from None
            takes = ", ".join(name for name in root.properties if name not in root.only)
            raise Invalid(
                f"data.{name}", f"is no argument of the handler; it takes {takes or 'none by name'}"
            ) from None

    def _keywords(self, given: int) -> msgspec.json.Decoder[Any]:
        """Return what decodes keyword arguments, when so many others are given by position."""
        root = self._root
        given = min(given, len(root.by_position))
        if given not in self._by_keyword:
            gone = {*root.by_position[:given], *root.only}
            schema = {
                "type": "object",
                "properties": {name: each for name, each in root.properties.items() if name not in gone},
                "required": [name for name in root.required if name not in gone],
                "additionalProperties": root.additional,
            }
            self._by_keyword[given] = _decoder(schema, root.defs)
        return self._by_keyword[given]


@lru_cache(maxsize=1024)
def fit_of(schema: bytes) -> Fit:
    """Return what a schema says, read once. Raises ValueError."""
    return Fit(schema)


def check_fit(fits: list[Fit | None], data: bytes, args: bytes) -> None:
    """Raise Invalid unless one of these fits, the newest first; None takes everything."""
    refusal: Invalid | None = None
    for fit in fits:
        if fit is None:
            return
        try:
            fit.check(data, args)
            return
        except Invalid as wrong:
            refusal = refusal or wrong
    if refusal is not None:
        raise refusal


class _Unknown(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


def _decode(decoder: msgspec.json.Decoder[Any], raw: bytes, field: str) -> None:
    try:
        decoder.decode(raw)
    except msgspec.ValidationError as wrong:
        said = _AT.match(str(wrong))
        assert said is not None, "it matches everything"
        message, path = said[1], said[2] or ""
        if named := _NAMED.match(message):
            if named[1] == "contains unknown" and not path and field == "data":
                raise _Unknown(named[2]) from None
            word = "is missing" if named[1] == "missing required" else "is not known"
            raise Invalid(f"{field}{path}.{named[2]}", word) from None
        message = message.replace("`", "")
        raise Invalid(field + path, message[:1].lower() + message[1:]) from None


def _decoder(schema: Any, defs: dict[str, Any]) -> msgspec.json.Decoder[Any]:
    try:
        return msgspec.json.Decoder(_type(schema, defs, ()))
    except (TypeError, ValueError):  # types that msgspec cannot tell apart
        return msgspec.json.Decoder(Any)


def _type(schema: Any, defs: dict[str, Any], within: tuple[str, ...]) -> Any:
    """Return the type that a schema stands for, Any where there is none; `within` are the definitions that it is part of."""
    if not isinstance(schema, dict) or len(within) > _DEEPEST:
        return Any
    if isinstance(ref := schema.get("$ref"), str):
        name = ref.removeprefix("#/$defs/")
        return Any if name in within else _type(defs.get(name), defs, (*within, name))
    if isinstance(options := schema.get("anyOf"), list):
        return _union([_type(option, defs, within) for option in options])
    if isinstance(values := schema.get("enum"), list):
        plain = values and all(value is None or type(value) in (str, int) for value in values)
        return Literal[tuple(values)] if plain else Any
    match schema.get("type"):
        case "integer":
            return _bounded(int, schema, "ge", "gt", "le", "lt", "multiple_of")
        case "number":
            return _bounded(float, schema, "ge", "gt", "le", "lt", "multiple_of")
        case "boolean":
            return bool
        case "null":
            return None
        case "string":
            if schema.get("contentEncoding") == "base64":
                return bytes
            return _FORMATS.get(str(schema.get("format"))) or _bounded(str, schema, "min_length", "max_length")
        case "array":
            if isinstance(each := schema.get("prefixItems"), list):
                return tuple[tuple(_type(one, defs, (*within, "")) for one in each)] if each else Any  # type: ignore[misc]
            return _bounded(list[_type(schema.get("items"), defs, (*within, ""))], schema, "min_length", "max_length")  # type: ignore[misc]
        case "object":
            return _object(schema, defs, (*within, ""))
    return Any


def _object(schema: dict[str, Any], defs: dict[str, Any], within: tuple[str, ...]) -> Any:
    properties, others = schema.get("properties"), schema.get("additionalProperties", True)
    if not isinstance(properties, dict):
        return dict[str, _type(others, defs, within)]  # type: ignore[misc]
    required = schema.get("required", [])
    fields: list[tuple[str, Any, Any]] = []
    for at, (name, each) in enumerate(properties.items()):
        default = {} if name in required else {"default": None}
        fields.append((f"f{at}", _type(each, defs, within), msgspec.field(name=name, **default)))
    return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=others is False)


def _union(options: list[Any]) -> Any:
    if not options or Any in options:
        return Any
    union: Any = Union[tuple(options)]  # noqa: UP007  # made at run time
    try:
        msgspec.json.Decoder(union)
    except TypeError:
        return Any
    return union


def _bounded(kind: Any, schema: dict[str, Any], *known: str) -> Any:
    bounds: dict[str, Any] = {
        _BOUNDS[word]: value
        for word, value in schema.items()
        if word in _BOUNDS and _BOUNDS[word] in known and isinstance(value, int | float) and not isinstance(value, bool)
    }
    try:
        return Annotated[kind, Meta(**bounds)] if bounds else kind
    except (TypeError, ValueError):
        return kind
