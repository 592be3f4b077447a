"""`rota submit`, `script`: hand in a job, and wait for it if asked to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from rota.cli import show
from rota.cli.main import INTERRUPTED, JOB_FAILED
from rota.cli.options import connect, pairs, server_option
from rota.cli.waiting import wait_for
from rota.client import Client, calls
from rota.client.submission import body_of, new_key
from rota.client.views import JobFields
from rota.core.errors import Invalid
from rota.core.states import State

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--in", "delay", metavar="TIME", help="Start after this long: 30s, 2m, 1h30m, 4d."),
    click.option("--at", metavar="TIME", help="Start at this time: RFC 3339; without a zone, the server's."),
    click.option("--after", metavar="ID", multiple=True, help="Start when this job has succeeded; may be repeated."),
    click.option("--queue", metavar="Q", help="Put it into this queue.  [default: default]"),
    click.option("--priority", type=int, metavar="N", help="Higher starts first.  [default: 0]"),
    click.option("--owner", metavar="U", help="Whose job it is.  [default: default]"),
    click.option("--timeout", metavar="TIME", help="End it after this long.  [default: the handler's]"),
    click.option("--retries", type=int, metavar="N", help="Failures that are forgiven.  [default: the handler's]"),
    click.option("--label", "labels", metavar="K=V", multiple=True, help="Mark it; may be repeated."),
    click.option("--hook", metavar="URL", help="Call this when it is over."),
    click.option("--key", metavar="K", help="Submissions with the same key make one job."),
    click.option("--wait", is_flag=True, help="Wait for its end, and print its result."),
    click.option("--json", "as_json", is_flag=True, help="Print the whole job, as the API answers it."),
    server_option,
)


def _with_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command(
    epilog="""\b
Examples:
  rota submit resize --data '{"path": "a.png", "width": 80}'
  rota submit report --in 10m --retries 3 --owner ana
  rota submit count --data 7 --wait             the result on stdout, progress on stderr
  ID=$(rota submit fetch) && rota submit load --after $ID"""
)
@click.argument("handler")
@click.option("--data", metavar="JSON", help="An object is keyword arguments, else the one argument. `-` reads stdin.")
@_with_options
def submit(handler: str, data: str | None, **options: Any) -> None:
    """Submit a job for a handler, and print its id."""
    value = None
    if data is not None:
        try:
            value = msgspec.json.decode(sys.stdin.read() if data == "-" else data)
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise Invalid(
                "--data", f"is not JSON ({wrong}); texts need quotes of their own: --data '\"text\"'"
            ) from None
    _hand_in({"handler": handler, "data": value}, **options)


@click.command(
    epilog="""\b
Examples:
  rota script backup.sh --in 1h
  rota script - --var name=world --wait <<< 'echo hello {{name}}'
  rota script build.sh --var branch=main --timeout 10m --retries 2"""
)
@click.argument("file", metavar="FILE|-", type=click.File(encoding="utf-8"))
@click.option("--var", "variables", metavar="K=V", multiple=True, help="Put V in for {{K}}, quoted; may be repeated.")
@_with_options
def script(file: Any, variables: tuple[str, ...], **options: Any) -> None:
    """Submit a bash script as a job, and print its id. `-` reads it from stdin.

    With --wait, what the script wrote comes out where it would: its stdout on stdout, its stderr on stderr.
    """
    try:
        text = file.read()
    except UnicodeDecodeError as wrong:
        raise Invalid("FILE", f"is not UTF-8 text ({wrong.reason})") from None
    _hand_in({"script": text, "variables": pairs(variables, "--var") or None}, **options)


def _hand_in(
    kind: dict[str, Any], *, key: str | None, wait: bool, as_json: bool, server: str | None, **given: Any
) -> None:
    given["labels"] = pairs(given["labels"], "--label") or None
    given["after"] = list(given["after"]) or None
    with connect(server) as client:
        answer = client.call(calls.submit(body_of(given, **kind), new_key(key), msgspec.Raw))  # type: ignore[arg-type]
        job = msgspec.json.decode(answer, type=JobFields)
        if not wait:
            click.echo(bytes(answer) if as_json else job.id)
            return
        sys.exit(_see_through(client, job, as_json=as_json))


def _see_through(client: Client, job: JobFields, *, as_json: bool) -> int:
    """Wait for a job's end, tell it, and return the exit code."""
    click.echo(job.id, err=True)
    try:
        answer = wait_for(client, job)
    except KeyboardInterrupt:
        click.echo(f"\njob {job.id} goes on; stop it with: rota abort {job.id}", err=True)
        return INTERRUPTED
    job.take(msgspec.json.decode(answer, type=JobFields))
    if as_json:
        click.echo(answer)
    elif job.script is not None:  # a script's result is what it wrote
        for log in client.logs(job, attempt=job.attempt or None):
            click.echo(log.text, nl=False, err=log.stream != "stdout")
    elif job.state == State.SUCCEEDED:
        click.echo(msgspec.json.encode(job.result))
    if job.state == State.SUCCEEDED:
        return 0
    why = f": {job.error.type}: {job.error.message}" if job.error else ""
    reason = f" ({job.reason})" if job.reason else ""
    click.echo(f"{show.state(job.state)}{reason}{show.line(why)}; more: rota job {job.id}", err=True)
    return JOB_FAILED
