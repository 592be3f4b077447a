"""An attempt's output, up to 1 MiB of each stream unless it has a limit of its own.

Secrets are hidden in it before anything else. It is cut into chunks, and what a stream has is sent every 50 ms or 16 KiB;
that of an input is kept for its report.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from rota.core.jobs import Lease, LogChunk, Report
from rota.worker.frames import Stream
from rota.worker.redaction import Redactor

MAX_STREAM = 1 << 20  # bytes of each stream that are kept of an attempt
_FLUSH_S = 0.05
_FLUSH_SIZE = 16 << 10
_TAIL = 2048  # characters of stderr that are looked through for its last line


def marker(limit: int = MAX_STREAM) -> str:
    """Return what stands at the end of a stream that had more than `limit` bytes."""
    sizes = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
    size = next((f"{limit // unit} {name}" for unit, name in sizes if limit and limit % unit == 0), f"{limit} bytes")
    return f"\n[rota: output over {size} is dropped]\n"


_decoder = codecs.getincrementaldecoder("utf-8")


class _Hidden:
    """Hides secrets in each stream of an attempt."""

    __slots__ = ("_by_stream", "_values")

    def __init__(self, values: Sequence[str]) -> None:
        self._values = values
        self._by_stream: dict[Stream, Redactor] = {}

    def feed(self, stream: Stream, data: bytes) -> bytes:
        """Return what can be shown."""
        if not self._values:
            return data
        if stream not in self._by_stream:
            self._by_stream[stream] = Redactor(self._values)
        return self._by_stream[stream].feed(data)

    def rest(self) -> list[tuple[Stream, bytes]]:
        """Return what was held back, now that nothing follows."""
        return [(stream, held) for stream, redactor in self._by_stream.items() if (held := redactor.end())]


class _Kept:
    """What one stream had so far."""

    __slots__ = ("decoder", "pending", "size", "tail")

    def __init__(self) -> None:
        self.decoder = _decoder("replace")
        self.pending = bytearray()
        self.size = 0
        self.tail = ""


class Capture:
    """The output of one attempt, told in chunks, which are numbered over all its streams."""

    __slots__ = ("_attempt", "_count", "_hidden", "_job", "_limit", "_loop", "_streams", "_tell", "_timer")

    def __init__(
        self,
        job: str,
        attempt: int,
        tell: Callable[[LogChunk], None],
        loop: asyncio.AbstractEventLoop,
        *,
        limit: int = MAX_STREAM,
        secrets: Sequence[str] = (),
    ) -> None:
        self._hidden = _Hidden(secrets) if secrets else None
        self._job = job
        self._attempt = attempt
        self._tell = tell
        self._loop = loop
        self._limit = limit
        self._count = 0
        self._streams: dict[Stream, _Kept] = {}
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, stream: Stream, data: bytes) -> None:
        """Take bytes of a stream; over the limit they are dropped."""
        self._take(stream, data if self._hidden is None else self._hidden.feed(stream, data))

    def _take(self, stream: Stream, data: bytes) -> None:
        kept = self._streams.get(stream)
        if kept is None:
            kept = self._streams[stream] = _Kept()
        if kept.size > self._limit:
            return
        kept.pending += data[: self._limit - kept.size]
        kept.size += len(data)
        if kept.size > self._limit:
            self._flush(stream, kept, final=True)
            self._emit(stream, marker(self._limit))
        elif len(kept.pending) >= _FLUSH_SIZE:
            self._flush(stream, kept)
        elif self._timer is None:
            self._timer = self._loop.call_later(_FLUSH_S, self._flush_all)

    def full(self, stream: Stream) -> bool:
        """Say whether a stream has had all that is kept of it."""
        kept = self._streams.get(stream)
        return kept is not None and kept.size > self._limit

    def finish(self, report: Report) -> Report:
        """Send what is left, since the attempt is over, and return its report."""
        self._take_rest()
        if self._streams:
            self._flush_all(final=True)
        return report

    def last_line(self) -> str:
        """Return the last line of stderr that is not empty, once all output is there."""
        self._take_rest()
        self._flush_all()
        kept = self._streams.get("stderr")
        return _last_line(kept.tail) if kept else ""

    def _take_rest(self) -> None:
        if self._hidden is not None:
            for stream, data in self._hidden.rest():
                self._take(stream, data)

    def _flush_all(self, *, final: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for stream, kept in self._streams.items():
            self._flush(stream, kept, final=final)

    def _flush(self, stream: Stream, kept: _Kept, *, final: bool = False) -> None:
        text = kept.decoder.decode(bytes(kept.pending), final)
        kept.pending.clear()
        if text:
            kept.tail = (kept.tail + text)[-_TAIL:] if stream == "stderr" else ""
            self._emit(stream, text)

    def _emit(self, stream: Stream, text: str) -> None:
        self._tell(LogChunk(job=self._job, attempt=self._attempt, n=self._count, stream=stream, text=text))
        self._count += 1


class Collected:
    """The output of one input: it is not told, but goes into its report. What it logs goes to its stderr."""

    __slots__ = ("_err", "_hidden", "_limit", "_out")

    def __init__(self, limit: int = MAX_STREAM, secrets: Sequence[str] = ()) -> None:
        self._hidden = _Hidden(secrets)
        self._limit = limit
        self._out = bytearray()
        self._err = bytearray()

    def feed(self, stream: Stream, data: bytes) -> None:
        """Take bytes of a stream; over the limit they are dropped."""
        self._take(stream, self._hidden.feed(stream, data))

    def _take(self, stream: Stream, data: bytes) -> None:
        kept = self._out if stream == "stdout" else self._err
        kept += data[: self._limit + 1 - len(kept)]  # one byte over the limit says that there was more

    def full(self, stream: Stream) -> bool:
        """Say whether a stream has had all that is kept of it."""
        return len(self._out if stream == "stdout" else self._err) > self._limit

    def finish(self, report: Report) -> Report:
        """Return the input's report with its output."""
        self._take_rest()
        if not self._out and not self._err:
            return report
        return replace(report, stdout=self._text(self._out), stderr=self._text(self._err))

    def last_line(self) -> str:
        """Return the last line of stderr that is not empty, once all output is there."""
        self._take_rest()
        return _last_line(self._err[: self._limit][-4 * _TAIL :].decode("utf-8", "replace")[-_TAIL:])

    def _take_rest(self) -> None:
        for stream, data in self._hidden.rest():
            self._take(stream, data)

    def _text(self, kept: bytearray) -> str:
        text = kept[: self._limit].decode("utf-8", "replace")
        return text + marker(self._limit) if len(kept) > self._limit else text


def capture_of(lease: Lease, tell: Callable[[LogChunk], None], loop: asyncio.AbstractEventLoop) -> Capture | Collected:
    """Return what takes the output of an attempt: told by and by, or that of an input kept for its report."""
    limit, secrets = MAX_STREAM, list[str]()
    if (options := lease.options) is not None:  # most jobs ask for nothing
        limit = MAX_STREAM if lease.limits.output is None else lease.limits.output
        secrets = [options.env[name] for name in options.secrets if name in options.env]
    if lease.index is not None:
        return Collected(limit, secrets)
    return Capture(lease.job, lease.attempt, tell, loop, limit=limit, secrets=secrets)


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.split("\n")) if line.strip()), "")
