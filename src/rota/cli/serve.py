"""`rota serve`: the server, with workers of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from rota import settings as settings_module
from rota.cli.collecting import spare_the_collector
from rota.core.errors import Invalid
from rota.core.times import parse_duration

if TYPE_CHECKING:
    from rota.wiring.heritage import Heritage

T = TypeVar("T")


@click.command(
    epilog="""\b
Examples:
  rota serve --app tasks:app                 one file ./rota.db, three workers, http://127.0.0.1:8000
  rota serve --store sqlite:////var/lib/rota/jobs.db --workers 8 --slots 4
  rota serve --store postgresql://rota@db.example/rota    one of several; set ROTA_STORE when it has a password
  rota serve --store postgresql://… --processes 4         on a machine with cores to spare: four processes at one port
  rota serve --workers 0                     no workers here; start them with: rota worker --app tasks:app
"""
)
@click.option("--host", help="Address to listen on; beyond loopback it asks for tokens.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.  [default: 8000]")
@click.option("--store", metavar="URL", help="Where state lives.  [default: sqlite:///rota.db]")
@click.option(
    "--signals", metavar="WAY", help="How servers on one PostgreSQL wake each other: redis://…, none.  [default: auto]"
)
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    metavar="N",
    help="How many processes answer at the port; several on PostgreSQL only.  [default: 1]",
)
@click.option("--workers", type=click.IntRange(0, 64), help="How many workers to start.  [default: 3]")
@click.option("--app", "apps", multiple=True, metavar="MODULE:NAME", help="Handlers for the workers; may be repeated.")
@click.option(
    "--deploy/--no-deploy", "deploy", default=None, help="Deploy the schedules that apps declare.  [default: deploy]"
)
@click.option("--slots", type=click.IntRange(1, 1024), help="Jobs that a worker runs at once.  [default: one a core]")
@click.option(
    "--lease", "lease_s", type=float, metavar="S", help="How long a silent worker keeps its jobs.  [default: 15]"
)
@click.option(
    "--pull-lease", "pull_lease_s", type=float, metavar="S", help="How long a silent pull worker does.  [default: 10]"
)
@click.option("--drain", "drain_s", type=float, metavar="S", help="How long a stop lets jobs finish.  [default: 10]")
@click.option("--retention", "retention_s", metavar="TIME", help="How long jobs that are over are kept.  [default: 7d]")
@click.option("--apis", metavar="LETTERS", help="Which older APIs to serve, as in b,d; or none.  [default: a,b,c,d]")
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, metavar="NAME", help="A further Host name to answer to."
)
@click.option("--tls-cert", metavar="FILE", help="Speak TLS, with this certificate and its chain (PEM).")
@click.option("--tls-key", metavar="FILE", help="The key of that certificate.  [default: in the same file]")
@click.option("--require-token", is_flag=True, default=None, help="Ask for a token on loopback too.")
@click.option(
    "--insecure-no-tokens", is_flag=True, default=None, help="Ask for none, wherever; refuse scripts and images."
)
@click.option(
    "--rate", type=click.FloatRange(0.01), metavar="N", help="Requests a second of one token.  [default: any]"
)
@click.option(
    "--hook-target",
    "hook_targets",
    multiple=True,
    metavar="NET",
    help="A network or host that hooks may go to besides.",
)
@click.option("--reload", is_flag=True, help="Load the handlers again when a file changes (for development).")
@click.option("--heritage", hidden=True)
def serve(**flags: Any) -> None:
    """Start a server: the HTTP API, upkeep, and workers that die with it.

    State is in one SQLite file, owned by this process, or in a PostgreSQL database that servers share. Stop with Ctrl-C
    or SIGTERM: running jobs get time to finish and are given back otherwise; a second Ctrl-C ends them at once.

    One process answers as fast as one core lets it. With --processes several share the port; one that dies is started
    again, and the workers, which are not its own, go on.
    """
    from rota import log, tracing
    from rota.wiring.fleet import WorkerFailed

    heritage = None
    if (inherited := flags.pop("heritage")) is not None:
        from rota.wiring.heritage import Heritage

        heritage = Heritage.take(inherited)  # before the settings are read: some of them are in there
    reload = flags.pop("reload")
    if flags["retention_s"] is not None:
        flags["retention_s"] = _read("--retention", parse_duration, flags["retention_s"])
    if flags["apis"] is not None:
        flags["apis"] = _read("--apis", settings_module.read_apis, flags["apis"])
    for flag, name in (("--lease", "lease_s"), ("--pull-lease", "pull_lease_s")):
        if flags[name] is not None and flags[name] < 1:
            raise click.UsageError(f"{flag} is at least 1 second")
    settings = settings_module.load({name: value for name, value in flags.items() if value != () or name == "apis"})
    if settings.processes > 1:
        from rota.wiring import processes

        processes.check(settings)
    arguments = [word for app in settings.apps for word in ("--app", app)]
    arguments += ["--drain", str(settings.drain_s)]
    arguments += ["--slots", str(settings.slots)] if settings.slots is not None else []
    arguments += [] if settings.deploy else ["--no-deploy"]
    arguments += ["--reload"] if reload else []
    log.set_up(settings.log_format, settings.log_level)
    tracing.set_up("rota-server")
    spare_the_collector()
    try:
        _run(settings, arguments, heritage)
    except WorkerFailed as error:
        raise click.UsageError(f"{error}; see above") from error
    except OSError as error:
        raise click.UsageError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; "
            "stop what uses the port, or choose another: --port 8001"
        ) from error
    finally:
        tracing.shut_down()


def _run(settings: settings_module.Settings, worker_arguments: list[str], heritage: Heritage | None) -> None:
    import uvloop

    if settings.processes == 1 or heritage is not None:
        from rota.wiring.server import run_server

        uvloop.run(run_server(settings, worker_arguments=worker_arguments, heritage=heritage))
        return
    from rota.wiring.processes import ServerFailed, run_processes

    try:
        uvloop.run(run_processes(settings, arguments=_given(), worker_arguments=worker_arguments))
    except ServerFailed as error:
        click.get_current_context().exit(error.status)


def _given() -> list[str]:
    """Return the flags of this command as they were given, for another process of the same server."""
    context = click.get_current_context()
    words: list[str] = []
    for option in context.command.params:
        assert isinstance(option, click.Option)
        assert option.name is not None
        if context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            given = context.params[option.name]
            for value in given if option.multiple else [given]:
                words += [_name_of(option, value)] if option.is_flag else [option.opts[0], str(value)]
    return words


def _name_of(flag: click.Option, value: bool) -> str:
    return flag.opts[0] if value else flag.secondary_opts[0]


def _read(flag: str, reader: Callable[[str], T], text: str) -> T:
    try:
        return reader(text)
    except ValueError as error:
        raise Invalid(flag, str(error)) from None
