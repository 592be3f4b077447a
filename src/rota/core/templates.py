r"""Placeholders in scripts: `{{name}}` is shell-quoted, `{{name|raw}}` is put in as it is.

Only `{{identifier}}` is a placeholder; `\{{` is a literal `{{`, and Go templates such as `{{.State}}` are left alone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"(\\)?\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*(\|\s*raw\s*)?\}\}|\\\{\{")


_UNCLOSED = re.compile(r"(?<!\\)\{\{\s*[A-Za-z_][A-Za-z0-9_]*\s*(?:\|\s*raw\s*)?(?=$|[\r\n]|\}(?!\}))", re.MULTILINE)


def unclosed(template: str) -> str | None:
    """Return a placeholder that begins and does not end on its line, if there is one: `{{name`, `{{name}`."""
    found = _UNCLOSED.search(template)
    return None if found is None else found[0].strip()


def names(template: str) -> list[str]:
    """Return the names of a template's placeholders, each once, in order of appearance."""
    found = (m.group(2) for m in _PLACEHOLDER.finditer(template) if m.group(2) and not m.group(1))
    return list(dict.fromkeys(found))


def render(template: str, variables: Mapping[str, str]) -> str:
    """Fill the placeholders in. Raises KeyError with the first name that has no variable."""

    def fill(match: re.Match[str]) -> str:
        escaped, name, raw = match.groups()
        if escaped or name is None:
            return match.group(0)[1:]
        value = variables[name]
        return value if raw else shlex.quote(value)

    return _PLACEHOLDER.sub(fill, template)
