"""`rota worker`: takes jobs from a server and runs them."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from rota import settings as settings_module
from rota.cli.collecting import spare_the_collector


@click.command(
    epilog="""\b
Examples:
  rota worker --app tasks:app                              jobs from http://127.0.0.1:8000
  rota worker --server http://10.0.0.5:8000 --app tasks:app --slots 8
  rota worker --queue media --queue mail --app tasks:app   only these queues
"""
)
@click.option("--server", metavar="URL", help="Where to get jobs.  [default: ROTA_SERVER, or http://127.0.0.1:8000]")
@click.option("--store", metavar="URL", help="Or: the store whose server, on this machine, to get jobs from.")
@click.option("--app", "apps", multiple=True, metavar="MODULE:NAME", help="Handlers; may be repeated.")
@click.option(
    "--deploy/--no-deploy", "deploy", default=None, help="Deploy the schedules that apps declare.  [default: deploy]"
)
@click.option("--slots", type=click.IntRange(1, 1024), help="Jobs at once.  [default: one a core, and 250 async ones]")
@click.option("--run-as", metavar="USER", help="Run jobs as this user; needs root.  [default: as the worker itself]")
@click.option("--queue", "queues", multiple=True, metavar="Q", help="Take jobs of this queue only; may be repeated.")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Take jobs that need this too; may be repeated.")
@click.option("--name", metavar="ID", help="What the worker is called.  [default: HOST-PID]")
@click.option("--drain", "drain_s", type=float, metavar="S", help="How long a stop lets jobs finish.  [default: 10]")
@click.option("--reload", is_flag=True, help="Load the handlers again when a file changes (for development).")
@click.option("--lifeline-fd", type=int, hidden=True)
@click.option("--lock-fd", type=int, hidden=True)
def worker(
    *,
    server: str | None,
    store: str | None,
    queues: tuple[str, ...],
    name: str | None,
    reload: bool,
    lifeline_fd: int | None,
    lock_fd: int | None,
    **flags: Any,
) -> None:
    """Run jobs: handlers in processes of their own, async handlers together in one, scripts under bash.

    Schedules that the apps declare are deployed first, if the token is an admin's; see rota schedule deploy.
    Stop with Ctrl-C or SIGTERM: what runs gets time to finish, and is given back otherwise.
    """
    if server and store:
        raise click.UsageError("give --server or --store, not both")
    from rota import log, tracing
    from rota.wiring.worker import run_worker
    from rota.worker.identity import BadUser
    from rota.worker.pool import AppError

    settings = settings_module.load({field: value for field, value in flags.items() if value not in (None, ())})
    log.set_up(settings.log_format, settings.log_level)
    tracing.set_up("rota-worker")
    spare_the_collector()
    try:
        asyncio.run(
            run_worker(
                settings,
                server=server or store or settings.server_url,
                name=name,
                queues=queues,
                lifeline_fd=lifeline_fd,
                lock_fd=lock_fd,
                reload=reload,
            )
        )
    except (AppError, BadUser) as error:
        from rota.wiring.fleet import BAD_APP

        click.echo(f"Error: {error}", err=True)
        sys.exit(BAD_APP)
    finally:
        tracing.shut_down()
