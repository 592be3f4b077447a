"""`rota submit`, `script`, `image`: hand in a job, and wait for it if asked to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
import msgspec

from rota.cli import explaining, show
from rota.cli.inputs import lines_of
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
    click.option(
        "--after",
        metavar="ID",
        multiple=True,
        help="Start when this job has succeeded, or as ID:failed, ID:finished, ID:any; may be repeated.",
    ),
    click.option("--queue", metavar="Q", help="Put it into this queue.  [default: default]"),
    click.option("--priority", type=int, metavar="N", help="Higher starts first.  [default: 0]"),
    click.option("--owner", metavar="U", help="Whose job it is.  [default: default]"),
    click.option("--timeout", metavar="TIME", help="End it after this long.  [default: the handler's]"),
    click.option("--retries", type=int, metavar="N", help="Failures that are forgiven.  [default: the handler's]"),
    click.option("--label", "labels", metavar="K=V", multiple=True, help="Mark it; may be repeated."),
    click.option("--hook", metavar="URL", help="Call this when it is over."),
    click.option("--key", metavar="K", help="Submissions with the same key make one job."),
    click.option("--need", "needs", metavar="K=V", multiple=True, help="Run it where this label is; may be repeated."),
    click.option(
        "--slots", type=click.IntRange(1), metavar="N", help="Slots of its worker that it takes.  [default: 1]"
    ),
    click.option(
        "--limit-key",
        metavar="K",
        help="Limit it together with the others of this key: text, with places like {customer} that its data fill.",
    ),
    click.option(
        "--unique", "unique_key", metavar="K", help="Refuse it while a job of its owner with this key is not over."
    ),
    click.option("--unique-for", metavar="TIME", help="With --unique: for this long, whatever becomes of the job."),
    click.option(
        "--on-conflict",
        type=click.Choice(["reject", "existing", "replace"]),
        help="With --unique: refuse it, print the other's id, or cancel the other if it waits.  [default: reject]",
    ),
    click.option("--parallel", type=click.IntRange(1), metavar="N", help="Of an array: at most N inputs at once."),
    click.option("--halt", metavar="WHEN", help="Of an array: stop early: now|soon,fail|success|done=N or N%."),
    click.option("--wait", is_flag=True, help="Wait for its end, and print its result."),
    click.option("--dry-run", is_flag=True, help="Check it all, say what would happen and when, and submit nothing."),
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
  rota submit count --data 7 --dry-run          what would happen, and when; nothing is submitted
  ID=$(rota submit fetch) && rota submit load --after $ID
  rota submit resize --inputs sizes.ndjson --parallel 4      an array: the handler is called for each line"""
)
@click.argument("handler")
@click.option("--inputs", metavar="FILE", help="Make it an array over these: a JSON list, or JSON values, one a line.")
@click.option("--data", metavar="JSON", help="An object is keyword arguments, else the one argument. `-` reads stdin.")
@_with_options
def submit(handler: str, data: str | None, inputs: str | None, **options: Any) -> None:
    """Submit a job for a handler, and print its id."""
    value = None
    if data is not None:
        try:
            value = msgspec.json.decode(sys.stdin.read() if data == "-" else data)
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise Invalid(
                "--data", f"is not JSON ({wrong}); texts need quotes of their own: --data '\"text\"'"
            ) from None
    values = None if inputs is None else _values(inputs)
    _hand_in({"handler": handler, "data": value}, inputs=values, **options)


def _limits(given: tuple[str, ...]) -> dict[str, int | float | str] | None:
    """Read `K=V` texts whose values may be numbers. Raises Invalid."""

    def number(text: str) -> int | float | str:
        try:
            return int(text) if text.isdecimal() else float(text)
        except ValueError:
            return text

    return {name: number(value) for name, value in pairs(given, "--limit").items()} or None


def _values(file: str) -> Iterable[Any]:
    """Read a JSON list, or JSON values, one a line. Raises Invalid."""
    lines = lines_of(file)
    first = next(lines, "")
    try:
        value = msgspec.json.decode(first)
        if not isinstance(value, list):
            return [value, *(msgspec.json.decode(line) for line in lines if line)]
        rest = [msgspec.json.decode(line) for line in lines if line]  # a line that is a list may be one of many
        return [value, *rest] if rest else value
    except msgspec.DecodeError:
        whole = "\n".join([first, *lines])
    try:
        return msgspec.json.decode(whole, type=list[Any])
    except msgspec.DecodeError as wrong:
        raise Invalid("--inputs", f"is neither a JSON list nor JSON values, one a line ({wrong})") from None


@click.command(
    epilog="""\b
Examples:
  rota script backup.sh --in 1h
  rota script - --var name=world --wait <<< 'echo hello {{name}}'
  rota script build.sh --var branch=main --timeout 10m --retries 2
  ls *.png | rota script shrink.sh --inputs - --parallel 8     an array: $1 is a line of the inputs"""
)
@click.argument("file", metavar="FILE|-", type=click.File(encoding="utf-8"))
@click.option("--inputs", metavar="FILE|-", help="Make it an array over the lines of FILE: each is $1, and on stdin.")
@click.option("--env", "env", metavar="K=V", multiple=True, help="Set a variable of its environment; may be repeated.")
@click.option("--secret", "secrets", metavar="NAME", multiple=True, help="Give it a secret of its worker's, as NAME.")
@click.option(
    "--limit", "limits", metavar="K=V", multiple=True, help="memory=512M, cpu=60, processes=50, files=100, output=1M."
)
@click.option("--var", "variables", metavar="K=V", multiple=True, help="Put V in for {{K}}, quoted; may be repeated.")
@_with_options
def script(
    file: Any,
    *,
    variables: tuple[str, ...],
    inputs: str | None,
    env: tuple[str, ...],
    secrets: tuple[str, ...],
    limits: tuple[str, ...],
    **options: Any,
) -> None:
    """Submit a bash script as a job, and print its id. `-` reads it from stdin.

    With --inputs it runs once for each. With --wait, what the script wrote comes out where it would: its stdout on
    stdout, its stderr on stderr.
    """
    try:
        text = file.read()
    except UnicodeDecodeError as wrong:
        raise Invalid("FILE", f"is not UTF-8 text ({wrong.reason})") from None
    if inputs == "-" and file.name == "<stdin>":
        raise click.UsageError("stdin is either the script or its inputs; put one of them into a file")
    options |= {"env": pairs(env, "--env") or None, "secrets": secrets or None, "limits": _limits(limits)}
    lines = None if inputs is None else lines_of(inputs)
    _hand_in({"script": text, "variables": pairs(variables, "--var") or None}, inputs=lines, **options)


@click.command(
    epilog="""\b
Examples:
  rota image busybox:1.36 --wait -- echo hello
  rota image ffmpeg:6 --memory 1G --cpus 2 --timeout 10m -- -i in.mp4 out.webm
  rota image registry.example/train:3 --env EPOCHS=5 --pull always --network bridge
  ls *.png | rota image shrink:1 --inputs - --parallel 8       an array: the last argument is a line of the inputs"""
)
@click.argument("reference", metavar="IMAGE")
@click.argument("arguments", metavar="[-- ARG…]", nargs=-1)
@click.option("--inputs", metavar="FILE|-", help="Make it an array over the lines of FILE: each is the last argument.")
@click.option("--env", "env", metavar="K=V", multiple=True, help="Set a variable of its environment; may be repeated.")
@click.option("--secret", "secrets", metavar="NAME", multiple=True, help="Give it a secret of its worker's, as NAME.")
@click.option("--memory", metavar="SIZE", help="What it may use: 512M, 2G.  [default: no limit]")
@click.option("--cpus", type=float, metavar="N", help="How many cores it may use at once.  [default: no limit]")
@click.option(
    "--limit", "limits", metavar="K=V", multiple=True, help="Others: cpu=60, processes=50, files=100, output=1M."
)
@click.option("--pull", type=click.Choice(["missing", "always", "never"]), help="When to get it.  [default: missing]")
@click.option("--network", metavar="NAME", help="A network of the engine, like bridge.  [default: none]")
@_with_options
def image(
    *,
    reference: str,
    arguments: tuple[str, ...],
    inputs: str | None,
    env: tuple[str, ...],
    secrets: tuple[str, ...],
    memory: str | None,
    cpus: float | None,
    limits: tuple[str, ...],
    **options: Any,
) -> None:
    """Submit a container image as a job, and print its id. What stands after -- are the container's arguments.

    It runs on a worker beside a Docker or Podman engine. With --wait, what it wrote comes out where it would.
    """
    given = pairs(limits, "--limit") | {k: v for k, v in (("memory", memory), ("cpus", cpus)) if v is not None}
    options |= {"env": pairs(env, "--env") or None, "secrets": secrets or None, "limits": given or None}
    lines = None if inputs is None else lines_of(inputs)
    _hand_in({"image": reference, "args": list(arguments) or None}, inputs=lines, **options)


def _hand_in(
    kind: dict[str, Any], *, key: str | None, wait: bool, dry_run: bool, as_json: bool, server: str | None, **given: Any
) -> None:
    given["labels"] = pairs(given["labels"], "--label") or None
    given["needs"] = pairs(given["needs"], "--need") or None
    given["after"] = [_after(text) for text in given["after"]] or None
    body = body_of(given, **kind)  # type: ignore[arg-type]
    with connect(server) as client:
        if dry_run:
            explaining.tell_dry_run(bytes(client.call(calls.dry_run(body, key, msgspec.Raw))), as_json=as_json)
            return
        answer = client.call(calls.submit(body, new_key(key), msgspec.Raw))
        job = msgspec.json.decode(answer, type=JobFields)
        if not wait:
            click.echo(bytes(answer) if as_json else job.id)
            return
        sys.exit(_see_through(client, job, as_json=as_json))


def _after(text: str) -> str | dict[str, str]:
    """Read ID, or ID:CONDITION."""
    id_, colon, on = text.partition(":")
    return {"job": id_, "on": on} if colon else id_


def _see_through(client: Client, job: JobFields, *, as_json: bool) -> int:
    """Wait for a job's end, tell it, and return the exit code."""
    try:
        click.echo(job.id, err=True)
        answer = wait_for(client, job)
    except KeyboardInterrupt:
        click.echo(f"\njob {job.id} goes on; stop it with: rota abort {job.id}", err=True)
        return INTERRUPTED
    job.take(msgspec.json.decode(answer, type=JobFields))
    if as_json:
        click.echo(answer)
    elif job.array is not None:
        _tell_results(client, job)
    elif job.script is not None or job.image is not None:  # the result of these is what they wrote
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


def _tell_results(client: Client, job: JobFields) -> None:
    """Print what the inputs of an array have given, in their order: what scripts wrote, what handlers returned."""
    for result in client.results(job, follow=False):
        if job.handler is not None:
            click.echo(msgspec.json.encode(result.result))
        else:
            click.echo(result.stdout, nl=False)
            click.echo(result.stderr, nl=False, err=True)
