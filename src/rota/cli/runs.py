"""`rota runs`, `rota run ID`, `rota run submit`: workflows as a whole. `rota abort` and `rota retry` take runs too."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from rota.cli import show
from rota.cli.explaining import tell_dry_run
from rota.cli.main import JOB_FAILED
from rota.cli.options import connect, json_option, server_option
from rota.client import runs as run_calls
from rota.client.runs import Graph, Node, RunFields
from rota.client.submission import new_key
from rota.core.errors import Invalid
from rota.core.states import State

_MOST_DRAWN = 40  # jobs of a tree
_STATES = ["running", "succeeded", "failed", "aborted", "canceled"]


@click.command(epilog="\b\nExamples:\n  rota runs --state running\n  rota runs --name nightly --json")
@click.option("--state", type=click.Choice(_STATES), help="In this state.")
@click.option("--owner", metavar="U", help="Of this owner.")
@click.option("--name", metavar="NAME", help="Of this name.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@json_option
@server_option
def runs(server: str | None, as_json: bool, limit: int, **filters: str | None) -> None:
    """List runs, the newest first."""
    given: Any = {name: value for name, value in filters.items() if value is not None}
    with connect(server) as client:
        if as_json:
            pages = run_calls.pages(given | {"limit": limit}, msgspec.Raw)
            found: list[msgspec.Raw] = []
            while pages.more:
                found += pages.take(client.call(pages.call()))
            click.echo(msgspec.json.encode({"items": found, "next": None}))
            return
        listed = list(client.walk(run_calls.pages(given | {"limit": limit}, RunFields)))
    if not listed:
        click.echo("no such runs; submit one: rota run submit FILE", err=True)
        return
    rows = [
        [
            run.id,
            show.state(run.state),
            show.line(run.name),
            show.line(run.owner),
            _counts(run),
            show.age(run.submitted_at),
        ]
        for run in listed
    ]
    show.columns(["ID", "STATE", "NAME", "OWNER", "JOBS", "SUBMITTED"], rows, giving=["JOBS", "NAME"])


def _counts(run: RunFields) -> str:
    return ", ".join(f"{n} {state}" for state, n in run.counts.items() if n)


@click.command(
    epilog="\b\nExamples:\n  rota run run-01a1fe1b-ceb3-7143-ad7b-a460d3422ef5\n  rota run ID --json | jq .counts"
)
@click.argument("id_", metavar="ID")
@json_option
@server_option
def run(id_: str, server: str | None, as_json: bool) -> None:
    """Show a run: its state, how many of its jobs are in each, and the jobs in the order of their graph."""
    with connect(server) as client:
        if as_json:
            click.echo(bytes(client.call(run_calls.get_call(id_, msgspec.Raw))))
            return
        found, graph = client.runs.get(id_), client.runs.graph(id_)
    show.card(
        f"run {found.id}  {show.state(found.state)}",
        [
            ("name", show.line(found.name)),
            ("owner", show.line(found.owner)),
            ("labels", show.line(" ".join(f"{k}={v}" for k, v in found.labels.items()))),
            ("jobs", f"{found.size}: {_counts(found)}"),
            ("submitted", show.local(found.submitted_at)),
            ("started", show.local(found.started_at) if found.started_at else ""),
            ("finished", show.local(found.finished_at) if found.finished_at else ""),
            ("abort asked", show.local(found.abort_requested_at) if found.abort_requested_at else ""),
            ("hook", show.line(found.hook)),
            ("retry of", found.retry_of or ""),
        ],
    )
    click.echo()
    lines = tree(graph)
    for line in lines[:_MOST_DRAWN]:
        click.echo(line)
    if len(lines) > _MOST_DRAWN:
        click.echo(f"… and {len(lines) - _MOST_DRAWN} more: rota jobs --run {found.id}")


def tree(graph: Graph) -> list[str]:
    """Return a line for each job, below the last of those that it waits for, each once."""
    nodes = {node.id: node for node in graph.nodes}
    waits: dict[str, list[tuple[str, str]]] = {id_: [] for id_ in nodes}
    for edge in graph.edges:
        if edge.to in waits:
            waits[edge.to].append((edge.source, edge.on))
    depth: dict[str, int] = {}
    order = list(nodes)
    for _ in range(len(order)):  # jobs come in the order of their submission, mostly after those that they wait for
        left = []
        for id_ in order:
            parents = [source for source, _ in waits[id_] if source in nodes]
            if all(parent in depth for parent in parents):
                depth[id_] = max((depth[parent] + 1 for parent in parents), default=0)
            else:
                left.append(id_)
        if not left or len(left) == len(order):
            break
        order = left
    named = sorted(nodes, key=lambda id_: (depth.get(id_, 0), id_))
    return [_line(nodes[id_], depth.get(id_, 0), waits[id_], nodes) for id_ in named]


def _line(node: Node, depth: int, waits: list[tuple[str, str]], nodes: dict[str, Node]) -> str:
    after = [
        (nodes[source].ref or source if source in nodes else source) + ("" if on == "succeeded" else f":{on}")
        for source, on in waits
    ]
    shown = ", ".join(after[:3]) + (f" and {len(after) - 3} more" if len(after) > 3 else "")
    took = ""
    if node.started_at is not None and node.finished_at is not None:
        took = f"  {show.span((node.finished_at - node.started_at).total_seconds())}"
    name = show.line(node.ref or node.id)
    return f"{'  ' * min(depth, 20)}{name}  {show.state(node.state)}{took}" + (
        f"  after {show.line(shown)}" if after else ""
    )


@click.command(
    epilog="""\b
Examples:
  rota run submit nightly.json --wait
  rota run submit nightly.json --dry-run      what would become of its jobs
  rota run submit - <<< '{"jobs": [{"ref": "a", "handler": "load"}, {"ref": "b", "handler": "save", "after": ["a"]}]}'"""
)
@click.argument("file", type=click.File("rb"))
@click.option("--key", metavar="K", help="Submissions with the same key make one run.")
@click.option("--wait", is_flag=True, help="Wait for its end; exit with 1 unless it succeeded.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and submit nothing.")
@json_option
@server_option
def submit(file: Any, *, key: str | None, wait: bool, dry_run: bool, server: str | None, as_json: bool) -> None:
    """Submit a workflow from a file (or stdin: -), as `POST /v1/runs` takes it, and print the run's id."""
    text = file.read()
    try:
        body = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise Invalid("FILE", f"is not JSON: {wrong}") from None
    if isinstance(body, list):
        body = {"jobs": body}
    with connect(server) as client:
        if dry_run:
            tell_dry_run(bytes(client.call(run_calls.dry_run_call(body, key, msgspec.Raw))), as_json=as_json)
            return
        made: msgspec.Raw = client.call(run_calls.submit_call(body, new_key(key), msgspec.Raw))
        read = msgspec.json.decode(made, type=RunFields)
        if not wait:
            click.echo(bytes(made) if as_json else read.id)
            return
        click.echo(read.id, err=True)
        over = client.runs.wait(read.id)
        shown = bytes(client.call(run_calls.get_call(over.id, msgspec.Raw))) if as_json else ""
        click.echo(shown or f"{show.state(over.state)}: {_counts(over)}")
    if over.state != State.SUCCEEDED:
        raise SystemExit(JOB_FAILED)
