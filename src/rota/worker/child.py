"""A child that runs sync handlers, one at a time, each in this process's main thread.

SIGTERM raises Aborted in a running handler, once; a child that waits for work ends. A child that was told to end runs
nothing else: it reports, waits until all its descendants are gone (the keeper kills those that stay), and ends.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum, auto
from types import FrameType
from typing import IO, NoReturn

from msgspec import Raw
from msgspec.structs import replace

from rota import tracing
from rota.core.jobs import Progress
from rota.worker import calling, frames
from rota.worker.app import Handler
from rota.worker.context import Aborted, Context
from rota.worker.frames import Done, Hooked, Left, Moved, Said, Start, Swept
from rota.worker.framing import Splitter

MAX_STREAM = 1 << 20  # bytes of each stream that are kept of an attempt


class _Phase(Enum):
    WAITING = auto()  # for work
    RUNNING = auto()  # a handler
    BUSY = auto()  # with the frames around a handler


class _Leave(BaseException):
    """Told to end while waiting for work."""


class Child:
    """Runs what the supervisor sends over `channel`, until it closes it or `recycle_jobs` or `recycle_bytes` are reached.

    `recycle_bytes` is how much the process may have grown since its birth. The pipes behind descriptors 1 and 2 are the
    supervisor's; they are put back before each attempt, whatever the last one did to them.
    """

    def __init__(
        self, channel: socket.socket, handlers: Mapping[str, Handler], recycle_jobs: int, recycle_bytes: int
    ) -> None:
        self._channel = channel
        self._handlers = handlers
        self._started = calling.Started()
        self._jobs_left = recycle_jobs
        self._most_kib = _peak_kib() + (recycle_bytes >> 10)
        self._pid = os.getpid()
        self._pipes = (os.dup(1), os.dup(2))
        self._streams = (_text_stream(1), _text_stream(2))
        self._context: Context | None = None
        self._phase = _Phase.BUSY
        self._told_to_end = False

    def serve(self) -> NoReturn:
        """Run handlers until the end of this process."""
        os.register_at_fork(after_in_child=_forget_term)
        self._restore()
        try:
            self._serve()
        except _Leave:
            self._phase = _Phase.BUSY
            wait_for_descendants()
        os._exit(0)

    def _serve(self) -> None:
        splitter = Splitter()
        while data := self._receive():
            for body in splitter.feed(data):
                message = frames.decode_to_child(body)
                if isinstance(message, Start):
                    self._send(self._attempt(message))
                elif isinstance(message, Swept):
                    any_descendants()
                if self._told_to_end:
                    raise _Leave

    def _receive(self) -> bytes:
        self._phase = _Phase.WAITING
        if self._told_to_end:
            raise _Leave
        data = self._channel.recv(1 << 18)
        self._phase = _Phase.BUSY
        return data

    def _attempt(self, start: Start) -> Done:
        self._restore()
        done = self._call(start)
        if os.getpid() != self._pid:  # a process that the handler forked has come out of it too
            _flush(self._streams)
            os._exit(1 if done.error else 0)
        _flush((*self._streams, sys.stdout, sys.stderr))
        self._context = None
        self._jobs_left -= 1
        return replace(
            done,
            aborting=self._told_to_end,
            left=any_descendants(),
            worn=self._jobs_left <= 0 or _peak_kib() > self._most_kib,
        )

    def _call(self, start: Start) -> Done:
        error: BaseException | None = None
        value: object = None
        sink = ChannelSink(start.run, self._send)
        self._context = calling.context(start, sink)
        try:
            try:
                handler = self._handlers[start.handler]
                positional, keywords = calling.arguments(handler, start.data, start.args, start.item)
                tracing.enter(start.traceparent)
                self._phase = _Phase.RUNNING
                if self._told_to_end:  # before there was anything to interrupt
                    raise Aborted
                self._started.start(handler.app)
                value = calling.run(handler, self._context, positional, keywords)
                self._phase = _Phase.BUSY
            except BaseException as raised:  # SystemExit and KeyboardInterrupt are errors of the handler
                self._phase = _Phase.BUSY
                error = raised
        except BaseException as raised:  # the signal came just when another exception was caught
            self._phase = _Phase.BUSY
            error = raised
        return calling.succeeded(start.run, value) if error is None else calling.raised(start.run, error)

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        if self._told_to_end:
            return
        self._told_to_end = True
        if self._context is not None:
            self._context.aborting = True
        if self._phase is _Phase.RUNNING:
            raise Aborted
        if self._phase is _Phase.WAITING:
            raise _Leave

    def _restore(self) -> None:
        """Undo what an attempt may have done to the signal handler and to the standard streams."""
        if signal.getsignal(signal.SIGTERM) is not self._on_term:
            signal.signal(signal.SIGTERM, self._on_term)
        os.dup2(self._pipes[0], 1)
        os.dup2(self._pipes[1], 2)
        if self._streams[0].closed or self._streams[1].closed:
            self._streams = (_text_stream(1), _text_stream(2))
        sys.stdout, sys.stderr = self._streams

    def _send(self, message: frames.FromChild) -> None:
        if os.getpid() == self._pid:  # a fork shares the channel, and must not speak on it
            self._channel.sendall(frames.encode(message))


class ChannelSink:
    """A context's words, as frames; what is logged is bounded here too, so that a flood costs its own process only."""

    def __init__(self, run: int, send: Callable[[frames.FromChild], None]) -> None:
        self._run = run
        self._send = send
        self._logged = 0
        self._hooks = 0

    def progress(self, progress: Progress) -> None:
        """Send the newest progress."""
        self._send(Moved(self._run, progress.fraction, progress.message[:MAX_STREAM]))

    def log(self, text: str) -> None:
        """Send a text, while there is room."""
        if self._logged <= MAX_STREAM:
            data = text.encode("utf-8", "replace")[: MAX_STREAM + 1]
            self._logged += len(data)
            self._send(Said(self._run, "log", data))

    def call_hook(self, data: Raw) -> None:
        """Send a call of the hook. Raises ValueError when its data is too long."""
        if len(bytes(data)) > MAX_STREAM:
            raise ValueError(f"the data of a hook's call has {len(bytes(data))} bytes; {MAX_STREAM} are allowed")
        self._hooks += 1
        self._send(Hooked(self._run, self._hooks - 1, bytes(data)))

    def checkpoint(self, data: bytes) -> None:
        """Send what is left for the next attempt."""
        self._send(Left(self._run, data))


def any_descendants() -> bool:
    """Reap what is dead and say whether anything below this process is left, in one system call where nothing is."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def wait_for_descendants() -> None:
    """Reap until nothing is left below this process: as long as it lives, it holds them together."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _forget_term() -> None:
    """Give a process that a handler forks the plain SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _text_stream(fd: int) -> io.TextIOWrapper:
    return open(fd, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _flush(streams: tuple[IO[str], ...]) -> None:
    for stream in streams:
        with suppress(Exception):
            stream.flush()
