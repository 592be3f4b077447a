"""What a handler knows of its attempt, and what it can say: Context, and the exceptions that say more than "it failed"."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NoReturn, Protocol

import msgspec
from msgspec import Raw

from rota.core.checkpoints import MAX_CHECKPOINT
from rota.core.jobs import Progress
from rota.core.times import seconds_of

Duration = str | float | timedelta


class Aborted(BaseException):
    """Raised inside a sync handler when its attempt is stopped: clean up, then let it pass.

    Not an Exception, so that `except Exception` does not swallow it. What is still running when the grace is over is
    killed.
    """


class Fail(Exception):
    """Raise it to say that trying again is useless: the job fails at once, whatever retries are left."""


class Snooze(Exception):
    """What `ctx.snooze` raises: run again later, at no cost. `seconds` is how much later."""

    def __init__(self, duration: Duration) -> None:
        self.seconds = seconds_of(duration)
        super().__init__(f"snoozed for {self.seconds:g} s")


class Retry(Exception):
    """Raise it to fail this attempt and choose the pause before the next one: seconds, a text like "5m", a timedelta.

    It costs a retry, and the job fails when none is left.
    """

    def __init__(self, message: str = "", *, after: Duration) -> None:
        self.after = seconds_of(after)
        super().__init__(message or f"retry after {self.after:g} s")


class Sink(Protocol):
    """Where a context's words go."""

    def progress(self, progress: Progress) -> None:
        """Pass the newest progress on."""
        ...

    def log(self, text: str) -> None:
        """Pass a text on."""
        ...

    def call_hook(self, data: Raw) -> None:
        """Pass a call of the hook on."""
        ...

    def checkpoint(self, data: bytes) -> None:
        """Pass what is left for the next attempt on."""
        ...


class Context:
    """What a handler knows of its attempt, and how it speaks. Given to a handler with a parameter named `ctx`.

    `deadline` is when the attempt times out, by this machine's clock (aware, UTC), or None. `aborting` becomes True
    when the attempt is being stopped; a handler that does not like exceptions may look at it. `index` is the number of
    its input, from 0; None unless the job is an array. `traceparent` is the span that the attempt is in (W3C Trace Context);
    OpenTelemetry, where it is installed, has it as the active one.
    """

    __slots__ = ("_checkpoint", "_sink", "aborting", "attempt", "deadline", "index", "job_id", "owner", "traceparent")

    def __init__(
        self,
        job_id: str,
        attempt: int,
        owner: str,
        deadline: datetime | None,
        sink: Sink,
        *,
        index: int | None = None,
        traceparent: str | None = None,
        checkpoint: bytes | None = None,
    ) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.owner = owner
        self.deadline = deadline
        self.aborting = False
        self.index = index
        self.traceparent = traceparent
        self._sink = sink
        self._checkpoint = checkpoint

    def progress(self, fraction: float | None, message: str = "") -> None:
        """Say how far the attempt is: a fraction in [0, 1] (None: unknown), and a text. Raises ValueError."""
        if fraction is not None:
            fraction = float(fraction)
            if not 0.0 <= fraction <= 1.0:
                raise ValueError(f"progress is a fraction from 0 to 1, not {fraction}")
        self._sink.progress(Progress(fraction=fraction, message=str(message)))

    def log(self, text: str) -> None:
        """Add a line to the attempt's log."""
        text = str(text)
        self._sink.log(text if text.endswith("\n") else text + "\n")

    def checkpoint(self, value: Any) -> None:
        """Leave a value for the next attempt, whatever ends this one: anything that msgspec encodes, 1 MiB of JSON at most.

        The newest counts. When the call returns, the value has been handed over to the worker, which outlives this process
        and tells the server within about a tenth of a second, and always before it tells how the attempt has ended.
        Raises TypeError for what cannot be encoded, ValueError for what is too long and for an input of an array.
        """
        if self.index is not None:
            raise ValueError(
                "an input of an array has no checkpoint: make it a job of its own, or the array's inputs smaller"
            )
        data = msgspec.json.encode(value)
        if len(data) > MAX_CHECKPOINT:
            raise ValueError(f"a checkpoint has at most {MAX_CHECKPOINT} bytes of JSON; this one has {len(data)}")
        self._sink.checkpoint(data)
        self._checkpoint = data

    def restore(self, default: Any = None, *, type: Any = Any) -> Any:
        """Return the last checkpoint of this job as a `type`, or `default` when there is none. Raises ValidationError."""
        return default if self._checkpoint is None else msgspec.json.decode(self._checkpoint, type=type)

    def snooze(self, duration: Duration) -> NoReturn:
        """End this attempt, and run again later, at no cost: seconds, a text like "5m", or a timedelta. Raises Snooze."""
        raise Snooze(duration)

    def call_hook(self, data: Any = None) -> None:
        """Call the job's hook now, with `data`. A job without a hook has none to call.

        Raises TypeError for what is not JSON, ValueError for more than 1 MiB of it.
        """
        self._sink.call_hook(Raw(msgspec.json.encode(data)))
