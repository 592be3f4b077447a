"""Templates of master tasks: each `{{name}}` becomes its variable's text, raw, and nothing else is special.

What is stored is a script of Rota's own, in which `{{` would begin a placeholder: there it is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rota.core.errors import Invalid
from rota.core.templates import unclosed

_BRACES = re.compile(r"\{\{([^{}\n]*)\}\}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def filled(template: str, variables: Mapping[str, str]) -> str:
    """Return a template with its variables' texts. Raises Invalid, naming a placeholder that has none or does not end.

    Braces around what is neither a variable's name nor could be one (`{{.State}}`, `{{print $1}}`) stay.
    """
    if broken := unclosed(template):
        raise Invalid("templateFunction", f"the placeholder {broken} does not end with }}}}")

    def fill(match: re.Match[str]) -> str:
        name = match[1].strip()
        if name in variables:
            return variables[name]
        if _IDENTIFIER.fullmatch(name):
            raise Invalid("variableJson", f"the placeholder {{{{{name}}}}} of templateFunction has no variable")
        return match[0]

    return _BRACES.sub(fill, template)


def escaped(text: str) -> str:
    """Return the script that renders (core/templates.py) as this text."""
    return text.replace("{{", r"\{{")
