"""What `rota map` shows: results on stdout and stderr as the commands wrote them, how far it is on stderr, the joblog."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

import msgspec

from rota.cli import show
from rota.cli.joblog import JobLog
from rota.client.views import Result
from rota.core import inputs
from rota.core.states import Outcome

_DRAW_S = 0.2  # between two looks of the bar on a terminal
_TELL_S = 1.0  # between two lines where there is no terminal
_WIDTH = 24
_ROOM = 16 << 20  # characters of output that may wait for their reader
_LINE = 200  # what a result costs beside its output
_encode = msgspec.json.Encoder().encode


class Bar:
    """How far a run is: one line on stderr that is drawn again and again, or where that is no terminal a line a second."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._began = self._drawn_at = clock()
        self._terminal = os.isatty(2)
        self._shown = False

    def draw(self, done: int, failed: int, *, now: bool = False) -> None:
        """Show it, if it is time or `now`."""
        at = self._clock()
        if not now and at - self._drawn_at < (_DRAW_S if self._terminal else _TELL_S):
            return
        self._drawn_at = at
        line = self.text(done, failed, at - self._began)
        _write(2, f"\r{line}\x1b[K".encode() if self._terminal else f"{line}\n".encode())
        self._shown = self._terminal

    def erase(self) -> None:
        """Make room for what others write."""
        if self._shown:
            _write(2, b"\r\x1b[K")
            self._shown = False

    def text(self, done: int, failed: int, elapsed_s: float) -> str:
        """Return the line."""
        filled = _WIDTH * done // self._total
        line = f"{100 * done // self._total:3d}% [{'#' * filled}{'-' * (_WIDTH - filled)}] {done:,} of {self._total:,}"
        if failed:
            line += f", {failed:,} failed"
        if done == self._total:
            return f"{line}, took {show.span(elapsed_s)}"
        return f"{line}, ETA {show.span((self._total - done) * elapsed_s / done)}" if done else line


class Results:
    """Writes results, and counts them. A command's stdout and stderr are passed on as they are, whole."""

    def __init__(self, command: str, *, as_json: bool, joblog: JobLog | None, bar: Bar | None) -> None:
        self.done = self.failed = 0
        self._command = command
        self._as_json = as_json
        self._joblog = joblog
        self._bar = bar

    def write(self, results: Sequence[Result]) -> None:
        """Write some. Raises BrokenPipeError when nobody reads stdout any more."""
        out = bytearray()
        for result in results:
            self.done += 1
            self.failed += result.state != "succeeded"
            if self._as_json:
                out += _encode(result) + b"\n"
            elif result.state == "aborted":  # what it wrote is half of something
                continue
            elif result.stderr:
                self._flush(out)
                out.clear()
                self._flush(result.stdout.encode(errors="surrogatepass"))
                self._flush(result.stderr.encode(errors="surrogatepass"), to=2)
            else:
                out += result.stdout.encode(errors="surrogatepass")
            if self._joblog is not None and result.state in {"succeeded", "failed"}:
                self._log(self._joblog, result)
        self._flush(out)
        if self._joblog is not None:
            self._joblog.flush()
        self.tick()

    def tick(self, *, now: bool = False) -> None:
        """Show how far it is, if that is wanted and it is time."""
        if self._bar is not None:
            self._bar.draw(self.done, self.failed, now=now)

    def close(self) -> None:
        """Show the end."""
        if self._bar is not None:
            self._bar.draw(self.done, self.failed, now=True)
            if os.isatty(2):
                _write(2, b"\n")
        if self._joblog is not None:
            self._joblog.close()

    def _flush(self, data: bytes | bytearray, to: int = 1) -> None:
        if data:
            if self._bar is not None:
                self._bar.erase()
            _write(to, data)

    def _log(self, joblog: JobLog, result: Result) -> None:
        text = result.input if isinstance(result.input, str) else _encode(result.input).decode()
        joblog.add(
            number=result.index + 1,
            ended_at=time.time(),
            duration_s=result.duration,
            received=len(result.stdout.encode(errors="surrogatepass")),
            exit_code=result.exit_code,
            timed_out=result.outcome == Outcome.TIMED_OUT,
            command=inputs.render(self._command, text, number=result.index + 1),
        )


class Printer:
    """Writes results from a thread of its own: a reader who pauses (`| less`) must not hold up heartbeats.

    `broken` is called, on the event loop, when nobody reads stdout any more. All methods belong to the event loop.
    """

    def __init__(self, results: Results, broken: Callable[[], None]) -> None:
        self._results = results
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._waiting: SimpleQueue[Sequence[Result] | None] = SimpleQueue()
        self._size = 0
        self._room = asyncio.Event()
        self._room.set()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="rota-printer", daemon=True)
        self._thread.start()

    def put(self, results: Sequence[Result]) -> None:
        """Have results written."""
        self._size += _size_of(results)
        if self._size > _ROOM:
            self._room.clear()
        self._waiting.put(results)

    async def room(self) -> None:
        """Wait until so little is left to write that more may come."""
        await self._room.wait()

    async def finish(self) -> None:
        """Wait until all is written."""
        self._waiting.put(None)
        await self._over.wait()

    def _work(self) -> None:
        going = True
        try:
            while going:
                try:
                    some = self._waiting.get(timeout=_DRAW_S)
                except Empty:
                    self._results.tick()
                    continue
                going = some is not None
                if some is not None:
                    self._results.write(some)
                    self._loop.call_soon_threadsafe(self._written, _size_of(some))
        except BrokenPipeError:
            self._tell(self._broken)
        finally:
            self._tell(self._end)

    def _tell(self, what: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what)

    def _written(self, size: int) -> None:
        self._size -= size
        if self._size <= _ROOM:
            self._room.set()

    def _end(self) -> None:
        self._room.set()
        self._over.set()


def _size_of(results: Sequence[Result]) -> int:
    return sum(_LINE + len(result.stdout) + len(result.stderr) for result in results)


def _write(fd: int, data: bytes | bytearray) -> None:
    """Write all of it. Not through sys.stdout: its buffer is locked while a reader pauses, and Python's end waits for it."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
