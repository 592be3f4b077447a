"""`rota token add|list|revoke`, `rota audit`: who may do what, and who did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import click
import msgspec

from rota import settings as settings_module
from rota.cli import show
from rota.cli.options import connect, json_option, server_option
from rota.client import calls
from rota.client.calls import Call
from rota.core.access import PERMISSIONS, Role
from rota.core.errors import StoreInUse

store_option = click.option(
    "--store", metavar="URL", help="Or: the store, with its server or without.  [default: ROTA_STORE]"
)
_encode = msgspec.json.Encoder().encode


@click.command(
    epilog="""\b
Examples:
  rota token add --role admin                                   the first one; on the machine of the store
  rota token add --role user --owner ana --allow scripts --expires 90d
  rota token add --role worker --queues media,mail --name gpu-1 --expires 2027-03-29T09:00
"""
)
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]), help="What it is for.")
@click.option("--owner", metavar="U", help="Of a user's: whose jobs it is for.")
@click.option("--queues", metavar="Q,…", help="Of a worker's: the queues that it may serve.  [default: all]")
@click.option("--allow", metavar="WHAT,…", help=f"Of a user's: some of {', '.join(PERMISSIONS)}, beside handlers.")
@click.option(
    "--expires", metavar="TIME", help="For how long it is good, like 90d, or until when.  [default: for ever]"
)
@click.option("--name", metavar="TEXT", help="What the list and the audit trail call it.")
@json_option
@server_option
@store_option
def add(
    *,
    role: str,
    queues: str | None,
    allow: str | None,
    server: str | None,
    store: str | None,
    as_json: bool,
    **given: str | None,
) -> None:
    """Make a token, and print it: this once, for what is kept of it is a hash."""
    body: dict[str, Any] = {"role": role, **{name: value for name, value in given.items() if value is not None}}
    body |= {name: _words(text) for name, text in (("queues", queues), ("allow", allow)) if text is not None}

    async def here(url: str) -> bytes:
        from rota.service.tokens import NewToken
        from rota.wiring import token_desk

        return _encode(await token_desk.add(url, msgspec.convert(body, NewToken)))

    answer = _ask(server, store, calls.add_token(body), here)
    made = msgspec.json.decode(answer)
    if as_json:
        click.echo(answer)
        return
    click.echo(made["token"])
    click.echo(f"token {made['id']}, for {_whom(made)}; it is not shown again", err=True)


@click.command("list", epilog="\b\nExample:\n  rota token list")
@json_option
@server_option
@store_option
def list_(server: str | None, store: str | None, as_json: bool) -> None:
    """List the tokens, also those that are over; their texts nobody can show."""

    async def here(url: str) -> bytes:
        from rota.core.wire import Page
        from rota.wiring import token_desk

        return _encode(Page(items=await token_desk.find(url)))

    answer = _ask(server, store, calls.tokens(), here)
    if as_json:
        click.echo(answer)
        return
    found = msgspec.json.decode(answer)["items"]
    if not found:
        click.echo("no tokens; make one: rota token add --role admin", err=True)
        return
    show.columns(["ID", "FOR", "NAME", "MADE", "STATE"], [_row(token) for token in found], giving=["FOR", "NAME"])


@click.command(epilog="\b\nExample:\n  rota token revoke 3f8a0c91be27      (ids: rota token list)")
@click.argument("id_", metavar="ID")
@server_option
@store_option
def revoke(id_: str, server: str | None, store: str | None) -> None:
    """End a token, at once: its next request is refused, and streams that it has open end."""

    async def here(url: str) -> bytes:
        from rota.wiring import token_desk

        return _encode(await token_desk.revoke(url, id_))

    _ask(server, store, calls.revoke_token(id_), here)
    click.echo(f"token {id_} is revoked", err=True)


@click.command(epilog="\b\nExamples:\n  rota audit\n  rota audit --token 3f8a0c91be27 --limit 1000 --json")
@click.option("--token", metavar="ID", help="Only what was done with this token.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many lines.")
@json_option
@server_option
@store_option
def audit(token: str | None, limit: int, server: str | None, store: str | None, as_json: bool) -> None:
    """Show who did what with which token, the newest first."""

    async def here(url: str) -> bytes:
        from rota.core.wire import Page
        from rota.wiring import token_desk

        return _encode(Page(items=await token_desk.trail(url, limit, token)))

    answer = _ask(server, store, calls.audit(limit, token), here)
    if as_json:
        click.echo(answer)
        return
    lines = msgspec.json.decode(answer)["items"]
    show.columns(
        ["AT", "TOKEN", "ROLE", "OWNER", "FROM", "ACTION", "TARGET", "ANSWER", "TIMES"],
        [
            [
                show.local(_moment(line["at"])), line["token"] or "-", line["role"], show.line(line["owner"]) or "-",
                show.line(line["address"]) or "-", line["action"], show.line(line["target"]) or "-", str(line["status"]),
                str(line["n"]),
            ]
            for line in lines
        ],
        giving=["TARGET", "AT"],
    )  # fmt: skip


def _ask(
    server: str | None, store: str | None, call: Call[msgspec.Raw], here: Callable[[str], Coroutine[Any, Any, bytes]]
) -> bytes:
    """Ask the server that was named; else open the store, or ask the server that owns it."""
    if server and store:
        raise click.UsageError("give --server or --store, not both")
    settings = settings_module.load({"server": server, "store": store})
    if settings.server is None or store is not None:
        try:
            return asyncio.run(here(settings.store))
        except StoreInUse:
            server = settings.store
    with connect(server) as client:
        return bytes(client.call(call))


def _words(text: str) -> list[str]:
    return [word for word in (part.strip() for part in text.split(",")) if word]


def _whom(token: dict[str, Any]) -> str:
    """Say what a token is for."""
    words = str(token["role"])
    if token["owner"] is not None:
        words += f" {show.line(token['owner'])}"
    if token["allow"]:
        words += f" with {', '.join(token['allow'])}"
    if token["queues"]:
        words += f" of {show.line(', '.join(token['queues']))}"
    return words


def _row(token: dict[str, Any]) -> list[str]:
    revoked, expires = _moment(token["revoked_at"]), _moment(token["expires_at"])
    if revoked is not None:
        state = f"revoked {show.age(revoked)}"
    else:
        state = "good" if expires is None else f"expires {show.age(expires)}"
    return [token["id"], _whom(token), show.line(token["name"]) or "-", show.age(_moment(token["created_at"])), state]


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
