"""How things are shown to people: in colour and in columns on a terminal, as plain aligned text elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rota.client.views import ArrayFields

COLOURS = {
    "blocked": "magenta",
    "scheduled": "blue",
    "queued": "cyan",
    "running": "yellow",
    "retrying": "yellow",
    "aborting": "yellow",
    "succeeded": "green",
    "failed": "red",
    "aborted": "red",
    "canceled": "bright_black",
    "present": "green",
    "draining": "yellow",
    "gone": "bright_black",
}
_LEAST = 8  # what a column that gives way keeps
_STEPS = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"))
_CONTROL = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (9, 10)}


def span(seconds: float) -> str:
    """Write a duration shortly: `850ms`, `12s`, `3m20s`, `2h5m`, `4d`."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"
    for at, (size, unit) in enumerate(_STEPS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            below = (*_STEPS, (1.0, "s"))[at + 1]
            smaller = int(rest // below[0])
            return f"{count:.0f}{unit}" + (f"{smaller}{below[1]}" if smaller and unit != "d" else "")
    raise AssertionError("unreachable: the last step is a minute")


def age(moment: datetime | None) -> str:
    """Write how long ago something was, or in how long it will be."""
    if moment is None:
        return "-"
    ago = (datetime.now(UTC) - moment).total_seconds()
    return f"{span(ago)} ago" if ago >= 0 else f"in {span(-ago)}"


def local(moment: datetime | None) -> str:
    """Write a moment in this machine's zone, and how far away it is."""
    return "-" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z} ({age(moment)})"


def state(name: str) -> str:
    """Colour a state; click drops colours where there is no terminal."""
    return click.style(name, fg=COLOURS.get(name))


def plain(text: str) -> str:
    """Return a text that others wrote with its control characters made visible: a terminal obeys them otherwise."""
    return text.translate(_CONTROL)


def line(text: str | None) -> str:
    """Return the first line of a text that others wrote."""
    lines = plain(text or "").splitlines()
    return lines[0] if lines else ""


def array(counts: ArrayFields) -> str:
    """Return in words how far an array is."""
    parts = [f"{counts.done:,} of {counts.inputs:,} inputs"]
    parts += [f"{counts.failed:,} failed"] if counts.failed else []
    parts += [f"{counts.running:,} running"] if counts.running else []
    parts += [f"stopped by {counts.halted}"] if counts.halted else []
    parts += [f"ETA {span(counts.eta)}"] if counts.eta else []
    return ", ".join(parts)


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], *, giving: Sequence[str] = ()) -> None:
    """Print a table.

    On a terminal the columns named in `giving` (without colours) give way when there is too little room, and one that
    says `default` in every row is left out.
    """
    kept = list(range(len(head)))
    if sys.stdout.isatty():
        kept = [at for at in kept if any(row[at] != "default" for row in rows)]
    widths = {at: max(len(click.unstyle(row[at])) for row in (head, *rows)) for at in kept}
    if sys.stdout.isatty():
        _give_way(widths, [at for at in kept if head[at] in giving])
    for row in ([click.style(name, bold=True) for name in head], *rows):
        click.echo("  ".join(_fit(row[at], widths[at]) for at in kept).rstrip())


def _give_way(widths: dict[int, int], giving: Sequence[int]) -> None:
    over = sum(widths.values()) + 2 * (len(widths) - 1) - shutil.get_terminal_size().columns
    while over > 0 and (wide := [at for at in giving if widths[at] > _LEAST]):
        widths[max(wide, key=lambda at: widths[at])] -= 1
        over -= 1


def _fit(cell: str, width: int) -> str:
    long = len(click.unstyle(cell)) - width
    return cell[: width - 1] + "…" if long > 0 else cell + " " * -long


def card(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Print facts about one thing, those that are empty left out."""
    click.echo(title)
    told = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        click.echo(f"  {name.ljust(width)}  {value}")


def block(title: str, text: str) -> None:
    """Print a text of several lines under a title, indented."""
    click.echo(f"\n{title}")
    for each in plain(text).rstrip("\n").split("\n"):
        click.echo(f"  {each}")
