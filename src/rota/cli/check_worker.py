"""`rota check-worker`: puts a worker in any language through the checks of the protocol."""

from __future__ import annotations

import asyncio
import shutil
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from rota.cli import show
from rota.core.errors import Invalid

if TYPE_CHECKING:
    from rota.wiring.check_worker.run import Result

_MARKS = {"ok": "green", "skip": "yellow", "FAIL": "red"}


@click.command(
    "check-worker",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""\b
Examples:
  rota check-worker ./worker.sh
  rota check-worker --only abort --only outage-silent -- node worker.mjs --verbose
  rota check-worker -- rota worker --app examples.workers.check_handlers:app
\b
What a worker must do, and the handlers that it offers for this: docs/worker-protocol.md.""",
)
@click.option(
    "--handler", "handlers", multiple=True, metavar="NAME", help="A handler that it must offer too; may be repeated."
)
@click.option("--slots", type=click.IntRange(1, 64), help="How many slots it must have; it reads ROTA_SLOTS.")
@click.option("--lease", "lease_s", type=click.FloatRange(1, 60), default=4.0, metavar="S",
              help="How long leases last; longer for a slow worker or machine.  [default: 4]")  # fmt: skip
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check only; may be repeated.")
@click.option("--list", "as_list", is_flag=True, help="List the checks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def check_worker(
    command: tuple[str, ...],
    *,
    handlers: tuple[str, ...],
    slots: int | None,
    lease_s: float,
    only: tuple[str, ...],
    as_list: bool,
    as_json: bool,
) -> None:
    """Start COMMAND, a worker, again and again, each time against a private server that has bad days; see what it does.

    It finds its server in ROTA_SERVER. Nothing of yours is touched: the servers' stores are temporary.
    """
    from rota.wiring.check_worker.run import chosen, run_checks

    checks = chosen(only)
    if as_list:
        show.columns(["CHECK", "A WORKER"], [[check.name, check.what] for check in checks])
        return
    if not command:
        raise click.UsageError("name the command that starts the worker")
    if shutil.which(command[0]) is None:
        raise Invalid("COMMAND", f"{command[0]} is no program that can be started")
    told = _quiet if as_json else _show
    results = asyncio.run(run_checks(command, checks, handlers=handlers, slots=slots, lease_s=lease_s, told=told))
    passed = all(result.passed for result in results)
    if as_json:
        click.echo(msgspec.json.encode({"command": command, "passed": passed, "checks": results}))
    else:
        failed = [result.name for result in results if not result.passed]
        click.echo(f"{len(failed)} of {len(results)} checks failed" if failed else f"all {len(results)} checks passed")
    if not passed:
        sys.exit(1)


def _quiet(_: Result) -> None:
    """Say nothing before the end."""


def _show(result: Result) -> None:
    mark = "skip" if result.skipped else "ok" if result.passed else "FAIL"
    line = f"{result.name:<22} {show.span(result.seconds):>6}  {result.what}"
    click.echo(f"{click.style(f'{mark:<4}', fg=_MARKS[mark])}  {line}")
    if result.skipped:
        click.echo(f"      not checked: {result.skipped}")
    if result.expected:
        click.echo(f"      expected: {show.plain(result.expected)}")
        click.echo(f"      seen: {show.plain(result.seen or '')}")
        for line in result.output:
            click.echo(f"      | {show.plain(line)}")
