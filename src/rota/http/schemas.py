"""Structs as JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, UNSET, Raw, Struct, UnsetType

_REF = "#/components/schemas/{name}"


def schemas_of(types: Iterable[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (schemas by `repr` of the type, the components that they refer to)."""
    by_name = {repr(kind): kind for kind in types}
    shown = _Shown()
    schemas, components = msgspec.json.schema_components(
        [shown.of(kind) for kind in by_name.values()], ref_template=_REF
    )
    return dict(zip(by_name, schemas, strict=True)), components


class _Shown:
    """Makes types that msgspec can describe: it cannot when the default of a field is `Raw`."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def of(self, kind: Any) -> Any:
        """Return the type, or one that looks the same in a schema."""
        origin, args = get_origin(kind), get_args(kind)
        if isinstance(kind, type) and issubclass(kind, Struct):
            if kind not in self._made:
                self._made[kind] = self._struct(kind)
            return self._made[kind]
        if origin is Annotated:
            return kind
        shown = tuple(self.of(arg) for arg in args)
        if shown == args:
            return kind
        return reduce(or_, shown) if origin in (Union, UnionType) else origin[shown]

    def _struct(self, kind: type[Struct]) -> type[Struct]:
        hints = get_type_hints(kind, include_extras=True)
        fields: list[tuple[str, Any, Any]] = []
        changed = False
        for field in msgspec.structs.fields(kind):
            hint, default = self.of(hints[field.name]), field.default
            if isinstance(default, Raw):  # an empty one is no JSON: the field is left out
                hint = Any if bytes(default) else Any | UnsetType
                default = msgspec.json.decode(default) if bytes(default) else UNSET
            changed = changed or hint is not hints[field.name]
            if default is NODEFAULT and field.default_factory is not NODEFAULT:
                default = msgspec.field(default_factory=field.default_factory)
            fields.append((field.name, hint, msgspec.field() if default is NODEFAULT else default))
        if not changed:
            return kind
        config = kind.__struct_config__
        return msgspec.defstruct(
            kind.__name__, fields, namespace={"__doc__": kind.__doc__}, kw_only=True, omit_defaults=config.omit_defaults,
            forbid_unknown_fields=config.forbid_unknown_fields, module=kind.__module__,
        )  # fmt: skip
