"""`rota queues`, `rota queue pause|resume|limit`, `rota limits`, `rota limit set|rm`."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from rota.cli import show
from rota.cli.options import connect, json_option, server_option
from rota.client import calls
from rota.core.errors import Invalid

_MOST = click.option("--concurrency", metavar="N|none", help="At most N of its jobs run at once.")
_RATE = click.option("--rate", metavar="N/TIME|none", help="At most N of its jobs start in a period: 100/1m, 10/s.")
_BURST = click.option(
    "--burst", type=int, metavar="N", help="With --rate: at most N at once after a pause.  [default: N of the rate]"
)


@click.command(epilog="\b\nExample:\n  rota queues")
@json_option
@server_option
def queues(server: str | None, as_json: bool) -> None:
    """List the queues: what waits and runs in each, and what it may use."""
    with connect(server) as client:
        answer = client.call(calls.queues(msgspec.Raw))
    if as_json:
        click.echo(bytes(answer))
        return
    found = msgspec.json.decode(answer)["items"]
    if not found:
        click.echo("no queue has jobs, nor was anything set for one", err=True)
        return
    rows = [[
        show.line(q["name"]), "paused" if q["paused"] else "open", _n(q["queued"]), _n(q["waiting"]), _n(q["running"]),
        _n(q["concurrency"]), _rate(q["rate"]), f"{q.get('weight', 1):g}",
    ] for q in found]  # fmt: skip
    heads = ["QUEUE", "STATE", "QUEUED", "WAITING", "RUNNING", "CONCURRENCY", "RATE", "WEIGHT"]
    show.columns(heads, rows, giving=["QUEUE"])


def _action(name: str, past: str, told: str) -> click.Command:
    @click.command(name, help=told, epilog=f"\b\nExample:\n  rota queue {name} mail")
    @click.argument("queue")
    @server_option
    def command(queue: str, server: str | None) -> None:
        with connect(server) as client:
            client.call(calls.queue_action(queue, name, msgspec.Raw))
        click.echo(f"queue {show.line(queue)} {past}", err=True)

    return command


pause = _action("pause", "is paused", "Let no job of a queue start; those that run go on.")
resume = _action("resume", "goes on", "Let jobs of a paused queue start again.")


@click.command(
    epilog="""\b
Examples:
  rota queue limit mail --rate 100/1m --burst 10
  rota queue limit mail --concurrency none
  rota queue limit mail --weight 3            three starts for each of a queue of weight 1"""
)
@click.argument("queue")
@_MOST
@_RATE
@_BURST
@click.option(
    "--weight", type=float, metavar="W", help="Its starts for each of a queue of weight 1 of the same priority."
)
@server_option
def limit(*, queue: str, server: str | None, weight: float | None, **given: Any) -> None:
    """Set what a queue may use: how many jobs at once, how many in a period; and its weight beside other queues.

    `none` takes a limit away.
    """
    body = setting_of(**given) | ({} if weight is None else {"weight": weight})
    if not body:
        raise click.UsageError("say what to set: --concurrency, --rate, --weight")
    with connect(server) as client:
        client.call(calls.edit_queue(queue, body, msgspec.Raw))


@click.command(epilog="\b\nExample:\n  rota limits")
@json_option
@server_option
def limits(server: str | None, as_json: bool) -> None:
    """List the limits of queues, handlers and keys, and how much of each is used."""
    with connect(server) as client:
        answer = client.call(calls.limits(msgspec.Raw))
    if as_json:
        click.echo(bytes(answer))
        return
    found = msgspec.json.decode(answer)["items"]
    if not found:
        click.echo("there are no limits; set one: rota limit set handler:NAME --concurrency N", err=True)
        return
    rows = [
        [
            f"{one['kind']}:{show.line(one['name'])}",
            _n(one["running"]),
            _n(one["concurrency"]),
            _rate(one["rate"]),
            one["next_at"] or "",
        ]
        for one in found
    ]
    show.columns(["LIMIT", "RUNNING", "CONCURRENCY", "RATE", "NEXT START"], rows, giving=["LIMIT"])


@click.command(
    epilog="\b\nExamples:\n  rota limit set handler:resize --concurrency 2\n  rota limit set queue:mail --rate 10/s\n"
    "  rota limit set key:acme --concurrency 5            jobs submitted with --limit-key acme\n"
    "  rota limit set 'key:customer-*' --concurrency 2    of each key with that beginning"
)
@click.argument("which", metavar="handler:NAME|queue:NAME|key:NAME")
@_MOST
@_RATE
@_BURST
@server_option
def set_(*, which: str, server: str | None, **given: Any) -> None:
    """Set a limit: how many jobs of a handler, a queue or a key run at once, how many start in a period. `none` takes it away.

    A key is what jobs were submitted with as --limit-key. A name that ends in * is for every key with that beginning, each by
    itself; of several the longest holds, and a limit of the key's own before all.
    """
    if not (body := setting_of(**given)):
        raise click.UsageError("say what to set: --concurrency, --rate")
    with connect(server) as client:
        client.call(calls.set_limit(*_pool(which), body))


@click.command(epilog="\b\nExample:\n  rota limit rm handler:resize")
@click.argument("which", metavar="handler:NAME|queue:NAME|key:NAME")
@server_option
def rm(which: str, server: str | None) -> None:
    """Take a limit away."""
    with connect(server) as client:
        client.call(calls.remove_limit(*_pool(which)))


def setting_of(concurrency: str | None, rate: str | None, burst: int | None) -> dict[str, Any]:
    """Return the body that the options make. Raises Invalid."""
    body: dict[str, Any] = {}
    if concurrency is not None:
        if concurrency != "none" and not concurrency.isdecimal():
            raise Invalid("--concurrency", "is a number, or none")
        body["concurrency"] = None if concurrency == "none" else int(concurrency)
    if rate is not None:
        body["rate"] = None if rate == "none" else rate
    if burst is not None:
        n, slash, per = (rate or "").partition("/")
        if not slash or not n.strip().isdecimal():
            raise Invalid("--burst", "goes with a --rate like 100/1m")
        body["rate"] = {"n": int(n), "per": per.strip(), "burst": burst}
    return body


def _pool(which: str) -> tuple[str, str]:
    kind, colon, name = which.partition(":")
    if not colon:
        raise Invalid("LIMIT", "is handler:NAME, queue:NAME or key:NAME")
    return kind, name


def _n(value: int | None) -> str:
    return "" if value is None else str(value)


def _rate(rate: dict[str, Any] | None) -> str:
    return "" if rate is None else f"{rate['n']}/{rate['per']:g}s, burst {rate['burst']}"
