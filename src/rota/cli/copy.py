"""`rota copy`: a store moved to another place, or to the other kind of store."""

from __future__ import annotations

import asyncio

import click

from rota.cli.bar import progress


@click.command(
    epilog="""\b
Examples:
  rota copy sqlite:///rota.db postgresql://rota@db.example/rota
  rota copy postgresql://rota@db.example/rota sqlite:////var/lib/rota/rota.db
"""
)
@click.argument("source", metavar="STORE_A")
@click.argument("target", metavar="STORE_B")
def copy(source: str, target: str) -> None:
    """Copy all that the store STORE_A holds to the new store STORE_B, and compare.

    Stop its servers first: a stop lets jobs finish. What still runs then goes back to its queue once its lease is over, and
    runs again where a server is started next. STORE_B must not be there yet; it appears whole or not at all.
    """
    from rota.wiring.copying import copy_store
    from rota.wiring.stores import shown

    def waits(seconds: float) -> None:
        click.echo(f"waiting {seconds:.0f} s for the leases of workers that nobody hears any more", err=True)

    with progress("copying") as told:
        done = asyncio.run(copy_store(source, target, told, waits))
    width = max(len(one.table) for one in done.tables)
    for one in done.tables:
        click.echo(f"{one.table:{width}} {one.rows:>12}  sha256 {one.checksum}")
    if done.given_back:
        click.echo(f"{done.given_back} running {'attempt was' if done.given_back == 1 else 'attempts were'} given back")
    if done.replaced:
        click.echo(
            f"{done.replaced} texts have \N{REPLACEMENT CHARACTER} in place of NUL, which PostgreSQL cannot store"
        )
    click.echo(f"{shown(target)} holds what {shown(source)} holds; start servers on one of them only")
