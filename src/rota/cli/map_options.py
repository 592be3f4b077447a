"""What `rota map` was asked for, and the answer to `--dry-run`."""

from __future__ import annotations

from collections.abc import Iterable

import click
from msgspec import Struct


class Options(Struct, kw_only=True):
    """What was asked for."""

    command: str
    slots: int
    slots_given: bool
    halt: str | None
    timeout: str | None
    retries: int | None
    keep_order: bool
    resume: str | None
    joblog: str | None
    as_json: bool
    bar: bool


def print_commands(command: str, inputs: Iterable[str]) -> None:
    """Print what would be run."""
    from rota.core.inputs import render

    for number, text in enumerate(inputs, 1):
        click.echo(render(command, text, number=number))
