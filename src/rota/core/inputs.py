"""One input of an array, and what is made of it: a handler's arguments, a script's text, a command with it filled in.

The placeholders of commands are those of GNU parallel (20221122), and mean and quote the same:

    {}    the input                 {/}   without its folders       {//}  its folder ("." if it has none)
    {.}   without its extension     {/.}  without both
    {#}   its number, from 1        {%}   the number, from 1, of the slot that it runs in

A command without any of them gets the input as its last word. Values are quoted for the shell, unless the first word of
the command has a placeholder (or there is no command at all): then the input itself is a command.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

_PLACEHOLDER = re.compile(r"(\{(?:|\.|/|//|/\.|#|%)\})")
_IS_COMMAND = re.compile(r"[^ \t\n=]*" + _PLACEHOLDER.pattern)
_EXTENSION = re.compile(r"\.[^/.]*\Z")
_TO_QUOTE = re.compile(r"[^-_.+a-zA-Z0-9/]")

_decode = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode


class BadInput(ValueError):
    """An input that cannot be what its job needs; the text says why."""


def text_of(item: Raw | bytes) -> str:
    """Return an input as a text: a JSON string is its text, other JSON its compact form. Raises BadInput for a NUL."""
    raw = bytes(item)
    try:
        text = _decode_text(raw) if raw[:1] == b'"' else msgspec.json.format(raw, indent=-1).decode()
    except msgspec.DecodeError as wrong:
        raise BadInput(f"the input is not JSON: {wrong}") from None
    if "\0" in text:
        raise BadInput("the input has a NUL, which no argument can hold")
    return text


def arguments(data: bytes, args: bytes, item: bytes | None = None) -> tuple[list[Any], dict[str, Any]]:
    """Return what a handler is called with: `args`, then `data` (an object: as keywords; null: nothing).

    An input that is an object gives keywords too, on top of those of the data; any other is the last positional argument.
    """
    positional: list[Any] = [] if args == b"[]" else _decode(args)
    keywords: dict[str, Any] = {}
    if data != b"null":
        value = _decode(data)
        if isinstance(value, dict):
            keywords = value
        elif value is not None:
            positional.append(value)
    if item is not None:
        value = _decode(item)
        if isinstance(value, dict):
            keywords |= value
        else:
            positional.append(value)
    return positional, keywords


def has_placeholder(command: str, name: str = "") -> bool:
    """Say whether a command has a placeholder, or the one that is named (as `{#}`)."""
    return name in command if name else _PLACEHOLDER.search(command) is not None


def render(command: str, text: str, *, number: int, slot: int = 1) -> str:
    """Fill an input into a command; `number` counts from 1."""
    literals, fills, quoted = _parts(command)
    words = [literals[0]]
    for fill, literal in zip(fills, literals[1:], strict=True):
        value = fill(text, number, slot)
        words += (quote(value) if quoted else value, literal)
    return "".join(words)


_Fill = Callable[[str, int, int], str]


@functools.lru_cache(maxsize=64)
def _parts(command: str) -> tuple[list[str], list[_Fill], bool]:
    """Return a command's literal parts, what is filled in between them, and whether that is quoted."""
    parts = _PLACEHOLDER.split(command)
    if len(parts) == 1:
        parts = [f"{command} " if command else "", "{}", ""]
    return parts[::2], [_FILLS[name] for name in parts[1::2]], bool(command) and not _IS_COMMAND.match(command)


def quote(text: str) -> str:
    """Quote a text for a POSIX shell, letter for letter as GNU parallel does."""
    if not text:
        return "''"
    if _TO_QUOTE.search(text) is None:
        return text
    return ("'" + text.replace("'", "'\"'\"'") + "'").removeprefix("''").removesuffix("''")


def _without_folder(text: str) -> str:
    return text[text.rfind("/") + 1 :]


def _folder(text: str) -> str:
    """Return the folder as Perl's File::Basename tells it: slashes at the end are no name."""
    bare = text.rstrip("/")
    if not bare:
        return "/" if text else "."
    folder, slash, _ = bare.rpartition("/")
    return folder.rstrip("/") or slash or "."


_FILLS: dict[str, _Fill] = {
    "{}": lambda text, _number, _slot: text,
    "{.}": lambda text, _number, _slot: _EXTENSION.sub("", text),
    "{/}": lambda text, _number, _slot: _without_folder(text),
    "{//}": lambda text, _number, _slot: _folder(text),
    "{/.}": lambda text, _number, _slot: _EXTENSION.sub("", _without_folder(text)),
    "{#}": lambda _text, number, _slot: str(number),
    "{%}": lambda _text, _number, slot: str(slot),
}
