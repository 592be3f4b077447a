"""What the tour shows: kept up to date from events, drawn with rich."""

from __future__ import annotations

from collections import Counter, deque

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.plan import Planned
from rota.client import Job
from rota.client.views import Event
from rota.core.states import FINAL

STYLES = {
    "blocked": "magenta", "scheduled": "yellow", "queued": "blue", "running": "cyan", "succeeded": "green",
    "failed": "red", "aborted": "bright_red", "canceled": "bright_black",
}  # fmt: skip
_RUNNING = 4
_NEWEST = 6


class Line(Struct):
    """A job on the board."""

    title: str
    handler: str | None
    state: str
    attempt: int = 0
    fraction: float | None = None
    note: str = ""
    inputs: int | None = None  # of an array
    done: int = 0

    @property
    def is_package(self) -> bool:
        """Say whether it is one of the many that measure a package."""
        return self.handler == "measure_package"

    @property
    def over(self) -> bool:
        """Say whether the state is final."""
        return self.state in FINAL


class Board:
    """The jobs of one tour and the newest of what happened to them."""

    def __init__(self, heading: str, jobs: list[Job], planned: list[Planned]) -> None:
        self._heading = heading
        self.lines = {
            job.id: Line(
                title=one.title, handler=job.handler, state=job.state, inputs=job.array.inputs if job.array else None
            )
            for job, one in zip(jobs, planned, strict=True)
        }
        self._newest: deque[Text] = deque(maxlen=_NEWEST)

    @property
    def over(self) -> bool:
        """Say whether all jobs are over."""
        return all(line.over for line in self.lines.values())

    @property
    def packages(self) -> tuple[int, int]:
        """Return how many packages are done, and how many there are."""
        states = [line.over for line in self.lines.values() if line.is_package]
        return sum(states), len(states)

    def happened(self, event: Event) -> Text | None:
        """Take note of an event; return it as a line of text when it is about this tour."""
        line = self.lines.get(event.job)
        if line is None:
            return None
        line.state, line.attempt = event.state, event.attempt
        if event.state != "running":
            line.fraction, line.note = None, ""
        text = Text.assemble(
            (event.at.astimezone().strftime("%H:%M:%S.%f")[:-3], "bright_black"),
            f"  {line.title}: ",
            (event.kind.replace("_", " "), STYLES.get(event.state, "")),
        )
        if line.inputs is not None and event.state == "succeeded":
            line.done = line.inputs
        if event.attempt > 1 and line.inputs is None:
            text.append(f" (attempt {event.attempt})")
        if event.why:
            text.append(f" · {event.why}", "bright_black")
        self._newest.append(text)
        return text

    def progressed(self, jobs: list[Job]) -> None:
        """Take over the progress of jobs that run."""
        for job in jobs:
            line = self.lines.get(job.id)
            if line is None or line.state != "running":
                continue
            if job.progress is not None:
                line.fraction, line.note = job.progress.fraction, job.progress.message
            if job.array is not None:
                eta = "" if job.array.eta is None else f", {job.array.eta:.0f} s to go"
                line.done, line.note = job.array.done, f"{job.array.running} at once{eta}"

    def draw(self, *more: RenderableType) -> RenderableType:
        """Draw all of it, and `more` below."""
        parts: list[RenderableType] = [self._states(), Text(), self._others(), Text(), self._measuring()]
        newest = Text("\n").join([*self._newest, *[Text()] * (_NEWEST - len(self._newest))])
        newest.no_wrap, newest.overflow = True, "ellipsis"
        parts += [Text(), newest, *more]
        return Panel(Group(*parts), title=f"[bold]Rota[/bold] · {self._heading}", title_align="left", padding=(1, 2))

    def _states(self) -> Text:
        counts = Counter(line.state for line in self.lines.values())
        shown = [
            (f"{state} {counts[state]}", style if counts[state] else "bright_black") for state, style in STYLES.items()
        ]
        return Text("   ").join(Text(text, style) for text, style in shown)

    def _others(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, min_width=10)
        table.add_column(no_wrap=True, min_width=9)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1, style="bright_black")
        for line in self.lines.values():
            if not line.is_package and line.inputs is None:
                attempt = f"attempt {line.attempt}" if line.attempt else ""
                table.add_row(line.title, Text(line.state, STYLES[line.state]), attempt, line.note)
        return table

    def _measuring(self) -> Table:
        done, total = self.packages
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(no_wrap=True, overflow="ellipsis", width=30)
        table.add_column(ratio=1)
        table.add_column(no_wrap=True, overflow="ellipsis", width=24, style="bright_black")
        table.add_row("packages measured", ProgressBar(total, done), f"{done} of {total}")
        for line in self.lines.values():
            if line.inputs is not None:
                note = f"{line.done} of {line.inputs}" if line.over else line.note or line.state
                table.add_row(line.title, ProgressBar(line.inputs, line.done), note)
        running = [line for line in self.lines.values() if line.is_package and line.state == "running"][:_RUNNING]
        for line in running:
            table.add_row(f"  {line.title}", ProgressBar(1.0, line.fraction or 0.0), line.note)
        for _ in range(_RUNNING - len(running)):
            table.add_row("", "", "")
        return table
