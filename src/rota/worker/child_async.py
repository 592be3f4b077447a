"""The child that runs all async handlers, many at once, on an event loop of its own.

What a task writes to `sys.stdout` is known to be its own by a context variable. Processes that a task starts carry its
job and attempt in their environment, so that they can be ended with it.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import io
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn, TextIO

from msgspec.structs import replace

from rota import tracing
from rota.core.states import Outcome
from rota.worker import calling, frames
from rota.worker.app import Handler
from rota.worker.child import MAX_STREAM, ChannelSink, any_descendants
from rota.worker.context import Context
from rota.worker.frames import Cancel, Done, Left, Said, Start, Stream, Swept
from rota.worker.framing import Splitter

_FLUSH_S = 0.05
_HAND_OVER_S = 10.0  # that a thread waits for the loop, which may be blocked by somebody who waits for the thread
_FLUSH_SIZE = 16 << 10  # characters

_running: contextvars.ContextVar[_Attempt | None] = contextvars.ContextVar("rota_attempt", default=None)


class _Attempt:
    """A task, and what it has written that was not sent yet."""

    __slots__ = ("context", "pending", "size", "start", "task", "written")

    def __init__(self, start: Start, context: Context) -> None:
        self.start = start
        self.context = context
        self.task: asyncio.Task[None] | None = None
        self.pending: list[tuple[Stream, str]] = []
        self.size = 0
        self.written = {"stdout": 0, "stderr": 0}


class AsyncChild:
    """Runs what the supervisor sends over `channel`, until it closes it."""

    def __init__(self, channel: socket.socket, handlers: Mapping[str, Handler], recycle_bytes: int) -> None:
        self._channel = channel
        self._handlers = handlers
        self._started = calling.Started()
        self._most_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + (recycle_bytes >> 10)
        self._pid = os.getpid()
        self._splitter = Splitter()
        self._attempts: dict[int, _Attempt] = {}
        self._dirty: set[_Attempt] = set()
        self._out: list[bytes] = []
        self._ended: list[tuple[Done, _Attempt]] = []  # in this turn of the loop
        self._blocked = False  # the socket is full: what is in `_out` waits for the supervisor

    def serve(self) -> NoReturn:
        """Run handlers until the end of this process."""
        try:
            asyncio.run(self._serve())
        finally:
            os._exit(1)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        # Children end by SIGKILL or by a closed channel; a handler (not SIG_IGN) is not passed on to programs.
        self._loop.add_signal_handler(signal.SIGTERM, lambda: None)
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
        subprocess.Popen.__init__ = _marking(subprocess.Popen.__init__)  # type: ignore[method-assign]
        sys.stdout = _Routed("stdout", sys.stdout, self._write_text)
        sys.stderr = _Routed("stderr", sys.stderr, self._write_text)
        self._channel.setblocking(False)
        self._loop.add_reader(self._channel, self._read)
        await self._loop.create_future()

    def _read(self) -> None:
        try:
            data = self._channel.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            os._exit(0)
        for body in self._splitter.feed(data):
            match frames.decode_to_child(body):
                case Start() as start:
                    self._begin(start)
                case Cancel(run=run) if attempt := self._attempts.get(run):
                    attempt.context.aborting = True
                    assert attempt.task is not None, "set where it was made"
                    attempt.task.cancel()
                case Swept() if not self._attempts:
                    any_descendants()

    def _begin(self, start: Start) -> None:
        sink = ChannelSink(start.run, self._send)
        context = calling.context(start, sink)
        attempt = self._attempts[start.run] = _Attempt(start, context)
        attempt.task = self._loop.create_task(self._run(attempt))

    async def _run(self, attempt: _Attempt) -> None:
        _running.set(attempt)
        start = attempt.start
        try:
            handler = self._handlers[start.handler]
            positional, keywords = calling.arguments(handler, start.data, start.args, start.item)
            tracing.enter(start.traceparent)
            self._started.start(handler.app)
            done = calling.succeeded(start.run, await calling.run(handler, attempt.context, positional, keywords))
        except asyncio.CancelledError as cancelled:
            done = (
                Done(start.run, Outcome.ABORTED) if attempt.context.aborting else calling.raised(start.run, cancelled)
            )
        except BaseException as raised:  # SystemExit and KeyboardInterrupt are errors of the handler
            done = calling.raised(start.run, raised)
        if attempt.pending:
            self._send_text(attempt)
        del self._attempts[start.run]
        self._ended.append((done, attempt))
        self._write_soon()

    def _write_text(self, stream: Stream, text: str) -> bool:
        """Take what a task, or a thread that it started, has written; False when nobody knows whose it is."""
        attempt = _running.get()
        if attempt is None or attempt.start.run not in self._attempts:
            return False
        if attempt.written[stream] <= MAX_STREAM:
            attempt.written[stream] += len(text)
            attempt.pending.append((stream, text))
            attempt.size += len(text)
            if threading.get_ident() != self._thread:
                self._loop.call_soon_threadsafe(self._send_later, attempt)
            elif attempt.size >= _FLUSH_SIZE:
                self._send_text(attempt)
            else:
                self._send_later(attempt)
        return True

    def _send_later(self, attempt: _Attempt) -> None:
        if not self._dirty:
            self._loop.call_later(_FLUSH_S, self._send_dirty)
        self._dirty.add(attempt)

    def _send_dirty(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for attempt in dirty:
            self._send_text(attempt)

    def _send_text(self, attempt: _Attempt) -> None:
        pending, attempt.pending, attempt.size = attempt.pending, [], 0
        texts: dict[Stream, list[str]] = {}
        for stream, text in pending:
            texts.setdefault(stream, []).append(text)
        for stream, parts in texts.items():
            self._send(Said(attempt.start.run, stream, "".join(parts).encode("utf-8", "backslashreplace")))

    def _send(self, message: frames.FromChild) -> None:
        data = frames.encode(message)
        if isinstance(message, Left):
            self._hand_over(data)
        elif threading.get_ident() == self._thread:
            self._put(data)
        else:
            self._loop.call_soon_threadsafe(self._put, data)

    def _hand_over(self, data: bytes) -> None:
        """Send a frame, after all that waits, before this returns: what is left is not to die with this process."""
        if threading.get_ident() != self._thread:
            sent = threading.Event()
            self._loop.call_soon_threadsafe(self._hand_over, data)
            self._loop.call_soon_threadsafe(sent.set)
            sent.wait(_HAND_OVER_S)
            return
        self._out.append(data)
        while True:
            self._write()
            if not self._out:
                return
            select.select([], [self._channel], [])

    def _put(self, data: bytes) -> None:
        """Queue a frame; all that are queued in one turn of the loop go out together."""
        self._out.append(data)
        self._write_soon()

    def _write_soon(self) -> None:
        if len(self._out) + len(self._ended) == 1 and not self._blocked:
            self._loop.call_soon(self._write)

    def _put_ends(self) -> None:
        """Queue the ends of attempts, after all that they have said. What they share is looked at once for all of them."""
        ended, self._ended = self._ended, []
        left = _has_children()
        worn = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._most_kib
        for done, attempt in ended:
            aborting = attempt.context.aborting
            if aborting or left or worn:
                done = replace(done, aborting=aborting, left=left, worn=worn)  # noqa: PLW2901
            self._out.append(frames.encode(done))

    def _write(self) -> None:
        if os.getpid() != self._pid:  # a fork of a handler, that came back into the loop
            os._exit(1)
        if self._ended:
            self._put_ends()
        data = b"".join(self._out)
        if not data:  # it went along with what was left for the next attempt
            return
        try:
            sent = self._channel.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            os._exit(0)
        self._out = [data[sent:]] if sent < len(data) else []
        if bool(self._out) != self._blocked:
            self._blocked = not self._blocked
            if self._blocked:
                self._loop.add_writer(self._channel, self._write)
            else:
                self._loop.remove_writer(self._channel)


class _Routed(io.TextIOBase):
    """A standard stream of which each task has its own; what no task wrote goes to the process's."""

    def __init__(self, name: Stream, plain: TextIO, write: Any) -> None:
        self._name = name
        self._plain = plain
        self._write = write

    def write(self, text: str, /) -> int:
        """Write a text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if not self._write(self._name, text):
            self._plain.write(text)
        return len(text)

    def writable(self) -> bool:
        """Say yes."""
        return True

    def flush(self) -> None:
        """Flush what goes to the process's stream; the rest is sent within 50 ms."""
        self._plain.flush()

    def fileno(self) -> int:
        """Return the process's descriptor, for programs that are started."""
        return self._plain.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return the process's encoding."""
        return self._plain.encoding

    @property
    def buffer(self) -> Any:
        """Return the process's bytes stream; what is written there is nobody's."""
        return self._plain.buffer


def _marking(original: Any) -> Any:
    """Return Popen's constructor, but that it writes into the environment of what a task starts whose it is."""
    signature = inspect.signature(original)

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        attempt = _running.get()
        if attempt is not None:
            bound = signature.bind(self, *args, **kwargs)
            env = bound.arguments.get("env")
            mark = {"ROTA_JOB_ID": attempt.start.job, "ROTA_ATTEMPT": str(attempt.start.attempt)}
            bound.arguments["env"] = {**(os.environ if env is None else env), **mark}
            args, kwargs = bound.args[1:], bound.kwargs
        original(self, *args, **kwargs)

    return __init__


def _has_children() -> bool:
    with suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    return False
