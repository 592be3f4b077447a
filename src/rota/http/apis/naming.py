"""Errors of the service, in the words of an older API."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rota.core.errors import Invalid, TooLarge

_HEAD = re.compile(r"\w+")


@contextmanager
def named(names: Mapping[str, str]) -> Iterator[None]:
    """Let errors from within name an older API's fields: `names` leads from Rota's (``owner``) to its own (``uid``)."""

    def renamed(text: str) -> str:
        return _HEAD.sub(lambda head: names.get(head[0], head[0]), text, count=1)

    try:
        yield
    except Invalid as error:
        raise Invalid(renamed(error.field), error.message) from None
    except TooLarge as error:
        raise TooLarge(renamed(error.limit), error.allowed, renamed(str(error))) from None
