"""`rota workers`, `worker drain`, `status`: who runs jobs, and how many there are."""

from __future__ import annotations

import click
import msgspec

from rota.cli import show
from rota.cli.options import connect, json_option, server_option
from rota.client import calls
from rota.client.views import Worker
from rota.core.states import State
from rota.core.wire import Page


@click.command(epilog="\b\nExample:\n  rota workers")
@json_option
@server_option
def workers(server: str | None, as_json: bool) -> None:
    """List the workers: those that are present first; gone ones stay in the list for an hour."""
    with connect(server) as client:
        answer = bytes(client.call(calls.workers(msgspec.Raw)))
    if as_json:
        click.echo(answer)
        return
    found = msgspec.json.decode(answer, type=Page[Worker]).items
    if not found:
        click.echo("no workers; start one: rota worker --app MODULE:NAME", err=True)
        return
    show.columns(
        ["ID", "STATE", "RUNNING", "SLOTS", "QUEUES", "SEEN", "RUNS"],
        [_row(worker) for worker in found],
        giving=["QUEUES", "RUNS"],
    )


def _row(worker: Worker) -> list[str]:
    runs = [spec.name for spec in worker.handlers] + (["scripts"] if worker.scripts else [])
    slots = f"{worker.slots}+{worker.async_slots} async" if worker.async_slots else str(worker.slots)
    queues = show.line(" ".join(worker.queues)) or "all"
    seen = show.age(worker.seen_at)
    return [worker.id, show.state(worker.state), str(worker.running), slots, queues, seen, show.line(" ".join(runs))]


@click.command(epilog="\b\nExample:\n  rota worker drain host-1234.a6631a37      (ids: rota workers)")
@click.argument("id_", metavar="ID")
@server_option
def drain(id_: str, server: str | None) -> None:
    """Let a worker take no more jobs, finish what it runs, and leave."""
    with connect(server) as client:
        client.drain(id_)
    click.echo(f"{id_} drains", err=True)


@click.command(epilog="\b\nExamples:\n  rota status\n  rota status --json | jq .jobs.queued")
@json_option
@server_option
def status(server: str | None, as_json: bool) -> None:
    """Show counts of jobs in all and by queue, and how busy the workers are."""
    with connect(server) as client:
        answer = bytes(client.call(calls.stats(msgspec.Raw)))
    if as_json:
        click.echo(answer)
        return
    stats = msgspec.json.decode(answer)
    signals = "" if stats["signals"] == "local" else f", signals {stats['signals']}"
    click.echo(f"workers {stats['workers']}, slots {stats['slots']}, running {stats['running']}{signals}")
    states = [state.value for state in State]
    counts = {"(all)": stats["jobs"], **stats["queues"]}
    rows = [[name, *(str(by_state.get(state, 0)) for state in states)] for name, by_state in counts.items()]
    show.columns(["QUEUE", *(state.upper() for state in states)], rows)
    for queue, seconds in stats["oldest_ready"].items():
        click.echo(f"the oldest ready job of {show.line(queue)} has waited for {show.span(seconds)}")
