"""`rota logs`, `events`: what comes bit by bit."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from rota.cli import show
from rota.cli.options import connect, server_option
from rota.client import calls
from rota.client.views import Event, Log

_lines_option = click.option(
    "--json", "as_json", is_flag=True, help="Print what the API answers, one JSON object a line."
)


@click.command(
    epilog="""\b
Examples:
  rota logs ID
  rota logs ID -f                 go on until the job is over
  rota logs ID --attempt 2 2>/dev/null"""
)
@click.argument("id_", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Wait for more until the job is over.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Of this attempt only.")
@_lines_option
@server_option
def logs(*, id_: str, follow: bool, attempt: int | None, server: str | None, as_json: bool) -> None:
    """Show what a job has written: its stdout on stdout; its stderr and its log on stderr."""
    with connect(server) as client:
        pieces: Iterator[msgspec.Raw]
        if follow:
            client.get(id_)  # that it does not exist is said at once
            pieces = client.listen(calls.follow_logs(id_, attempt, msgspec.Raw))
        else:
            pieces = client.walk(calls.logs(id_, attempt, msgspec.Raw))
        for piece in pieces:
            if as_json:
                click.echo(bytes(piece))
            else:
                log = msgspec.json.decode(piece, type=Log)
                click.echo(log.text, nl=False, err=log.stream != "stdout")


@click.command(
    epilog="""\b
Examples:
  rota events ID                  what happened to a job
  rota events                     all that happens from now on
  rota events --after 0 --json    all that is known, and then what happens"""
)
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on; without an ID always.")
@click.option("--after", type=click.IntRange(0), metavar="SEQ", help="Follow from the event after this one.")
@click.option("--owner", metavar="U", help="Follow this owner's jobs only.")
@_lines_option
@server_option
def events(
    *, id_: str | None, follow: bool, after: int | None, owner: str | None, server: str | None, as_json: bool
) -> None:
    """Show what happened to a job, or follow what happens to all (until Ctrl-C)."""
    with connect(server) as client:
        found: Iterator[msgspec.Raw]
        if id_ is None or follow:
            found = client.listen(calls.follow_events(after, owner, id_, msgspec.Raw))
        else:
            found = client.walk(calls.events(id_, msgspec.Raw))
        for each in found:
            click.echo(bytes(each) if as_json else _line(msgspec.json.decode(each, type=Event)))


def _line(event: Event) -> str:
    by = f" by {show.line(event.by)}" if event.by else ""
    why = f": {show.line(event.why)}" if event.why else ""
    attempt = f" (attempt {event.attempt})" if event.attempt else ""
    return f"{event.at.astimezone():%H:%M:%S.%f} {event.job} {event.kind.ljust(10)}{attempt}{by}{why}"
