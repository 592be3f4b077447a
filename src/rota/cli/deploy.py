"""`rota schedule deploy`: the schedules that code declares, brought to the server."""

from __future__ import annotations

import os
import sys

import click
import msgspec

from rota import settings as settings_module
from rota.cli import show
from rota.cli.options import connect, json_option, server_option
from rota.client import calls


@click.command(
    epilog="""\b
Examples:
  rota schedule deploy --app tasks:app --dry-run
  rota schedule deploy --app tasks:app --prune"""
)
@click.option("--app", "apps", multiple=True, metavar="MODULE:NAME", help="Whose schedules; may be repeated.")
@click.option("--origin", metavar="TEXT", help="What the app is called in the store.  [default: MODULE:NAME]")
@click.option("--prune", is_flag=True, help="Remove what is declared no more, in place of pausing it.")
@click.option("--anyway", is_flag=True, help="Also go back to what was replaced before.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@json_option
@server_option
def deploy(
    *,
    apps: tuple[str, ...],
    origin: str | None,
    prune: bool,
    anyway: bool,
    dry_run: bool,
    server: str | None,
    as_json: bool,
) -> None:
    """Make, change and pause schedules as `@app.schedule` declares them. Those that people made are left alone.

    Run it with each release. An older release that runs it again changes nothing: see --anyway.
    """
    from rota.worker.loading import BadApp, schedules_of

    apps = apps or settings_module.load({}).apps
    if not apps:
        raise click.UsageError("name the app: --app MODULE:NAME")
    if origin is not None and len(apps) > 1:
        raise click.UsageError("--origin goes with one --app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        declared = {origin or app: schedules_of(app) for app in apps}
    except BadApp as wrong:
        raise click.UsageError(str(wrong)) from None
    with connect(server) as client:
        for name, schedules in declared.items():
            body = {"origin": name, "schedules": schedules, "prune": prune, "anyway": anyway, "dry_run": dry_run}
            answer = client.call(calls.deploy_schedules(body))
            click.echo(bytes(answer)) if as_json else _tell(msgspec.json.decode(answer))


def _tell(done: dict[str, object]) -> None:
    if done["older"]:
        click.echo(
            f"{done['origin']}: these were replaced by newer ones; nothing is changed (--anyway goes back)", err=True
        )
    for each in done["schedules"]:  # type: ignore[attr-defined]
        click.echo(f"{each['what']:8}  {show.line(each['name'])}")
