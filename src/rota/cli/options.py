"""Options and arguments that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rota.core.errors import Invalid

if TYPE_CHECKING:
    from rota.client import Client

F = TypeVar("F", bound=Any)

# A command is tried for about a second: a person who forgot to start the server wants to hear of it.
_TRIES = 4

server_option = click.option(
    "--server", metavar="URL", help="http://…, unix:/path or sqlite:///file.  [default: ROTA_SERVER, else this machine]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print exactly what the API answers, as JSON.")


def connect(server: str | None) -> Client:
    """Return a client of the server that was named, or that the settings name."""
    from rota.client import Client

    return Client(server, tries=_TRIES)


def pairs(given: Iterable[str], flag: str) -> dict[str, str]:
    """Read `K=V` texts. Raises Invalid."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Invalid(flag, f"{text!r} is not NAME=VALUE")
        found[name] = value
    return found


def ids_of(given: Iterable[str]) -> list[str]:
    """Return the ids; `-` stands for those that stdin holds, one a word."""
    ids: list[str] = []
    for text in given:
        ids += sys.stdin.read().split() if text == "-" else [text]
    return ids
