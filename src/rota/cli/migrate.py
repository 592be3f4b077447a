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
  rota migrate --store postgresql://rota@db.example/rota
"""
)
@click.option("--store", metavar="URL", help="Where state lives.  [default: sqlite:///rota.db]")
def migrate(store: str | None) -> None:
    """Bring a store's schema up to date, or make a new store.

    `rota serve` does the same when it starts. A store that a later Rota wrote is refused, and so is one that is in use.
    """
    from rota.wiring.stores import open_store, shown

    url = settings_module.load({"store": store}).store

    async def run() -> int:
        opened = open_store(url)
        await opened.open()
        await opened.close()
        return opened.schema_version

    click.echo(f"{shown(url)} has schema {asyncio.run(run())}")
