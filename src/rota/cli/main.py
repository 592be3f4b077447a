"""`rota`: the table of commands, each loaded when it is called, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from rota.core.errors import RotaError

# command -> (module:name, what `rota --help` says of it)
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("rota.cli.serve:serve", "Start a server: the HTTP API, upkeep, and workers of its own."),
    "worker": ("rota.cli.worker:worker", "Take jobs from a server and run them."),
    "submit": ("rota.cli.submit:submit", "Submit a job for a handler."),
    "script": ("rota.cli.submit:script", "Submit a bash script as a job."),
    "image": ("rota.cli.submit:image", "Submit a container image as a job."),
    "map": ("rota.cli.map:map_", "Run a command for each of many inputs, as xargs and GNU parallel do."),
    "jobs": ("rota.cli.jobs:jobs", "List jobs, the newest first."),
    "job": ("rota.cli.jobs:job", "Show a job."),
    "results": ("rota.cli.results:results", "Show what became of an array's inputs."),
    "logs": ("rota.cli.streams:logs", "Show what a job has written."),
    "events": ("rota.cli.streams:events", "Show what happened to a job, or follow what happens to all."),
    "explain": ("rota.cli.explaining:explain", "Say why a job is not running."),
    "abort": ("rota.cli.jobs:abort", "Stop jobs, whether they run or not."),
    "retry": ("rota.cli.jobs:retry", "Run jobs that are over again."),
    "schedules": ("rota.cli.schedules:schedules", "List the schedules."),
    "schedule add": ("rota.cli.schedules:add", "Submit a job again and again: cron, an interval, a time."),
    "schedule show": ("rota.cli.schedules:show_", "Show a schedule: its next slots, and its last ones."),
    "schedule edit": ("rota.cli.schedules:edit", "Change a schedule."),
    "schedule pause": ("rota.cli.schedules:pause", "Let a schedule rest."),
    "schedule resume": ("rota.cli.schedules:resume", "Let a paused schedule go on."),
    "schedule run": ("rota.cli.schedules:run", "Submit the job of a schedule now."),
    "schedule rm": ("rota.cli.schedules:rm", "Remove a schedule."),
    "schedule deploy": ("rota.cli.deploy:deploy", "Bring the schedules that code declares to the server."),
    "schedule preview": ("rota.cli.schedules:preview", "Show when a rule would fire."),
    "runs": ("rota.cli.runs:runs", "List the runs: workflows that were submitted as a whole."),
    "run": ("rota.cli.runs:run", "Show a run: its state, and its jobs in the order of their graph."),
    "run submit": ("rota.cli.runs:submit", "Submit a workflow from a file."),
    "owners": ("rota.cli.owners:owners", "List the owners."),
    "owner": ("rota.cli.owners:owner", "Show an owner's share and limits, or set them."),
    "queues": ("rota.cli.queues:queues", "List the queues."),
    "queue pause": ("rota.cli.queues:pause", "Let no job of a queue start."),
    "queue resume": ("rota.cli.queues:resume", "Let a paused queue go on."),
    "queue limit": ("rota.cli.queues:limit", "Set how many of a queue's jobs run at once, or start in a period."),
    "limits": ("rota.cli.queues:limits", "List limits, and how much of each is used."),
    "limit set": ("rota.cli.queues:set_", "Set a limit of a handler or a queue."),
    "limit rm": ("rota.cli.queues:rm", "Take a limit away."),
    "workers": ("rota.cli.workers:workers", "List the workers."),
    "worker drain": ("rota.cli.workers:drain", "Let a worker finish what it runs, and leave."),
    "status": ("rota.cli.workers:status", "Show counts of jobs, and who runs them."),
    "check-worker": (
        "rota.cli.check_worker:check_worker",
        "See whether a worker in any language keeps to the protocol.",
    ),
    "token add": ("rota.cli.tokens:add", "Make a token: for an admin, a user or a worker."),
    "token list": ("rota.cli.tokens:list_", "List the tokens."),
    "token revoke": ("rota.cli.tokens:revoke", "End a token, at once."),
    "audit": ("rota.cli.tokens:audit", "Show who did what with which token."),
    "migrate": ("rota.cli.migrate:migrate", "Bring a store's schema up to date."),
    "backup": ("rota.cli.backup:backup", "Copy the embedded store while it is in use."),
    "restore": ("rota.cli.backup:restore", "Make an embedded store from a backup."),
    "copy": ("rota.cli.copy:copy", "Copy a store to a new one, of either kind."),
    "completion": ("rota.cli.completion:completion", "Write the shell's completion of these commands."),
}

DONE, JOB_FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
BROKEN_PIPE = 141  # as the shell reports a program that SIGPIPE ended
_EXITS = {"invalid": USAGE, "too-large": USAGE, "idempotency-key-reused": USAGE, "unreachable": UNREACHABLE}
_EXITS |= {"unavailable": UNREACHABLE, "store-in-use": USAGE, "store-too-new": USAGE}


class Commands(click.Group):
    """A group whose commands are imported one by one, and whose errors end in one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; `worker drain` is one command of two words."""
        two = " ".join(args[:2])
        if two in COMMANDS:
            return two, self.get_command(ctx, two), args[2:]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command without importing them."""
        known = [CompletionItem(name, help=told) for name, (_, told) in COMMANDS.items() if name.startswith(incomplete)]
        return [*known, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except RotaError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(_EXITS.get(error.code, JOB_FAILED))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:  # the reader of our output had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(BROKEN_PIPE)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        click.echo(f"rota {version('rota')}")
        ctx.exit()


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
First steps:
  rota serve                                    a server with three workers, on ./rota.db
  rota script - --wait <<< 'echo hello; sleep 1'
  rota jobs
\b
Exit codes: 0 done, 1 the job failed or the request was refused, 2 wrong usage or input,
3 the server cannot be reached, 130 interrupted. Settings: docs/settings.md.""",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def main() -> None:
    """Run jobs durably: now, later, or after other jobs; and stop them when you say so."""
