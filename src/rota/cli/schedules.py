"""`rota schedules`, `rota schedule add|show|edit|pause|resume|run|rm|preview`: rules that submit jobs again and again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click
import msgspec

from rota.cli import show
from rota.cli.options import connect, json_option, pairs, server_option
from rota.client import calls
from rota.core.errors import Invalid

F = TypeVar("F", bound=Callable[..., Any])

_JOB = (
    click.option(
        "--data", metavar="JSON", help="An object is keyword arguments, else the one argument. `-` reads stdin."
    ),
    click.option(
        "--script", metavar="FILE|-", help="In place of HANDLER: a bash script.", type=click.File(encoding="utf-8")
    ),
    click.option("--image", metavar="REF", help="In place of HANDLER: a container image."),
    click.option("--queue", metavar="Q", help="Put its jobs into this queue.  [default: default]"),
    click.option("--priority", type=int, metavar="N", help="Higher starts first.  [default: 0]"),
    click.option("--owner", metavar="U", help="Whose jobs they are.  [default: default]"),
    click.option("--timeout", metavar="TIME", help="End a job after this long.  [default: the handler's]"),
    click.option("--retries", type=int, metavar="N", help="Failures that are forgiven.  [default: the handler's]"),
    click.option("--label", "labels", metavar="K=V", multiple=True, help="Mark its jobs; may be repeated."),
    click.option("--hook", metavar="URL", help="Call this when a job is over."),
)
_WHEN = (
    click.option(
        "--tz", "timezone", metavar="ZONE", help="The rule's time zone: Europe/Berlin.  [default: the server's]"
    ),
    click.option("--start", "starts_at", metavar="TIME", help="No slot before this; `every` counts from it."),
    click.option("--end", "ends_at", metavar="TIME", help="No slot after this."),
)
_HOW = (
    click.option("--name", metavar="TEXT", help="What it is called.  [default: the handler's name]"),
    click.option("--missed", metavar="WHAT", help="When no server was there: skip, once, all or all:N.  [default: once]"),
    click.option(
        "--overlap", type=click.Choice(["allow", "skip", "queue", "abort"]),
        help="When the job before is not over: start beside it, leave it out, wait, or abort that job.  [default: allow]",
    ),
    click.option("--jitter", metavar="TIME", help="Start up to so much later, a slot always by as much."),
)  # fmt: skip


def _with(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@click.command(epilog="\b\nExamples:\n  rota schedules\n  rota schedules --owner ana --json")
@click.option("--owner", metavar="U", help="Only this owner's.")
@json_option
@server_option
def schedules(owner: str | None, server: str | None, as_json: bool) -> None:
    """List the schedules, and when each fires next."""
    with connect(server) as client:
        pages = calls.schedule_pages(owner, msgspec.Raw)
        found: list[msgspec.Raw] = []
        while pages.more:
            found += pages.take(client.call(pages.call()))
    if as_json:
        click.echo(msgspec.json.encode({"items": found, "next": None}))
        return
    if not found:
        click.echo("no schedules; make one: rota schedule add '0 9 * * *' HANDLER", err=True)
        return
    rows = [_row(msgspec.json.decode(schedule)) for schedule in found]
    show.columns(["NAME", "RULE", "ZONE", "WHAT", "OWNER", "NEXT"], sorted(rows), giving=["NAME", "WHAT"])


@click.command(
    epilog="""\b
Examples:
  rota schedule add '0 9 * * MON-FRI' report --tz Europe/Berlin
  rota schedule add 'every 15m' sync --overlap skip --jitter 30s
  rota schedule add '30 2 * * *' --script backup.sh --name backup --missed all:3
  rota schedule add 'at 2026-12-24T18:00' greet --tz Europe/Vienna"""
)
@click.argument("rule")
@click.argument("handler", required=False)
@_with(*_HOW, *_WHEN, *_JOB)
@json_option
@server_option
def add(*, rule: str, server: str | None, as_json: bool, **given: Any) -> None:
    """Make a schedule, and print its id.

    RULE is cron (minute hour day month weekday; with seconds in front if there are six fields), `every 15m`, or `at TIME`.
    """
    body = {"rule": rule, "job": _job(given), **_settings(given)}
    with connect(server) as client:
        _tell(client.call(calls.add_schedule(body, msgspec.Raw)), as_json=as_json)


@click.command(epilog="\b\nExample:\n  rota schedule show report")
@click.argument("which", metavar="NAME|ID")
@json_option
@server_option
def show_(which: str, server: str | None, as_json: bool) -> None:
    """Show a schedule: when it fires next, and what became of its last slots."""
    with connect(server) as client:
        answer = client.call(calls.schedule(which, msgspec.Raw))
        if as_json:
            click.echo(bytes(answer))
            return
        found = msgspec.json.decode(answer)
        slots = msgspec.json.decode(client.call(calls.preview_schedule(found["id"], 5, msgspec.Raw)))["items"]
        firings = msgspec.json.decode(client.call(calls.firings(found["id"], 5, msgspec.Raw)))["items"]
    _card(found)
    if slots:
        show.block("next" if found["paused_at"] is None else "next, if it were not paused", _slots(slots))
    if firings:
        show.block("last", "\n".join(_firing(firing) for firing in firings))


@click.command(
    epilog="""\b
Examples:
  rota schedule edit report --rule '30 9 * * MON-FRI'
  rota schedule edit report --tz Europe/Vienna --end never"""
)
@click.argument("which", metavar="NAME|ID")
@click.option("--rule", help="Another rule; it counts from now on.")
@click.option(
    "--handler", help="Another job, in place of the old one with all that was said of it; so for those below."
)
@_with(*_HOW, *_WHEN, *_JOB)
@json_option
@server_option
def edit(*, which: str, rule: str | None, server: str | None, as_json: bool, **given: Any) -> None:
    """Change a schedule. `never` takes a start or an end away. What it was stays in its history."""
    body = _settings(given) | ({} if rule is None else {"rule": rule})
    body |= {name: None for name in ("starts_at", "ends_at") if given[name] == "never"}
    job = _job(given)
    if job:
        body["job"] = job
    if not body:
        raise click.UsageError("say what to change; see rota schedule edit --help")
    with connect(server) as client:
        _tell(client.call(calls.edit_schedule(which, body, msgspec.Raw)), as_json=as_json)


def _action(name: str, past: str, told: str, example: str) -> click.Command:
    @click.command(name, help=told, epilog=f"\b\nExample:\n  {example}")
    @click.argument("which", metavar="NAME|ID")
    @server_option
    def command(which: str, server: str | None) -> None:
        with connect(server) as client:
            client.call(calls.schedule_action(which, name, msgspec.Raw))
        click.echo(f"schedule {show.line(which)} {past}", err=True)

    return command


pause = _action(
    "pause", "is paused", "Let a schedule rest: slots that pass meanwhile do not fire.", "rota schedule pause report"
)
resume = _action("resume", "goes on", "Let a paused schedule go on.", "rota schedule resume report")


@click.command(epilog="\b\nExample:\n  rota logs -f $(rota schedule run report)")
@click.argument("which", metavar="NAME|ID")
@json_option
@server_option
def run(which: str, server: str | None, as_json: bool) -> None:
    """Submit the job of a schedule now, whatever its rule says, and print the job's id."""
    with connect(server) as client:
        _tell(client.call(calls.schedule_action(which, "run", msgspec.Raw)), as_json=as_json)


@click.command(epilog="\b\nExample:\n  rota schedule rm report")
@click.argument("which", metavar="NAME|ID")
@server_option
def rm(which: str, server: str | None) -> None:
    """Remove a schedule. Its jobs stay as they are."""
    with connect(server) as client:
        client.call(calls.remove_schedule(which))
    click.echo(f"schedule {show.line(which)} is removed", err=True)


@click.command(
    epilog="""\b
Examples:
  rota schedule preview '30 2 * * *' --tz Europe/Berlin -n 5
  rota schedule preview 'every 90m' --start 2026-03-29T00:00"""
)
@click.argument("rule")
@click.option("-n", type=click.IntRange(1, 100), default=10, show_default=True, help="How many slots.")
@_with(*_WHEN)
@json_option
@server_option
def preview(*, rule: str, n: int, server: str | None, as_json: bool, **when: str | None) -> None:
    """Show when a rule would fire, and what a change of the clock does to it. Nothing is stored."""
    body = {"rule": rule} | {name: value for name, value in when.items() if value is not None}
    with connect(server) as client:
        answer = client.call(calls.preview_rule(body, n, msgspec.Raw))
    click.echo(bytes(answer) if as_json else _slots(msgspec.json.decode(answer)["items"]))


def _job(given: dict[str, Any]) -> dict[str, Any]:
    """Return the submission that the options make; empty when none was given. Raises Invalid."""
    job = {
        name: given[name] for name in ("handler", "image", "queue", "priority", "owner", "timeout", "retries", "hook")
    }
    job["script"] = None if given["script"] is None else given["script"].read()
    job["labels"] = pairs(given["labels"], "--label") or None
    job = {name: value for name, value in job.items() if value is not None}
    if given["data"] is not None:
        try:
            job["data"] = msgspec.json.decode(sys.stdin.read() if given["data"] == "-" else given["data"])
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise Invalid(
                "--data", f"is not JSON ({wrong}); texts need quotes of their own: --data '\"text\"'"
            ) from None
    return job


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    settings = {name: given[name] for name in ("name", "overlap", "jitter", "timezone", "starts_at", "ends_at")}
    if given["missed"] is not None:
        settings["missed"], _, most = given["missed"].partition(":")
        if most:
            if not most.isdecimal():
                raise Invalid("--missed", "is skip, once, all, or all:N")
            settings["missed_limit"] = int(most)
    return {name: value for name, value in settings.items() if value not in (None, "never")}


def _tell(answer: msgspec.Raw, *, as_json: bool) -> None:
    click.echo(bytes(answer) if as_json else msgspec.json.decode(answer)["id"])


def _row(schedule: dict[str, Any]) -> list[str]:
    if schedule["paused_at"] is not None:
        following = "paused"
    elif schedule["next_at"] is None:
        following = "never again"
    else:
        following = show.age(_moment(schedule["next_at"]))
    zone, rule = show.line(schedule["timezone"]), show.line(schedule["rule"])
    return [show.line(schedule["name"]), rule, zone, _what(schedule["job"]), show.line(schedule["owner"]), following]


def _what(job: dict[str, Any]) -> str:
    return show.line(
        job.get("handler") or (f"image: {job['image']}" if "image" in job else f"script: {job.get('script')}")
    )


def _card(found: dict[str, Any]) -> None:
    missed = found["missed"] + (f", at most {found['missed_limit']}" if found["missed"] == "all" else "")
    show.card(
        f"schedule {show.line(found['name'])}  {found['id']}",
        [
            ("rule", f"{show.line(found['rule'])}  ({show.line(found['timezone'])})"),
            ("job", _what(found["job"])),
            ("data", show.line(msgspec.json.encode(found["job"]["data"]).decode()) if "data" in found["job"] else ""),
            ("owner", show.line(found["owner"])),
            ("missed", missed),
            ("overlap", found["overlap"]),
            ("jitter", show.span(found["jitter"]) if found["jitter"] else ""),
            ("starts", show.local(_moment(found["starts_at"])) if found["starts_at"] else ""),
            ("ends", show.local(_moment(found["ends_at"])) if found["ends_at"] else ""),
            ("paused", show.local(_moment(found["paused_at"])) if found["paused_at"] else ""),
            ("waits", f"the slot of {show.local(_moment(found['waiting']))}" if found["waiting"] else ""),
        ],
    )


_CLOCK = {
    "skipped": "  the clock passes over this time of day",
    "first": "  the first of two",
    "second": "  the second of two",
}


def _slots(slots: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{datetime.fromisoformat(s['local']):%a %Y-%m-%d %H:%M:%S %z}{_CLOCK.get(s['clock'], '')}" for s in slots
    )


def _firing(firing: dict[str, Any]) -> str:
    words = [show.local(_moment(firing["slot"])), "by hand" if firing["manual"] else firing["fate"]]
    words += [firing["job"] or ""] + ([show.line(firing["why"])] if firing["why"] else [])
    return "  ".join(word for word in words if word)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
