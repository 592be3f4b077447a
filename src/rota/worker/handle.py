"""A child as the pool sees it: its channel, the pipes of its output, and the attempts that it runs.

A script child may hold the next input of a shard while it runs one, and begins it before anybody has heard of the end of
that. So it has two pairs of pipes, its lanes, and the inputs take them in turn: what is in a lane is of one input alone.

Nothing here blocks: what a child does not read waits in a buffer of its own, what it writes is read in small pieces.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable
from typing import Literal, Protocol

from rota import log
from rota.core.jobs import Lease, Proof, Report
from rota.core.states import Outcome
from rota.worker import frames
from rota.worker.capture import Capture, Collected
from rota.worker.frames import Done, Exited, RunScript, Start, Stream
from rota.worker.framing import BrokenFrame, Splitter
from rota.worker.oom import OomWatch

ChildKind = Literal["process", "async", "script"]

Bounds = tuple[int | None, int | None]  # of memory, in bytes, and of processes

_STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")
_PIECE = 16 << 10
_GULP = 1 << 18  # where the output is dropped anyway
_PIPE = 1 << 16  # what a pipe holds
_log = log.get("worker.child")


class Told:
    """In place of a future, where nobody waits for the report: `tell` is called with it."""

    __slots__ = ("_done", "_tell")

    def __init__(self, tell: Callable[[Report], None]) -> None:
        self._tell = tell
        self._done = False

    def done(self) -> bool:
        """Say whether it was told."""
        return self._done

    def set_result(self, report: Report) -> None:
        """Tell it."""
        self._done = True
        self._tell(report)


class Running:
    """One attempt, or one input, on its way through the pool; `order` starts it in a child.

    `following` is the next input of its shard, to be handed over to its child as soon as it has one.
    `begun` says that it runs, as far as anybody can know: a child may hold it, and begin it when another one is over.
    `stopped_as` is the outcome that whoever stopped it gave.
    """

    __slots__ = (
        *("begun", "capture", "child", "done", "ended", "following", "lease", "number", "order"),
        *("out_of_memory", "report", "stopped_as", "stopped_at", "swept", "timer"),
    )

    def __init__(
        self,
        lease: Lease,
        number: int,
        order: Start | RunScript,
        capture: Capture | Collected,
        report: asyncio.Future[Report] | Told,
    ) -> None:
        self.lease = lease
        self.number = number
        self.order = order
        self.capture = capture
        self.report = report
        self.child: ChildHandle | None = None
        self.following: Lease | None = None
        self.begun = False
        self.done: Done | Exited | None = None  # what the child said
        self.ended: asyncio.Event | None = None  # set with `done`, where somebody waits for it
        self.out_of_memory = False  # the kernel has killed something of it
        self.stopped_as: Outcome | None = None
        self.stopped_at = 0.0  # by the loop's clock
        self.swept: Proof | None = None  # what ended its processes, before its child had to end as well
        self.timer: asyncio.TimerHandle | None = None

    def note_swept(self, ladder: asyncio.Future[tuple[Proof, list[tuple[int, str | None]]]]) -> None:
        """Keep the proof of a ladder that has come to its end: whatever else has to end, it counts."""
        if not ladder.cancelled() and ladder.exception() is None:
            self.swept = ladder.result()[0]

    def finish(self, report: Report) -> None:
        """Deliver the report, after all output."""
        if self.timer is not None:
            self.timer.cancel()
        report = self.capture.finish(report)
        if not self.report.done():
            self.report.set_result(report)


class Owner(Protocol):
    """Who hears what a child says."""

    def heard(self, child: ChildHandle, message: frames.FromChild) -> None:
        """Take a message."""
        ...

    def hung_up(self, child: ChildHandle) -> None:
        """Hear that a child's channel is closed or broken."""
        ...


class ChildHandle:
    """The supervisor's ends of one child. `fds()` are the child's, to be passed on and then closed.

    `runs` are in the order in which it begins them.
    """

    def __init__(self, number: int, kind: ChildKind, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        self.kind = kind
        self.pid = 0
        self.runs: dict[int, Running] = {}
        self.ending = False  # it gets no more work; `gone` will come
        self.stopped = False  # ended because an attempt of it had to end
        self.killed = False  # ended because all had to end
        self.end_at = 0.0  # when its end began, by the loop's clock
        self.why = ""  # how it ended, where its status does not say
        self._owner = owner
        self._loop = loop
        self._channel, self._theirs = socket.socketpair()
        self._pipes: dict[int, tuple[int, Stream]] = {}  # our ends: the lane and the stream of each
        self._ends: list[int] = []  # the child's
        self._lanes: list[Running | None] = [None] * (2 if kind == "script" else 1)  # whose the output in them is
        for lane in range(len(self._lanes)):
            for stream in _STREAMS:
                ours, theirs = os.pipe()
                self._pipes[ours] = (lane, stream)
                self._ends.append(theirs)
        self._watched = False
        self._ready = select.poll()
        self._splitter = Splitter()
        self.script: str | None = None  # the last one that it was sent
        self.bounds: Bounds = (None, None)  # that its control group is to have
        self.held = (False, False)  # which of them it has
        self.oom: OomWatch | None = None  # the kernel's kills in its control group
        self._waiting = bytearray()
        self._burst: list[bytes] = []
        self._encode = frames.encode_for_script if kind == "script" else frames.encode
        self._decode = frames.decode_from_script if kind == "script" else frames.decode_from_child
        self._channel.setblocking(False)
        loop.add_reader(self._channel, self._read)
        for fd in self._pipes:
            os.set_blocking(fd, False)
            self._ready.register(fd, select.POLLIN)
        self.watch()

    def fds(self) -> list[int]:
        """Return the child's ends: channel; stdout and stderr of each lane."""
        return [self._theirs.fileno(), *self._ends]

    def handed_over(self) -> None:
        """Close the child's ends here: the child has them."""
        self._theirs.close()
        for end in self._ends:
            os.close(end)

    def send(self, message: frames.ToChild) -> None:
        """Send a message, now or as soon as the child reads.

        The async child gets many at once: what comes in one turn of the loop goes with one call of the kernel.
        """
        data = self._encode(message)
        if self.kind != "async":
            self._push(data)
            return
        if not self._burst:
            self._loop.call_soon(self._send_burst)
        self._burst.append(data)

    def _send_burst(self) -> None:
        data = b"".join(self._burst)
        self._burst.clear()
        if self._channel.fileno() >= 0:
            self._push(data)

    def _push(self, data: bytes) -> None:
        if not self._waiting:
            try:
                sent = self._channel.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:  # it has died: the reader notices, and the keeper tells
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.add_writer(self._channel, self._write)
        self._waiting += data

    def take(self, run: Running) -> int:
        """Take an attempt, after all that it has, and return the lane for its output; there is one free."""
        self.runs[run.number] = run
        run.child = self
        if self.kind == "async":
            return 0
        lane = self._lanes.index(None)
        self._lanes[lane] = run
        return lane

    def forget(self, run: Running) -> bool:
        """Read what is left of an attempt's output, and let go of it; return whether it was there."""
        if self.runs.pop(run.number, None) is None:
            return False
        if run in self._lanes:
            self.drain()
            self._lanes[self._lanes.index(run)] = None
        return True

    def watch(self) -> None:
        """Read output as soon as it comes."""
        if not self._watched:
            self._watched = True
            for fd in self._pipes:
                self._loop.add_reader(fd, self._read_pipe, fd)

    def look_away(self) -> None:
        """Leave output in the pipes until it is drained: most inputs are over before anybody could do with their output."""
        if self._watched:
            self._watched = False
            for fd in self._pipes:
                self._loop.remove_reader(fd)

    def drain(self) -> int:
        """Read what the child has written until now, and return how much it was at most in one pipe."""
        most = 0
        for fd, event in self._ready.poll(0):
            taken = 0
            while event & select.POLLIN and taken < _PIPE and (got := self._take(fd)) > 0:
                taken += got
                if got < _PIECE:
                    break
            most = max(most, taken)
        return most

    def hang_up(self) -> None:
        """Close the channel: a child that waits for work ends."""
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel)
            self._loop.remove_writer(self._channel)
            self._channel.close()

    def close(self) -> None:
        """Close everything; the child is gone, and what it said and wrote is read."""
        self.hang_up()
        self.look_away()
        for fd in self._pipes:
            self._ready.unregister(fd)
            os.close(fd)
        self._pipes = {}

    def hear(self) -> None:
        """Take what the child has said until now."""
        while self._channel.fileno() >= 0 and self._read():
            pass

    def _read(self) -> bool:
        """Take what there is on the channel, and say whether there was something."""
        try:
            data = self._channel.recv(1 << 18)
            messages = [self._decode(body) for body in self._splitter.feed(data)]
        except BlockingIOError:
            return False
        except OSError:  # reset: it died before it had read everything
            data, messages = b"", []
        except (BrokenFrame, ValueError) as wrong:
            _log.warning("channel_broken", pid=self.pid, error=str(wrong))
            data, messages = b"", []
        for message in messages:
            self._owner.heard(self, message)
        if not data and self._channel.fileno() >= 0:
            self.hang_up()
            self._owner.hung_up(self)
        return bool(data)

    def _write(self) -> None:
        try:
            sent = self._channel.send(self._waiting)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._waiting)
        del self._waiting[:sent]
        if not self._waiting:
            self._loop.remove_writer(self._channel)

    def _read_pipe(self, fd: int) -> None:
        if self._take(fd) == 0:
            self._loop.remove_reader(fd)

    def _take(self, fd: int) -> int:
        """Read one piece of output and return its size: 0 at the end of file, -1 when there is none now."""
        lane, stream = self._pipes[fd]
        run = self._lanes[lane]
        try:
            data = os.read(fd, _GULP if run is not None and run.capture.full(stream) else _PIECE)
        except BlockingIOError:
            return -1
        if run is not None:
            run.capture.feed(stream, data)
        elif data:
            _log.info("stray_output", pid=self.pid, stream=stream, text=data.decode("utf-8", "replace").rstrip())
        return len(data)
