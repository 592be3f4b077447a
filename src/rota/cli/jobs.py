"""`rota jobs`, `job`, `explain`, `abort`, `retry`: look at jobs, stop them, run them again."""

from __future__ import annotations

import time
from typing import Any

import click
import msgspec

from rota.cli import show
from rota.cli.main import JOB_FAILED
from rota.cli.options import connect, ids_of, json_option, pairs, server_option
from rota.client import Client, Job, calls
from rota.client import runs as run_calls
from rota.client.runs import RunFields
from rota.client.submission import new_key
from rota.client.views import Attempt, JobFields
from rota.core.errors import Conflict, NotFound, RotaError
from rota.core.runs import is_run
from rota.core.states import State
from rota.core.wire import Page

_read_jobs = msgspec.json.Decoder(Page[JobFields]).decode
_STATES = [state.value for state in State]


@click.command(
    epilog="""\b
Examples:
  rota jobs --state running --state queued
  rota jobs --owner ana --label project=x --limit 20
  rota jobs --state queued --json | jq -r '.items[].id' | rota abort -"""
)
@click.option("--state", "states", type=click.Choice(_STATES), multiple=True, help="In this state; may be repeated.")
@click.option("--owner", metavar="U", help="Of this owner.")
@click.option("--queue", metavar="Q", help="In this queue.")
@click.option("--handler", metavar="NAME", help="For this handler.")
@click.option("--run", metavar="ID", help="Of this run.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="With this label; may be repeated.")
@click.option("--after", "after_time", metavar="TIME", help="Submitted at this time or later (RFC 3339).")
@click.option("--before", "before_time", metavar="TIME", help="Submitted before this time.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option("--cursor", metavar="C", help="Go on after a page, from the `next` that it gave.")
@json_option
@server_option
def jobs(
    *, server: str | None, as_json: bool, cursor: str | None, limit: int, labels: tuple[str, ...],
    states: tuple[str, ...], **filters: str | None,
) -> None:  # fmt: skip
    """List jobs, the newest first."""
    given: Any = {name: value for name, value in filters.items() if value is not None}
    given |= {"state": list(states), "labels": pairs(labels, "--label")}
    with connect(server) as client:
        page = client.call(calls.find(given, cursor, limit, msgspec.Raw))
    if as_json:
        click.echo(bytes(page))
        return
    found = _read_jobs(page)
    if not found.items:
        click.echo("no such jobs", err=True)
        return
    rows = [[j.id, show.state(j.display_state), _what(j), j.owner, j.queue, show.age(j.submitted_at), _note(j)]
            for j in found.items]  # fmt: skip
    show.columns(["ID", "STATE", "WHAT", "OWNER", "QUEUE", "SUBMITTED", "NOTE"], rows, giving=["WHAT", "NOTE"])
    if found.next is not None:
        click.echo(f"more: add --cursor {found.next}", err=True)


def _what(job: JobFields) -> str:
    if job.command:
        return show.line(f"command: {job.command}")
    return show.line(job.handler or (job.script and f"script: {job.script}") or (job.image and f"image: {job.image}"))


def _note(job: JobFields) -> str:
    """Return the one thing that is most worth knowing about a job in its state."""
    if job.array is not None and job.array.done:
        return show.array(job.array)
    if job.state == State.RUNNING and job.progress is not None:
        return progress_text(job)
    if job.state == State.SCHEDULED:
        return f"due {show.age(job.run_at)}" + (f", attempt {job.attempt} failed" if job.failures else "")
    if job.state == State.BLOCKED:
        return f"waits for {len(job.after)} jobs" if len(job.after) != 1 else f"waits for {job.after[0]}"
    if job.error is not None and job.state != State.SUCCEEDED:
        return show.line(f"{job.reason or 'error'}: {job.error.message}")
    if job.started_at is not None and job.finished_at is not None:
        return f"took {show.span((job.finished_at - job.started_at).total_seconds())}"
    return job.reason or ""


def progress_text(job: JobFields) -> str:
    """Return a job's progress in words."""
    if job.progress is None:
        return ""
    share = "" if job.progress.fraction is None else f"{job.progress.fraction:.0%} "
    return share + show.line(job.progress.message)


@click.command(
    epilog="""\b
Examples:
  rota job 01a1fe1b-ceb3-7143-ad7b-a460d3422ef5
  rota job ID --json | jq .result"""
)
@click.argument("id_", metavar="ID")
@json_option
@server_option
def job(id_: str, server: str | None, as_json: bool) -> None:
    """Show a job: where it stands, its result or error, its attempts."""
    with connect(server) as client:
        if as_json:
            click.echo(bytes(client.call(calls.get(id_, msgspec.Raw))))
            return
        _show(client.get(id_), client.attempts(id_))


def _show(job: Job, attempts: list[Attempt]) -> None:
    failures = f"{job.failures} of {job.max_failures}" if job.max_failures else str(job.failures)
    proof = {True: "its process tree is gone", False: "nobody saw its process tree end"}
    show.card(
        f"job {job.id}  {show.state(job.display_state)}" + (f" ({job.reason})" if job.reason else ""),
        [
            ("handler", show.line(job.handler)),
            ("command", show.line(job.command)),
            ("image", show.line(job.image)),
            ("array", show.array(job.array) if job.array else ""),
            ("parallel", str(job.array.parallel or "") if job.array else ""),
            ("halt", show.line(job.array.halt) if job.array else ""),
            ("limits", " ".join(f"{k}={v}" for k, v in (job.limits or {}).items() if v is not None)),
            ("data", show.line(_json(job.data)) if job.data is not None else ""),
            ("args", show.line(_json(job.args)) if job.args else ""),
            ("variables", show.line(_json(job.variables)) if job.variables else ""),
            ("owner", show.line(job.owner)),
            ("queue", show.line(job.queue) + (f", priority {job.priority}" if job.priority else "")),
            ("labels", show.line(" ".join(f"{k}={v}" for k, v in job.labels.items()))),
            ("after", " ".join(f"{id_}:{job.after_on[id_]}" if id_ in job.after_on else id_ for id_ in job.after)),
            ("join", _json(job.join) if job.join != "all" else ""),
            ("run", f"{job.run} ({show.line(job.ref)})" if job.run else ""),
            ("submitted", show.local(job.submitted_at)),
            ("due", show.local(job.run_at) if not job.over and job.started_at is None else ""),
            ("started", show.local(job.started_at) if job.started_at else ""),
            ("finished", show.local(job.finished_at) if job.finished_at else ""),
            ("timeout", show.span(job.timeout) if job.timeout is not None else ""),
            ("attempt", str(job.attempt or "")),
            ("failures", failures if job.failures else ""),
            ("crashes", str(job.crashes or "")),
            ("worker", show.line(job.worker)),
            ("progress", progress_text(job)),
            ("aborted", proof.get(job.confirmed, "") if job.confirmed is not None else ""),
            ("retry of", job.retry_of or ""),
            ("hook", show.line(job.hook)),
            ("error", show.line(f"{job.error.type}: {job.error.message}") if job.error else ""),
            ("result", show.line(_json(job.result)) if job.state == State.SUCCEEDED and not job.array else ""),
        ],
    )
    if job.script:
        show.block("script", job.script)
    if job.error is not None and job.error.traceback:
        show.block("traceback", job.error.traceback)
    if attempts:
        click.echo()
        show.columns(
            ["ATTEMPT", "OUTCOME", "STARTED", "TOOK", "WORKER", "NOTE"],
            [_attempt(a) for a in attempts],
            giving=["NOTE"],
        )


def _attempt(attempt: Attempt) -> list[str]:
    took = "" if attempt.finished_at is None else show.span((attempt.finished_at - attempt.started_at).total_seconds())
    note = f"exit code {attempt.exit_code}" if attempt.exit_code is not None else ""
    if attempt.proof is not None and attempt.proof.processes:
        note = f"{attempt.proof.processes} processes ended in {show.span(attempt.proof.took_s)}"
    if attempt.error is not None:
        note = show.line(f"{attempt.error.type}: {attempt.error.message}")
    number, outcome = str(attempt.attempt), attempt.outcome or "running"
    return [number, outcome, show.age(attempt.started_at), took, show.line(attempt.worker), note]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@click.command(
    epilog="""\b
Examples:
  rota abort 01a1fe1b-ceb3-7143-ad7b-a460d3422ef5
  rota jobs --owner ana --json | jq -r '.items[].id' | rota abort -"""
)
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=15.0, show_default=True, help="Seconds to wait for ends."
)
@json_option
@server_option
def abort(ids: tuple[str, ...], wait_s: float, server: str | None, as_json: bool) -> None:
    """Stop jobs, or whole runs: what runs is aborted with all its processes, the rest canceled. `-` reads ids from stdin.

    Waits until they have ended. Jobs that were aborted or canceled before count as done; those that ended otherwise are
    told, and the exit code is 1.
    """
    deadline = time.monotonic() + wait_s
    refused = False
    with connect(server) as client:
        asked: list[str] = []
        for id_ in ids_of(ids):  # all are told to stop before any is waited for
            try:
                abort_call = run_calls.abort_call if is_run(id_) else calls.abort
                client.call(abort_call(id_, 0.0, msgspec.Raw))
            except Conflict as over:
                if over.state not in {State.ABORTED, State.CANCELED}:
                    refused = _refuse(over)
                    continue
            except NotFound as unknown:
                refused = _refuse(unknown)
                continue
            asked.append(id_)
        for id_ in asked:
            _tell_end(client, id_, max(deadline - time.monotonic(), 0.0), as_json=as_json)
    if refused:
        raise SystemExit(JOB_FAILED)


def _refuse(error: RotaError) -> bool:
    click.echo(f"Error: {error}", err=True)
    return True


def _tell_end(client: Client, id_: str, wait_s: float, *, as_json: bool) -> None:
    get = run_calls.get_call if is_run(id_) else calls.get
    answer = bytes(client.call(get(id_, msgspec.Raw, wait_s)))
    if as_json:
        click.echo(answer)
        return
    if is_run(id_):
        run = msgspec.json.decode(answer, type=RunFields)
        click.echo(f"{run.id}  {show.state(run.state)}")
        return
    job = msgspec.json.decode(answer, type=JobFields)
    unproven = "  (its worker was lost; nobody saw its processes end)" if job.confirmed is False else ""
    click.echo(f"{job.id}  {show.state(job.display_state)}{unproven}")


@click.command(
    epilog="""\b
Examples:
  rota retry 01a1fe1b-ceb3-7143-ad7b-a460d3422ef5
  rota jobs --state failed --json | jq -r '.items[].id' | rota retry -"""
)
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
@json_option
@server_option
def retry(ids: tuple[str, ...], server: str | None, as_json: bool) -> None:
    """Run jobs that are over again, as new jobs, or of runs what has not succeeded; print the new ids.

    `-` reads ids from stdin.
    """
    refused = False
    with connect(server) as client:
        for id_ in ids_of(ids):
            try:
                retry_call = run_calls.retry_call if is_run(id_) else calls.retry
                answer = bytes(client.call(retry_call(id_, new_key(), msgspec.Raw)))
            except (Conflict, NotFound) as error:
                refused = _refuse(error)
                continue
            click.echo(answer if as_json else msgspec.json.decode(answer)["id"])
    if refused:
        raise SystemExit(JOB_FAILED)
