"""Abort the job that would run for an hour, and watch its process tree while that happens."""

from __future__ import annotations

import re
import threading
import time

from msgspec import Struct
from rich.text import Text

import rota
from examples.processes import Process, alive, tree_of
from rota.client import Job
from rota.core.jobs import Proof

_PATIENCE_S = 30.0
_SETTLED_S = 0.3
_WAIT_S = 20.0


class Watched(Struct):
    """What was seen: the tree `before`, who of it was `left` after, and how the job ended."""

    before: list[Process] = []
    left: list[Process] = []
    took_s: float | None = None
    state: str = ""
    confirmed: bool | None = None
    proof: Proof | None = None

    def text(self) -> Text:
        """Show the tree, and what became of it."""
        if not self.before:
            return Text("The process tree of the hour's run: not there yet", "bright_black")
        over = self.took_s is not None
        title = f"The process tree of the hour's run: {len(self.before)} processes"
        if over:
            gone = "none is left" if not self.left else f"{len(self.left)} ARE LEFT"
            title += f"; aborted in {1000 * (self.took_s or 0):.0f} ms, {gone}"
        lines = [Text(title, "bold")]
        depths: dict[int, int] = {}
        for process in self.before:
            depths[process.pid] = depth = depths.get(process.parent, -1) + 1
            gone_style = "bright_black strike" if over and process not in self.left else "cyan"
            apart = "  a session of its own" if process.session == process.pid and depth > 0 else ""
            command = (process.command.partition(" {")[0][:60], gone_style)
            lines.append(Text.assemble(f"  {process.pid:>8}  {'  ' * depth}", command, (apart, "bright_black")))
        return Text("\n").join(lines)


def abort_and_watch(client: rota.Client, job: Job, watched: Watched, stopping: threading.Event, show_s: float) -> None:
    """Wait for the tree, let it be seen for `show_s`, abort the job, and look who is left; notes go to `watched`."""
    handler = _handler_pid(client, job, stopping)
    if handler is None:
        return
    watched.before = _settled_tree(handler, stopping)
    if stopping.wait(show_s):
        return
    began = time.monotonic()
    job.abort(wait=_WAIT_S)
    took_s = time.monotonic() - began
    watched.left = [process for process in watched.before if alive(process)]
    watched.state, watched.confirmed = job.state, job.confirmed
    watched.proof = client.attempts(job)[-1].proof
    watched.took_s = took_s


def _handler_pid(client: rota.Client, job: Job, stopping: threading.Event) -> int | None:
    """Read from the job's progress which process it runs in."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and not stopping.wait(0.05):
        progress = client.get(job).progress
        found = re.match(r"process (\d+)", progress.message) if progress is not None else None
        if found is not None:
            return int(found[1])
    return None


def _settled_tree(pid: int, stopping: threading.Event) -> list[Process]:
    """Return the tree once it has stopped changing."""
    deadline = time.monotonic() + _PATIENCE_S
    tree = tree_of(pid)
    while time.monotonic() < deadline and not stopping.wait(_SETTLED_S):
        before, tree = tree, tree_of(pid)
        if tree == before and len(tree) > 1:
            break
    return tree
