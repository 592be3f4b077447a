"""For tests of handlers: run one here, in this thread, as a worker would, with a clock that stands still.

ran = run_inline(app, "resize", {"path": "a.png", "width": 80})
assert ran.outcome == "succeeded" and ran.result == "a-80.png"
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw

from rota.core.jobs import Failure, Progress
from rota.core.states import Outcome
from rota.worker import calling
from rota.worker.app import App, Handler
from rota.worker.context import Context

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@dataclass
class Ran:
    """What an attempt did: its outcome, and all that it said on the way, in order."""

    outcome: Outcome = Outcome.LOST
    result: Any = None
    error: Failure | None = None
    retry_in_s: float | None = None
    refused: bool = False
    updates: list[Progress] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    hook_calls: list[Any] = field(default_factory=list)
    checkpoints: list[Any] = field(default_factory=list)

    def progress(self, progress: Progress) -> None:
        """Keep a progress."""
        self.updates.append(progress)

    def log(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text.rstrip("\n"))

    def call_hook(self, data: Raw) -> None:
        """Keep a call of the hook."""
        self.hook_calls.append(msgspec.json.decode(data))

    def checkpoint(self, data: bytes) -> None:
        """Keep what is left for the next attempt."""
        self.checkpoints.append(msgspec.json.decode(data))


def run_inline(
    app: App,
    handler: str | Callable[..., Any],
    data: Any = None,
    *,
    args: Sequence[Any] = (),
    job_id: str = "test",
    attempt: int = 1,
    owner: str = "default",
    timeout_s: float | None = None,
    now: datetime = NOON,
    aborting: bool = False,
    checkpoint: Any = None,
) -> Ran:
    """Run a handler of `app` (its name, or the function) as a worker would, through JSON and back.

    `now` is when the attempt starts: `ctx.deadline` is `timeout_s` after it (nothing times out here). `aborting` is what
    `ctx.aborting` says; `checkpoint`, unless None, what an attempt before has left. Raises KeyError for an unknown handler.
    """
    found = _find(app, handler)
    ran = Ran()
    left = None if checkpoint is None else msgspec.json.encode(checkpoint)
    context = Context(job_id, attempt, owner, calling.deadline_of(timeout_s, now), ran, checkpoint=left)
    context.aborting = aborting
    encoded = msgspec.json.encode(data), msgspec.json.encode(list(args))
    try:
        positional, keywords = calling.arguments(found, *encoded)
        calling.Started().start(app)
        value = calling.run(found, context, positional, keywords)
        done = calling.succeeded(0, asyncio.run(value) if found.is_async else value)
    except BaseException as raised:  # as in a child: SystemExit too is an error of the handler
        done = calling.raised(0, raised)
    ran.outcome, ran.error = done.outcome, done.error
    ran.retry_in_s, ran.refused = done.retry_in_s, done.refused
    ran.result = None if done.result is None else msgspec.json.decode(done.result)
    return ran


def _find(app: App, handler: str | Callable[..., Any]) -> Handler:
    if isinstance(handler, str):
        return app.handlers[handler]
    for found in app.handlers.values():
        if found.function is handler:
            return found
    raise KeyError(getattr(handler, "__name__", repr(handler)))
