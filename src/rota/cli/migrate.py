"""`rota migrate`: what `rota serve` does to a store when it starts, and nothing else."""

from __future__ import annotations

import asyncio

import click

from rota import settings as settings_module


@click.command(
    epilog="""\b
Examples:
  rota migrate                                     ./rota.db, or ROTA_STORE
  rota migrate --store sqlite:////var/lib/rota/jobs.db
"""
)
@click.option("--store", metavar="URL", help="Where state lives.  [default: sqlite:///rota.db]")
def migrate(store: str | None) -> None:
    """Bring a store's schema up to date, or make a new store.

    `rota serve` does the same when it starts. A store that a later Rota wrote is refused, and so is one that is in use.
    """
    from rota.store.sqlite.store import SCHEMA_VERSION
    from rota.wiring.stores import open_store

    url = settings_module.load({"store": store}).store

    async def run() -> None:
        opened = open_store(url)
        await opened.open()
        await opened.close()

    asyncio.run(run())
    click.echo(f"{url} has schema {SCHEMA_VERSION}")
