"""What a handler takes: read from its signature, decoded before it is called, and told to the server as a JSON schema.

An annotation counts when msgspec can decode into it; any other is taken for none, and its argument comes as JSON had it.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
from msgspec import Raw, Struct

from rota.core.arguments import ANY_NUMBER, BY_POSITION, BY_POSITION_ONLY, MAX_SCHEMA

_MAX_DOC = 1000  # characters
_MAX_DEFAULT = 200  # bytes of JSON
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_encode = msgspec.json.Encoder().encode


class Parameter(Struct, frozen=True):
    """One parameter, but `ctx`. `type` is Any where nothing is checked."""

    name: str
    kind: Any
    type: Any
    default: Any

    @property
    def required(self) -> bool:
        """Say whether a call must give it."""
        return self.default is inspect.Parameter.empty and self.kind in (*_POSITIONAL, *_BY_KEYWORD)


class Signature:
    """The parameters of a function. Made when its module is whole, so that it may name types that come after it.

    What stands around another function (`functools.wraps`) may take other arguments than that shows: of such a one only the
    names are told.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        wrapped = hasattr(function, "__wrapped__")
        self.parameters = [
            Parameter(p.name, p.kind, Any if wrapped else _type_of(function, p.annotation), p.default)
            for p in inspect.signature(function).parameters.values()
            if p.name != "ctx"
        ]
        self.names = [p.name for p in self.parameters]
        self._known = not wrapped
        self._by_position = [p for p in self.parameters if p.kind in _POSITIONAL]
        self._by_keyword = {p.name: p for p in self.parameters if p.kind in _BY_KEYWORD}
        self._rest = next((p for p in self.parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), None)
        self._others = next((p for p in self.parameters if p.kind is inspect.Parameter.VAR_KEYWORD), None)
        self.typed = any(p.type is not Any for p in self.parameters)

    def decode(self, positional: list[Any], keywords: dict[str, Any]) -> None:
        """Turn arguments, as JSON has them, into what their parameters say, in place. Raises TypeError that names one."""
        for at, value in enumerate(positional):
            parameter = self._by_position[at] if at < len(self._by_position) else self._rest
            if parameter is not None and parameter.type is not Any:
                positional[at] = _convert(parameter, parameter.name, value)
        for name, value in keywords.items():
            parameter = self._by_keyword.get(name, self._others)
            if parameter is not None and parameter.type is not Any and name != "ctx":
                keywords[name] = _convert(parameter, name, value)

    def schema(self, name: str, doc: str) -> Raw | None:
        """Return what the function takes, as a JSON schema of at most MAX_SCHEMA bytes; None when nobody can know.

        One whose types are too long says no more than their names.
        """
        if not self._known:
            return None
        types = [p.type for p in self.parameters]
        for described in (types, [Any] * len(types)):
            schemas, components = msgspec.json.schema_components(described, ref_template="#/$defs/{name}")
            schema = _encode(
                self._schema(name, doc[:_MAX_DOC], dict(zip(self.names, schemas, strict=True)), components)
            )
            if len(schema) <= MAX_SCHEMA:
                return Raw(schema)
        return None

    def _schema(
        self, name: str, doc: str, schemas: dict[str, dict[str, Any]], components: dict[str, Any]
    ) -> dict[str, Any]:
        named = [p for p in self.parameters if p.kind in (*_POSITIONAL, *_BY_KEYWORD)]
        schema: dict[str, Any] = {
            "title": name,
            "type": "object",
            "properties": {p.name: schemas[p.name] | _default_of(p) for p in named},
            "required": [p.name for p in named if p.required],
            "additionalProperties": False if self._others is None else schemas[self._others.name],
            BY_POSITION: [p.name for p in self._by_position],
        }
        if doc:
            schema["description"] = doc
        if only := [p.name for p in self._by_position if p.kind is inspect.Parameter.POSITIONAL_ONLY]:
            schema[BY_POSITION_ONLY] = only
        if self._rest is not None:
            schema[ANY_NUMBER] = schemas[self._rest.name]
        if components:
            schema["$defs"] = components
        return schema


def _type_of(function: Callable[..., Any], annotation: Any) -> Any:
    """Return what an annotation names, or Any: for none, for one that cannot be found, for one that nothing decodes into."""
    if annotation is inspect.Parameter.empty:
        return Any
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        hint = typing.get_type_hints(SimpleNamespace(__annotations__={"it": annotation}), scope, include_extras=True)[
            "it"
        ]
        msgspec.json.schema(hint)
        msgspec.json.Decoder(hint)
    except Exception:  # an annotation may be any expression
        return Any
    return Any if hint is Raw else hint


def _convert(parameter: Parameter, name: str, value: Any) -> Any:
    try:
        return msgspec.convert(value, parameter.type, str_keys=True)
    except msgspec.ValidationError as wrong:
        raise TypeError(f"the argument {name} does not fit: {wrong}") from None


def _default_of(parameter: Parameter) -> dict[str, Any]:
    """Return the default of a parameter where JSON can say it in few words."""
    if parameter.default is inspect.Parameter.empty:
        return {}
    try:
        default = msgspec.json.encode(parameter.default)
    except Exception:  # a default may be anything
        return {}
    return {"default": Raw(default)} if len(default) <= _MAX_DEFAULT else {}
