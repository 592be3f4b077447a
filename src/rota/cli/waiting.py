"""Waits for a job's end; on a terminal a bar on stderr shows how far it is."""

from __future__ import annotations

import sys

import msgspec

from rota.cli import show
from rota.client import Client, calls
from rota.client.views import JobFields

_LOOK_S = 0.25  # between two looks at the progress, while somebody watches


def wait_for(client: Client, job: JobFields) -> bytes:
    """Return the job as the API answers it when it is over."""
    if sys.stderr.isatty():
        return _with_bar(client, job)
    while True:
        answer, over = _look(client, job, calls.MAX_WAIT_S)
        if over:
            return answer


def _look(client: Client, job: JobFields, wait_s: float) -> tuple[bytes, bool]:
    answer = bytes(client.call(calls.get(job.id, msgspec.Raw, wait_s)))
    job.take(msgspec.json.decode(answer, type=JobFields))
    return answer, job.over


def _with_bar(client: Client, job: JobFields) -> bytes:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.fields[state]}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None, state=job.display_state)
        while True:
            answer, over = _look(client, job, _LOOK_S)
            if over:
                return answer
            fraction, message = _progress(job)
            total = None if fraction is None else 1.0
            bar.update(task, completed=fraction or 0.0, total=total, description=message, state=job.display_state)


def _progress(job: JobFields) -> tuple[float | None, str]:
    """Return how far a job is, and in words: of an array its counts and when it will be over."""
    if job.array is not None:
        return job.array.done / job.array.inputs, show.array(job.array)
    if job.progress is None:
        return None, ""
    return job.progress.fraction, show.line(job.progress.message)
