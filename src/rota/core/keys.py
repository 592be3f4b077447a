"""Keys that jobs are limited by: a text, or one with places that are filled from the job's data at its submission."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from rota.core.limits import Limit
from rota.core.needs import text_of

MAX_KEY = 200  # characters
_ALL = "*"  # at the end of a limit's name: of every key with that beginning
_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


def fill_key(template: str, data: Raw) -> str:
    """Return a key whose places (`{field}`, `{field.sub}`) are filled from `data`; `{{` and `}}` stand for braces.

    Raises ValueError for a place that the data have no text, number or truth value for.
    """
    if "{" not in template and "}" not in template:
        return template
    check_places(template)
    whole = msgspec.json.decode(data)
    text = ""
    for piece in _PIECES.finditer(template):
        if piece[1] is not None:
            text += _value(whole, piece[1])
        else:
            text += {"{{": "{", "}}": "}"}.get(piece[0], piece[0])
    return text


def check_places(template: str) -> None:
    """Raise ValueError for a brace that is no place's."""
    for piece in _PIECES.finditer(template):
        if piece[0] in ("{", "}"):
            raise ValueError(f"has a {piece[0]} by itself; a place is {{field}}, and a brace is written twice")


def _value(whole: object, place: str) -> str:
    value = whole
    for name in place.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise ValueError(f"has the place {{{place}}}, and the data have no field {place!r}")
        value = value[name]
    if isinstance(value, str | bool | int | float):
        return text_of(value)
    raise ValueError(f"has the place {{{place}}}, and {place!r} of the data is no text, number or truth value")


def is_pattern(name: str) -> bool:
    """Say whether a limit's name stands for every key with its beginning."""
    return name.endswith(_ALL)


class KeyLimits:
    """The limits of keys: the key's own, or else that of the longest beginning."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        mine = [limit for limit in limits if limit.kind == "key"]
        self._own = {limit.name: limit for limit in mine if not is_pattern(limit.name)}
        patterns = {limit.name.removesuffix(_ALL): limit for limit in mine if is_pattern(limit.name)}
        self._patterns = sorted(patterns.items(), key=lambda each: -len(each[0]))

    def of_all(self, keys: Iterable[str]) -> list[Limit]:
        """Return what holds for these keys, as far as anything does."""
        return [limit for key in keys if (limit := self.of(key)) is not None]

    def of(self, key: str) -> Limit | None:
        """Return what holds for a key, under the key's own name; None: nothing does."""
        own = self._own.get(key)
        if own is not None:
            return own
        found = next((limit for beginning, limit in self._patterns if key.startswith(beginning)), None)
        return None if found is None else replace(found, name=key)
