"""`rota map`: runs a command for each of many inputs, several at once, durably. The habits of xargs and GNU parallel."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from msgspec import Raw

from rota.cli.collecting import spare_the_collector
from rota.cli.main import DONE
from rota.cli.map_options import Options, print_commands
from rota.cli.options import server_option
from rota.core.errors import Invalid

if TYPE_CHECKING:
    from rota.settings import Settings

SEPARATOR = ":::"
MOST_SLOTS = 250  # what -j0, "as many as possible", means: each is a process or two
_JOBS = re.compile(r"([+-]?)(\d{1,6})(%?)")


class MapCommand(click.Command):
    """Takes all that follows `:::` as inputs, whatever it looks like, and what stands before it as the command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split the arguments at `:::`."""
        if SEPARATOR in args:
            at = args.index(SEPARATOR)
            args, ctx.meta["inputs"] = args[:at], args[at + 1 :]
            if SEPARATOR in ctx.meta["inputs"]:
                raise click.UsageError(
                    f"a second {SEPARATOR} would combine lists; combine them before: a{{1,2}} in bash"
                )
        return super().parse_args(ctx, args)


@click.command(
    cls=MapCommand,
    epilog="""\b
Examples:
  rota map 'gzip -9 {}' *.log                       a command for each file, one a core
  find . -name '*.png' -print0 | rota map -0 -j4 'convert {} {.}.jpg'
  rota map echo {} ::: a b c                        as GNU parallel has it
  rota map --resume-failed 'gzip -9 {}' *.log       what has not succeeded yet
\b
{} input  {.} without extension  {/} base name  {//} folder  {/.} base name without
extension  {#} number  {%} slot; they are quoted. Without one the input is appended.""",
)
@click.argument("words", metavar="COMMAND [INPUT…|-] [::: INPUT…]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "-j",
    "--jobs",
    metavar="N",
    help="Run N at once; N%, +N, -N: of or beside the cores; 0: many.  [default: one a core]",
)
@click.option("-k", "--keep-order", is_flag=True, help="Print in the order of the inputs, not as each ends.")
@click.option(
    "-a", "--arg-file", "files", metavar="FILE", multiple=True, help="Take inputs from lines of FILE; may be repeated."
)
@click.option("-0", "--null", "null", is_flag=True, help="Inputs that are read end with NUL, not with a newline.")
@click.option("--halt", metavar="WHEN", help="Stop early: now|soon,fail|success|done=N or N%; never.")
@click.option("--timeout", metavar="TIME", help="End a command after this long: 30s, 2m.")
@click.option(
    "--retries", type=click.IntRange(0), metavar="N", help="Failures of an input that are forgiven.  [default: 0]"
)
@click.option("--joblog", metavar="FILE", help="Write a line for each input, in the format of GNU parallel.")
@click.option("--resume", is_flag=True, help="Leave out inputs that the last run finished, well or badly.")
@click.option("--resume-failed", is_flag=True, help="Leave out inputs that have succeeded; run the failed ones again.")
@click.option("--dry-run", is_flag=True, help="Print the commands, and run none.")
@click.option(
    "--eta", "--bar", "--progress", "bar", is_flag=True, help="Show how far it is, also where stderr is no terminal."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line for each input that is over.")
@server_option
@click.pass_context
def map_(
    ctx: click.Context, /, *, words: tuple[str, ...], files: tuple[str, ...], null: bool, jobs: str | None,
    halt: str | None, dry_run: bool, resume: bool, resume_failed: bool, server: str | None, **given: Any,
) -> None:  # fmt: skip
    """Run COMMAND under /bin/sh once for each INPUT, several at once.

    Inputs are words, lines of files, or the lines of stdin. Stdout is what the commands print. Every result is kept in the
    store (ROTA_STORE, else ./rota.db); Ctrl-C stops all of it, and --resume goes on. With --server, or ROTA_SERVER, the
    server's workers run the commands, in a clean environment.
    """
    after = ctx.meta.get("inputs")
    command, inputs = _sources(words, after, files, b"\0" if null else b"\n")
    options = Options(
        command=command,
        slots=_slots(jobs),
        slots_given=jobs is not None,
        halt=_halt(halt),
        resume="succeeded" if resume_failed else "all" if resume else None,
        **given,
    )
    from rota import settings as settings_module

    settings = settings_module.load({"server": server})
    if dry_run and options.resume is None:
        print_commands(options.command, inputs)
    else:
        sys.exit(_run(options, inputs, settings, dry=dry_run))


def _sources(
    words: Sequence[str], after: Sequence[str] | None, files: Sequence[str], separator: bytes
) -> tuple[str, Iterator[str]]:
    """Return the command and its inputs. Raises click.UsageError."""
    from rota.cli import inputs

    if not words or not words[0].strip():
        raise click.UsageError("give a command: rota map 'gzip {}' *.log")
    if after is not None:
        return " ".join(words), inputs.words(list(after))
    command, *rest = words
    if rest and rest != ["-"]:
        if files:
            raise click.UsageError("give inputs as words or with -a, not both")
        return command, inputs.words(rest)
    if not files and sys.stdin.isatty():
        click.echo("inputs are read from the terminal: one a line, Ctrl-D ends them", err=True)
    return command, (line for file in files or ("-",) for line in inputs.lines_of(file, separator))


def _slots(text: str | None) -> int:
    """Read -j. Raises Invalid."""
    cores = len(os.sched_getaffinity(0))
    if text is None:
        return cores
    match = _JOBS.fullmatch(text.strip())
    if match is None:
        raise Invalid("-j", f"{text!r} is no number; write 4, 200%, +1, -1, or 0 for many")
    sign, number, percent = match[1], int(match[2]), bool(match[3])
    amount = cores * number // 100 if percent else number
    if not sign and not percent and number == 0:
        return MOST_SLOTS
    slots = cores + amount if sign == "+" else cores - amount if sign == "-" else amount
    return min(max(slots, 1), MOST_SLOTS)


def _halt(text: str | None) -> str | None:
    from rota.core.arrays import parse_halt

    if text is None or text.strip() == "never":
        return None
    try:
        parse_halt(text)
    except ValueError as wrong:
        raise Invalid("--halt", str(wrong)) from None
    return text


def _run(options: Options, inputs: Iterator[str], settings: Settings, *, dry: bool) -> int:
    """Run, and return the exit code. Without inputs nothing is done, and no store is made."""
    from rota.client.submission import inputs_of

    if options.resume is None:
        first = next(inputs, None)
        if first is None:
            return DONE
        given: Raw | list[str] = inputs_of(_with(first, inputs))[0]
    else:
        given = list(inputs)
        if not given:
            return DONE
    import asyncio

    from rota.cli.map_run import dry_run, run

    spare_the_collector()
    return asyncio.run((dry_run if dry else run)(options, given, settings))


def _with(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
