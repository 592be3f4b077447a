"""The tour: starts a server, submits jobs over the source of Python itself, shows them at work. `make run` runs this."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from types import FrameType

from msgspec import structs
from rich.console import Console
from rich.live import Live
from rich.text import Text

import rota
from examples.aborting import Watched, abort_and_watch
from examples.board import Board
from examples.findings import Finding, findings
from examples.plan import Planned, plan
from examples.processes import catches, die_with_parent
from examples.server import CannotStart, Server, free_port
from examples.sources import packages
from examples.visiting import Visited, visit
from rota.client import Job, ServerUnreachable
from rota.core.errors import RotaError
from rota.settings import Settings, load

_LOOK_S = 0.2
_SHOW_TREE_S = 2.5
_FONT = re.compile(r"@font-face \{.*?\}", re.DOTALL)  # a picture loads nothing from elsewhere
_PLAIN_S = 2.0  # between two lines about the packages, where there is no terminal


class Screen:
    """Where the tour is shown: a live board on a terminal, plain lines elsewhere, next to nothing with `--quiet`."""

    def __init__(self, *, quiet: bool, svg: Path | None) -> None:
        self.console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        self.quiet = quiet
        self.live: Live | None = None
        self._svg = svg
        self._picture: list[object] = []
        self._said_at = 0.0
        self._said_done = -1

    def say(self, text: str | Text) -> None:
        """Print a line, above the board if there is one."""
        self.console.print(text)

    def on(self) -> Live | nullcontext[None]:
        """Return what shows the board while it is entered."""
        if self.quiet or not self.console.is_terminal:
            return nullcontext()
        self.live = Live(console=self.console, auto_refresh=False)
        return self.live

    def happened(self, text: Text | None, *, is_package: bool) -> None:
        """Show an event where there is no board to show it."""
        if text is not None and self.live is None and not self.quiet and not is_package:
            self.say(text)

    def refresh(self, board: Board, watched: Watched) -> None:
        """Show how things stand."""
        drawing = board.draw(Text(), watched.text())
        done, total = board.packages
        if self._svg is not None and watched.before and 3 * done > total and not self._picture:
            self._picture.append(drawing)
        if self.live is not None:
            self.live.update(drawing, refresh=True)
        elif not self.quiet and done != self._said_done and time.monotonic() - self._said_at > _PLAIN_S:
            self._said_at, self._said_done = time.monotonic(), done
            self.say(f"packages measured: {done} of {total}")

    def end(self, lines: list[Text]) -> None:
        """Print the ending, and save the picture if one was asked for."""
        for line in lines:
            self.say(line)
        if self._svg is not None:
            with open(os.devnull, "w") as nowhere:
                paper = Console(record=True, file=nowhere, width=112, force_terminal=True, highlight=False)
                for part in (*self._picture, *lines):
                    paper.print(part)
                picture = _FONT.sub("", paper.export_svg(title="make run"))
                self._svg.write_text(picture, encoding="utf-8")


def main() -> int:
    """Run the tour, keep the server until SIGINT or SIGTERM; return the exit status."""
    arguments = _arguments()
    die_with_parent()
    by_make = catches(os.getppid(), signal.SIGINT)
    screen = Screen(quiet=arguments.quiet, svg=arguments.svg)
    stopping = threading.Event()
    try:
        settings = load()
        if settings.server is not None:
            settings = structs.replace(settings, server=None)  # the tour's server is its own
        settings = structs.replace(settings, port=free_port(settings))
        server = Server(settings, screen.say)
    except (CannotStart, RotaError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        server.ask_to_stop()  # a second time: at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    if by_make:
        _in_thread(_heed_make)
    holds = False
    try:
        server.wait_ready(stopping)
        holds = stopping.is_set() or _tour(server, screen, stopping, arguments.packages)
        while server.running and not stopping.wait(0.5):
            pass
    except CannotStart as error:
        print(f"Error: {error}", file=sys.stderr)
    except RotaError as error:
        if not stopping.is_set():
            print(f"Error: {error}", file=sys.stderr)
    if not stopping.is_set():
        server.ask_to_stop()
    elif server.running and not screen.quiet:
        screen.say("Stopping. Ctrl-C again ends what runs at once.")
    status = server.wait_stopped()
    return 0 if holds and status == 0 else 1


def _heed_make() -> None:
    """Take a SIGINT that was sent to our parent alone as sent to us.

    `make` then waits for us and does not say so; that it no longer catches the signal is the only sign.
    """
    parent = os.getppid()
    while catches(parent, signal.SIGINT):
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGINT)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make run", description="Start a server and show Rota at work.")
    parser.add_argument("--quiet", action="store_true", help="print the ending only")
    parser.add_argument("--packages", type=int, metavar="N", help="measure the N smallest packages only")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="save a picture of the terminal")
    return parser.parse_args()


def _tour(server: Server, screen: Screen, stopping: threading.Event, measured: int | None) -> bool:
    """Submit the jobs, show them until they are over, check them. Return whether all was as promised."""
    settings, client = server.settings, server.client
    planned = plan(packages(), settings.server_url, os.getcwd(), f"{time.time():.0f}", measured)
    jobs = client.submit_many([one.item for one in planned])
    board = Board(_heading(settings), jobs, planned)
    watched = Watched()
    named = _by_ref(jobs, planned)
    hour, visited = named["hour"], Visited()
    _in_thread(lambda: _follow(client, client.events(jobs[0])[0].seq - 1, board, screen))
    aborting = _in_thread(lambda: abort_and_watch(client, hour, watched, stopping, _SHOW_TREE_S))
    visiting = _in_thread(
        lambda: visit(client, settings.server_url, (named["array"], named["visited"]), visited, stopping)
    )
    with screen.on():
        while (
            server.running and not stopping.is_set() and (not board.over or aborting.is_alive() or visiting.is_alive())
        ):
            board.progressed(list(client.jobs(state="running", labels=planned[0].item["labels"])))
            screen.refresh(board, watched)
            stopping.wait(_LOOK_S)
        screen.refresh(board, watched)
    if stopping.is_set() or not server.running:
        return stopping.is_set()
    found = findings(client, {name: job.refresh() for name, job in named.items()}, watched, visited)
    screen.end(_ending(found, settings, hour, quiet=screen.quiet))
    return all(finding.holds for finding in found)


def _by_ref(jobs: list[Job], planned: list[Planned]) -> dict[str, Job]:
    return {one.ref: job for one, job in zip(planned, jobs, strict=True)}


def _follow(client: rota.Client, after: int, board: Board, screen: Screen) -> None:
    for event in client.follow(after=after):
        text = board.happened(event)
        screen.happened(text, is_package=text is None or board.lines[event.job].is_package)


def _in_thread(function: Callable[[], None]) -> threading.Thread:
    """Run a function beside; it ends with the server, whose end is no news to it."""

    def run() -> None:
        with suppress(ServerUnreachable):
            function()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def _heading(settings: Settings) -> str:
    return f"{settings.server_url} · {settings.store} · {settings.workers} workers"


def _ending(found: list[Finding], settings: Settings, hour: Job, *, quiet: bool) -> list[Text]:
    marks = {True: ("✓ ", "green"), False: ("✗ ", "bold red")}
    lines = [Text(), *[Text.assemble(marks[finding.holds], finding.text) for finding in found]]
    if quiet:
        return [*lines, Text("The server goes on until Ctrl-C.")]
    lines += [Text(), Text("The server goes on until Ctrl-C. To try next:", "bold")]
    commands = [
        (f"{settings.server_url}/ui/", "the dashboard"),
        (".venv/bin/rota jobs", "what ran"),
        (f".venv/bin/rota events {hour.id}", "how the abort went"),
        (".venv/bin/rota map 'wc -l {}' docs/*.md", "a command over many files"),
        (".venv/bin/rota submit remind --data '\"hello\"' --in 3s --wait", "a job of your own"),
        (f"{settings.server_url}/docs", "the HTTP API"),
        ("docs/getting-started.md", "handlers of your own"),
    ]
    if settings.server_url != Settings().server_url:
        commands.insert(0, (f"export ROTA_SERVER={settings.server_url}", "in the terminal where you try them"))
    width = max(len(command) for command, _ in commands)
    for command, what in commands:
        lines.append(Text.assemble((f"  {command:<{width}}", "cyan"), (f"  {what}", "bright_black")))
    return lines


if __name__ == "__main__":
    sys.exit(main())
