"""An attempt's output, cut into chunks: what a stream has is sent every 50 ms or 16 KiB, up to 1 MiB of it."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable

from rota.core.jobs import LogChunk
from rota.worker.frames import Stream

MAX_STREAM = 1 << 20  # bytes of each stream that are kept of an attempt
MARKER = "\n[rota: output over 1 MiB is dropped]\n"
_FLUSH_S = 0.05
_FLUSH_SIZE = 16 << 10
_TAIL = 2048  # characters of stderr that are looked through for its last line

_decoder = codecs.getincrementaldecoder("utf-8")


class _Kept:
    """What one stream had so far."""

    __slots__ = ("decoder", "pending", "size", "tail")

    def __init__(self) -> None:
        self.decoder = _decoder("replace")
        self.pending = bytearray()
        self.size = 0
        self.tail = ""


class Capture:
    """The output of one attempt; chunks are numbered over all its streams."""

    __slots__ = ("_attempt", "_count", "_job", "_loop", "_streams", "_tell", "_timer")

    def __init__(
        self, job: str, attempt: int, tell: Callable[[LogChunk], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._job = job
        self._attempt = attempt
        self._tell = tell
        self._loop = loop
        self._count = 0
        self._streams: dict[Stream, _Kept] = {}
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, stream: Stream, data: bytes) -> None:
        """Take bytes of a stream; over the limit they are dropped."""
        kept = self._streams.get(stream)
        if kept is None:
            kept = self._streams[stream] = _Kept()
        if kept.size > MAX_STREAM:
            return
        kept.pending += data[: MAX_STREAM - kept.size]
        kept.size += len(data)
        if kept.size > MAX_STREAM:
            self._flush(stream, kept, final=True)
            self._emit(stream, MARKER)
        elif len(kept.pending) >= _FLUSH_SIZE:
            self._flush(stream, kept)
        elif self._timer is None:
            self._timer = self._loop.call_later(_FLUSH_S, self._flush_all)

    def full(self, stream: Stream) -> bool:
        """Say whether a stream has had all that is kept of it."""
        kept = self._streams.get(stream)
        return kept is not None and kept.size > MAX_STREAM

    def finish(self) -> None:
        """Send what is left: the attempt is over."""
        self._flush_all(final=True)

    def last_line(self) -> str:
        """Return the last line of stderr that is not empty, once all output is there."""
        self._flush_all()
        kept = self._streams.get("stderr")
        lines = kept.tail.split("\n") if kept else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

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
