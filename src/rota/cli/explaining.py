"""`rota explain`, and what `--dry-run` answers: reasons in their order, the way out of each, and where the time went."""

from __future__ import annotations

from collections.abc import Iterable

import click
import msgspec

from rota.cli import show
from rota.cli.options import connect, json_option, server_option
from rota.client import calls
from rota.client.views import DryRun, Forecast, Reason
from rota.core.forecasts import about
from rota.core.lifetimes import Spent

_BAR = 30  # characters of the longest part
_PARTS = (
    ("dependency_s", "other jobs"),
    ("scheduled_s", "its time"),
    ("queued_s", "a slot"),
    ("ran_s", "ran"),
    ("backoff_s", "back-off"),
    ("other_s", "not known"),
)


@click.command(
    epilog="""\b
Examples:
  rota explain 01a1fe1b-ceb3-7143-ad7b-a460d3422ef5
  rota explain ID --json | jq -r '.reasons[].code'
  rota submit resize --data 7 --dry-run         the same of a job that is not submitted yet"""
)
@click.argument("id_", metavar="ID")
@json_option
@server_option
def explain(id_: str, server: str | None, as_json: bool) -> None:
    """Say why a job is not running, or where it stands, what would change that, and where its time went.

    The first reason is the one that counts. Each is followed by the way out, where there is one.
    """
    with connect(server) as client:
        if as_json:
            click.echo(bytes(client.call(calls.explain(id_, msgspec.Raw))))
            return
        told = client.explain(id_)
    click.echo(f"{told.job}  {show.state(told.state)}")
    _tell_reasons(told.reasons)
    _tell_start(told.starts_in_s)
    if told.time is not None and told.time.total_s > 0:
        _tell_time(told.time)


def tell_dry_run(answer: bytes, *, as_json: bool) -> None:
    """Print what a dry run has told."""
    if as_json:
        click.echo(answer)
        return
    told = msgspec.json.decode(answer, type=DryRun)
    for job in told.jobs:
        click.echo(_would(job))
        _tell_reasons(job.reasons)
        _tell_start(job.starts_in_s)
    for id_ in told.cancels:
        click.echo(f"would cancel {id_}, whose unique key it has")
    click.echo("dry run: nothing was submitted", err=True)


def _would(job: Forecast) -> str:
    ref = f"{show.line(job.ref)} " if job.ref is not None else ""
    if job.existing is not None:
        return f"{ref}would make no new job: {job.existing} stands for it, which is {show.state(job.state)}"
    where = f"queue {show.line(job.queue)}, owner {show.line(job.owner)}, priority {job.priority}"
    return f"{ref}would be {show.state(job.state)} ({where})"


def _tell_reasons(reasons: Iterable[Reason]) -> None:
    for reason in reasons:
        click.echo(f"- {show.plain(reason.text)}")
        if reason.way_out:
            click.echo(f"    {show.plain(reason.way_out)}")


def _tell_start(in_s: float | None) -> None:
    if in_s is not None:
        click.echo(f"expected to start in about {about(in_s)}" if in_s >= 1 else "expected to start now")


def _tell_time(time: Spent) -> None:
    """Show each part of a job's life as a bar."""
    parts = [(words, getattr(time, name)) for name, words in _PARTS]
    most = max(seconds for _, seconds in parts)
    notes = {"back-off": f"retried {time.retries} times" if time.retries != 1 else "retried once"}
    click.echo(f"\nwhere its time went: {show.span(time.total_s)}")
    for words, seconds in parts:
        if seconds > 0:
            bar = "█" * max(1, round(_BAR * seconds / most))
            note = f"  {notes[words]}" if words in notes else ""
            click.echo(f"  {words:<10}  {show.span(seconds):>6}  {bar}{note}")
