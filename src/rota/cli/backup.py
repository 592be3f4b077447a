"""`rota backup` and `rota restore`: the embedded store copied while it is in use, and put back."""

from __future__ import annotations

from pathlib import Path

import click

from rota import settings as settings_module
from rota.cli.bar import progress

_STORE = click.option("--store", metavar="URL", help="The embedded store.  [default: ROTA_STORE, or sqlite:///rota.db]")


@click.command(
    epilog="""\b
Examples:
  rota backup rota-$(date +%F).db                  what ./rota.db, or ROTA_STORE, holds at this moment
  rota backup /mnt/backup/rota.db --store sqlite:////var/lib/rota/jobs.db
"""
)
@click.argument("file", type=click.Path(path_type=Path))
@_STORE
def backup(file: Path, store: str | None) -> None:
    """Copy the embedded store to a new FILE, while its server goes on.

    FILE holds the store as it was when the command began. It is checked, and appears whole or not at all.
    """
    from rota.store.sqlite.backup import back_up
    from rota.wiring.stores import sqlite_path

    url = settings_module.load({"store": store}).store
    with progress("backing up") as told:
        jobs = back_up(sqlite_path(url), file.absolute(), told)
    click.echo(f"{file} holds {url}: {jobs} {'job' if jobs == 1 else 'jobs'}")


@click.command(
    epilog="""\b
Examples:
  rota restore rota-2026-11-21.db                  to ./rota.db, or ROTA_STORE
  rota restore /mnt/backup/rota.db --store sqlite:////var/lib/rota/jobs.db
"""
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@_STORE
def restore(file: Path, store: str | None) -> None:
    """Make an embedded store from a FILE of `rota backup`.

    The store must not be there yet. What ran when the backup was made runs again, once its lease is over; what ended
    since then is not known to have ended, and runs again too.
    """
    from rota.store.sqlite.backup import restore as put_back
    from rota.wiring.stores import sqlite_path

    url = settings_module.load({"store": store}).store
    with progress("restoring") as told:
        jobs = put_back(file.absolute(), sqlite_path(url), told)
    click.echo(f"{url} holds {file}: {jobs} {'job' if jobs == 1 else 'jobs'}")
