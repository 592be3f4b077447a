"""`rota owners`, `rota owner NAME`: whose jobs there are, which share each owner gets, and its limits."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from rota.cli import show
from rota.cli.options import connect, json_option, server_option
from rota.client import calls
from rota.core.errors import Invalid
from rota.core.owners import Owner, ShareView

_LIMITS = ("max_priority", "max_waiting", "max_running", "max_bytes")


@click.command(epilog="\b\nExamples:\n  rota owners\n  rota owners --json")
@json_option
@server_option
def owners(server: str | None, as_json: bool) -> None:
    """List the owners that have jobs, or that something was set for."""
    with connect(server) as client:
        found = [*client.walk(calls.owner_pages())]
    if as_json:
        click.echo(msgspec.json.encode({"items": found, "next": None}))
        return
    if not found:
        click.echo("no owners yet; whoever submits a job is one: rota submit … --owner ana", err=True)
        return
    show.columns(["OWNER", "WEIGHT", "LIMITS"], [[o.owner, f"{o.weight:g}", _limits(o) or "-"] for o in found])


@click.command(
    epilog="""\b
Examples:
  rota owner ana                              its share, and what it used in the last hour
  rota owner ana --weight 3                   three starts for each of an owner of weight 1
  rota owner ana --max-priority 10
  rota owner ana --max-priority none          no limit again
  rota owner ana --max-waiting 1000 --max-bytes 100000000
                                              a submission beyond that is refused, and told why"""
)
@click.argument("name", metavar="NAME")
@click.option("--weight", type=float, metavar="W", help="Its share against others at equal priority: 0.001 to 1000.")
@click.option("--max-priority", metavar="P", help="The highest priority of its jobs; none: any.")
@click.option("--max-waiting", metavar="N", help="How many of its jobs may wait at once; none: any number.")
@click.option("--max-running", metavar="N", help="How many of its jobs may run at once; none: any number.")
@click.option(
    "--max-bytes", metavar="N", help="The bytes that its jobs may hold until they are over; none: any number."
)
@json_option
@server_option
def owner(name: str, *, weight: float | None, server: str | None, as_json: bool, **limits: str | None) -> None:
    """Show an owner's share and limits; set those that are given."""
    given: dict[str, Any] = {field: _number(field, text) for field, text in limits.items() if text is not None}
    given |= {} if weight is None else {"weight": weight}
    with connect(server) as client:
        if given:
            client.call(calls.edit_owner(name, given))
        share = client.call(calls.owner_share(name))
    if as_json:
        click.echo(msgspec.json.encode(share))
        return
    click.echo(
        f"{name}: weight {share.weight:g}, {share.share:.1%} of the starts among {share.active_owners} active owners"
    )
    click.echo(f"  {share.used:.1%} of the {share.slot_seconds:,.0f} slot-seconds of the last hour")
    click.echo(f"  {share.running} running, {share.waiting} ready")
    if limits_ := _limits(share):
        click.echo(f"  {limits_}")
    if share.turns:
        rows = [[t.queue, t.lane, str(t.priority), str(t.ready), f"{t.due_in:g}"] for t in share.turns]
        show.columns(["QUEUE", "LANE", "PRIORITY", "READY", "DUE IN"], rows)


def _limits(of: Owner | ShareView) -> str:
    return ", ".join(
        f"{field} {value}{_used(of, field)}" for field in _LIMITS if (value := getattr(of, field)) is not None
    )


def _used(of: Owner | ShareView, field: str) -> str:
    used = None if of.use is None else getattr(of.use, field.removeprefix("max_"), None)
    return "" if used is None else f" ({used} in use)"


def _number(field: str, text: str) -> int | None:
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise Invalid(field, "is a whole number, or none") from None
