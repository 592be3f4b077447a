"""`rota results`: what became of an array's inputs."""

from __future__ import annotations

import click
import msgspec

from rota.cli import show
from rota.cli.options import connect, server_option
from rota.client.views import Result

_encode = msgspec.json.Encoder().encode


@click.command(
    epilog="""\b
Examples:
  rota results ID                     what the inputs have given so far, in their order
  rota results ID -f --output         what they print, until the array is over
  rota results ID --failed --json | jq -r .input"""
)
@click.argument("id_", metavar="ID")
@click.option("--follow", "-f", is_flag=True, help="Wait for more until the array is over.")
@click.option("--failed", is_flag=True, help="Only those that did not succeed.")
@click.option("--after", type=click.IntRange(0), metavar="INDEX", help="Only those after this one; the first is 0.")
@click.option("--output", is_flag=True, help="Print what they have written: stdout on stdout, stderr on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@server_option
def results(
    *, id_: str, follow: bool, failed: bool, after: int | None, output: bool, server: str | None, as_json: bool
) -> None:
    """Show what became of each input of an array, in the order of the inputs."""
    with connect(server) as client:
        for result in client.results(id_, after=after, failed=failed, follow=follow):
            if as_json:
                click.echo(_encode(result))
            elif output:
                click.echo(result.stdout, nl=False)
                click.echo(result.stderr, nl=False, err=True)
            else:
                click.echo(_line(result))


def _line(result: Result) -> str:
    text = result.input if isinstance(result.input, str) else _encode(result.input).decode()
    parts = (str(result.index), show.state(result.state), show.span(result.duration), show.line(text), _told(result))
    return "  ".join(parts).rstrip()


def _told(result: Result) -> str:
    if result.error is not None:
        return show.line(f"{result.error.type}: {result.error.message}")
    if result.result is not None:
        return show.line(_encode(result.result).decode())
    return show.line(result.stdout)
