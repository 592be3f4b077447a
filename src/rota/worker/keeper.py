"""The keeper: parent of all that runs jobs, and the one that ends it. Small, one thread, standard library only.

It is the subreaper of everything below it, so whatever the jobs start stays below it: a process that is below the
keeper, and not in the tree of a child that it knows, is the orphan of a child that has died, and is killed at sight.
When its control socket reads end-of-file the worker is gone: it kills everything, looks until nobody is left, and ends.

Orders from the supervisor (JSON datagrams; descriptors ride along):
    zygote {apps, ...} + report              start the zygote
    fork   {id, kind}  + channel, out, err   a child from the zygote (kinds `process` and `async`)
    script {id}        + channel, two pairs of out, err   a script child, forked from here
    end    {id, grace}                       end a child and all below it
    sweep  {id, ref, mark, grace}            end what is below a child, or only what carries a mark; not the child
    kill_all                                 end all children now
    confine {id, ref, memory, processes}     have a script child in a control group with these limits
    container {engine, name}                 remove this container when the worker is gone, or its lease over
    container_gone {name}                    forget it
    lease  {until}                           end all at that time of CLOCK_BOOTTIME: the worker may be stopped by then
Answers: started {id, pid} · gone {id, status, proof} · swept {ref, proof, others} · confined {ref, ...} · zygote_gone {status}.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rota.worker import confine, identity, proctree, reaper, shell
from rota.worker.birth import PLAIN_SIGNALS, become_child, close_all_but
from rota.worker.child_script import ScriptChild, discard
from rota.worker.confine import Base, Groups
from rota.worker.framing import receive_with_fds
from rota.worker.ladder import Ladder

_WATCH_S = 0.01


class Keeper:
    """Keeps the children of one worker. `folder` holds the working folders of scripts; `manner` says how these run."""

    def __init__(
        self, control: socket.socket, folder: str, manner: dict[str, Any], bases: dict[str, Base], alarm: int
    ) -> None:
        self._control = control
        self._folder = folder
        self._manner = manner
        self._user: dict[str, Any] | None = manner["user"]
        self._groups = Groups(bases)
        self._alarm = alarm  # reads when SIGCHLD came
        self._pid = os.getpid()
        self._pids: dict[int, int] = {}  # of the children that live, by their ids
        self._ids: dict[int, int] = {}  # the other way round
        self._status: dict[int, int] = {}  # of those that have died, while their ladder goes on
        self._ladders: dict[int, Ladder] = {}  # the ends of whole children, by id
        self._sweeps: list[Ladder] = []
        self._zygote: tuple[int, socket.socket] | None = None
        self._cleaners: set[int] = set()
        self._scripts: set[int] = set()  # children that run scripts
        self._answers: deque[bytes] = deque()
        self._leased_until: float | None = None
        self._containers: dict[str, str] = {}  # their engines, by their names
        self._poll = select.poll()
        self._poll.register(alarm, select.POLLIN)
        self._poll.register(control, select.POLLIN)

    def run(self) -> None:
        """Keep until the worker is gone, then leave nothing behind."""
        try:
            while self._serve():
                pass
        finally:  # a keeper that fails takes all along too
            self._end_everything()

    def _serve(self) -> bool:
        """Wait for something to do and do it; False when the worker is gone."""
        self._poll.modify(self._control, select.POLLIN | (select.POLLOUT if self._answers else 0))
        self._poll.poll(self._pause_ms())
        self._hear_zygote()
        self._reap()
        if not self._obey():
            return False
        self._mind_lease()
        self._climb()
        self._send_answers()
        return True

    def _pause_ms(self) -> float | None:
        pauses = [ladder.due - time.monotonic() for ladder in (*self._ladders.values(), *self._sweeps)]
        if self._leased_until is not None:
            pauses.append(self._leased_until - time.clock_gettime(time.CLOCK_BOOTTIME))
        return max(0.0, min(pauses) * 1000) if pauses else None

    # --- what comes in

    def _obey(self) -> bool:
        while True:
            try:
                message, fds = receive_with_fds(self._control, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            if not message:
                return False
            order = json.loads(message)
            try:
                self._handle(order, fds)
            finally:
                for fd in fds:
                    os.close(fd)

    def _handle(self, order: dict[str, Any], fds: list[int]) -> None:
        now = time.monotonic()
        match order["do"]:
            case "zygote":
                self._start_zygote(order, fds)
            case "fork":
                self._ask_zygote(order, fds)
            case "script":
                self._fork_script(order["id"], fds)
            case "end" if order["id"] in self._pids:
                self._end(order["id"], order["grace"], now)
            case "sweep":
                self._sweep(order, now)
            case "kill_all":
                self._kill_all(now)
            case "confine":
                self._confine(order)
            case "container":
                self._containers[order["name"]] = order["engine"]
            case "container_gone":
                self._containers.pop(order["name"], None)
            case "lease":
                self._leased_until = order["until"]

    def _kill_all(self, now: float) -> None:
        for child in list(self._pids):
            self._end(child, 0.0, now)

    def _mind_lease(self) -> None:
        """Kill all when the lease may be over: the worker, which ought to have done it, has stopped or hangs."""
        if self._leased_until is not None and time.clock_gettime(time.CLOCK_BOOTTIME) >= self._leased_until:
            self._leased_until = None
            self._kill_all(time.monotonic())
            self._remove_containers()

    def _remove_containers(self) -> None:
        """Have them removed by a child: an engine may take its time."""
        if not self._containers:
            return
        if pid := os.fork():
            self._cleaners.add(pid)
            return
        try:
            self._control.close()
            reaper.remove_all([(engine, name) for name, engine in self._containers.items()])
        finally:
            os._exit(0)

    def _hear_zygote(self) -> None:
        if self._zygote is None:
            return
        with suppress(OSError):
            while message := self._zygote[1].recv(1 << 12, socket.MSG_DONTWAIT):
                born = json.loads(message)
                self._register(born["id"], born["pid"])

    def _reap(self) -> None:
        try:
            os.read(self._alarm, 512)
        except BlockingIOError:
            return
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self._cleaners.discard(pid)
                if pid in self._ids:
                    self._bury(pid, status)
                elif self._zygote is not None and pid == self._zygote[0]:
                    self._lose_zygote(status)
        now = time.monotonic()
        for ladder in self._ladders.values():
            ladder.due = now  # whoever has died may have been the last one

    def _bury(self, pid: int, status: int) -> None:
        child = self._ids.pop(pid)
        del self._pids[child]
        self._status[child] = status
        now = time.monotonic()
        if child not in self._ladders:
            self._end(child, 0.0, now)
        self._ladders[child].hurry(now)  # what held the tree together is gone: the rest are orphans

    # --- children

    def _start_zygote(self, order: dict[str, Any], fds: list[int]) -> None:
        if self._zygote is not None:
            proctree.send([self._zygote[0]], signal.SIGKILL)
            self._zygote[1].close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            setup = {**order, "user": self._user, "orders": theirs.fileno(), "report": fds[0], "keeper": self._pid}
            os.set_inheritable(theirs.fileno(), True)
            os.set_inheritable(fds[0], True)
            command = [sys.executable, "-m", "rota.worker.zygote", json.dumps(setup)]
            pid = os.posix_spawn(sys.executable, command, os.environ, setsigdef=PLAIN_SIGNALS)
        self._zygote = (pid, ours)
        self._poll.register(ours, select.POLLIN)

    def _ask_zygote(self, order: dict[str, Any], fds: list[int]) -> None:
        with suppress(OSError):  # a zygote that has died: `zygote_gone` says so
            if self._zygote is not None:
                socket.send_fds(self._zygote[1], [json.dumps(order).encode()], fds)

    def _lose_zygote(self, status: int) -> None:
        assert self._zygote is not None, "it was the one that died"
        self._poll.unregister(self._zygote[1])
        self._zygote[1].close()
        self._zygote = None
        self._sweeps.append(Ladder(self._orphans, 0.0, time.monotonic(), lambda _proof: None))
        self._answer("zygote_gone", status=status)

    def _fork_script(self, child: int, fds: list[int]) -> None:
        folder = os.path.join(self._folder, str(child))
        pid = os.fork()
        if pid:
            self._scripts.add(child)
            self._register(child, pid)
            return
        try:
            become_child(self._pid, fds)
            close_all_but([fds[0], *fds[3:]])
            if self._user is not None:
                identity.become(self._user)
                proctree.die_with(self._pid)
            proctree.set_readable(False)
            channel = socket.socket(fileno=fds[0])
            ScriptChild(channel, folder, (fds[3], fds[4]), inherit=self._manner["inherit"]).serve()
        except BaseException:  # whatever it is: this process must not go back into the keeper's loop
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)

    def _confine(self, order: dict[str, Any]) -> None:
        child = order["id"]
        held = self._groups.put(child, self._pids.get(child, 0), memory=order["memory"], processes=order["processes"])
        self._answer("confined", ref=order["ref"], **held)

    def _register(self, child: int, pid: int) -> None:
        self._pids[child] = pid
        self._ids[pid] = child
        self._answer("started", id=child, pid=pid)

    # --- ends

    def _end(self, child: int, grace_s: float, now: float) -> None:
        if (ladder := self._ladders.get(child)) is not None:
            if grace_s <= 0:
                ladder.hurry(now)
            return

        def told(proof: dict[str, Any]) -> None:
            del self._ladders[child]
            self._scripts.discard(child)
            self._groups.remove(child)
            self._answer("gone", id=child, status=self._status.pop(child, None), proof=proof)
            self._discard(os.path.join(self._folder, str(child)))

        def is_stray(
            pid: int,
        ) -> bool:  # adopted, as a script child starts nothing but shells; or a new subshell of its shell
            if child not in self._scripts:
                return False
            parent, root = proctree.parent(pid), self._pids.get(child)
            return root in (parent, proctree.parent(parent) if proctree.program(parent) == shell.COMMAND_LINE else None)

        self._ladders[child] = Ladder(lambda: self._tree(child), grace_s, now, told, is_stray=is_stray)

    def _sweep(self, order: dict[str, Any], now: float) -> None:
        child, mark = order["id"], order["mark"]

        def told(proof: dict[str, Any]) -> None:
            others = [] if mark is None else list(self._marks(child).items())
            self._answer("swept", ref=order["ref"], proof=proof, others=others)

        if mark is None:
            look: Callable[[], list[int]] = lambda: self._below(child)  # noqa: E731
        else:
            look = lambda: [pid for pid, whose in self._marks(child).items() if whose == mark]  # noqa: E731
        self._sweeps.append(Ladder(look, order["grace"], now, told, watch_s=_WATCH_S))

    def _tree(self, child: int) -> list[int]:
        """Return a child and all below it; once it has died, the orphans."""
        pid = self._pids.get(child)
        return self._orphans() if pid is None else [pid, *proctree.descendants([pid])]

    def _below(self, child: int) -> list[int]:
        pid = self._pids.get(child)
        return [] if pid is None else proctree.descendants([pid])

    def _marks(self, child: int) -> dict[int, str | None]:
        pid = self._pids.get(child)
        return {} if pid is None else proctree.marks(pid)

    def _orphans(self) -> list[int]:
        return proctree.descendants([self._pid], spared=self._is_known)

    def _is_known(self, pid: int) -> bool:
        """Say whether a process below the keeper is a child, the zygote or a cleaner; asked after it was seen."""
        if pid not in self._ids:
            self._hear_zygote()  # whoever is a child by now was announced before
        return pid in self._ids or pid in self._cleaners or (self._zygote is not None and pid == self._zygote[0])

    def _climb(self) -> None:
        now = time.monotonic()
        for ladder in list(self._ladders.values()):
            if ladder.due <= now:
                ladder.step(now, time.monotonic)
        self._sweeps = [s for s in self._sweeps if s.due > now or not s.step(now, time.monotonic)]

    def _end_everything(self) -> None:
        """Kill all, whoever it is, until nobody is left; then remove the folders of scripts."""
        self._ids.clear()
        self._pids.clear()
        if self._zygote is not None:
            self._zygote[1].close()
            self._zygote = None
        self._remove_containers()
        over = False
        ladder = Ladder(self._orphans, 0.0, time.monotonic(), lambda _proof: None)
        while not over:
            over = ladder.step(time.monotonic(), time.monotonic)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(0.0005)
        self._groups.close()
        discard(self._folder, self._user)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    def _discard(self, folder: str) -> None:
        if os.path.isdir(folder):
            self._cleaners.add(discard(folder, self._user))

    # --- answers

    def _answer(self, say: str, **fields: Any) -> None:
        self._answers.append(json.dumps({"say": say, **fields}).encode())

    def _send_answers(self) -> None:
        try:
            while self._answers:
                self._control.send(self._answers[0], socket.MSG_DONTWAIT)
                self._answers.popleft()
        except BlockingIOError:
            pass
        except ConnectionError:  # the worker has just died: the next look for orders says so, and there is all to end
            self._answers.clear()


def main() -> None:
    """Keep, as the program that the supervisor starts: `keeper FD FOLDER MANNER KEEP_FDS...`."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    for fd in map(int, sys.argv[4:]):
        os.set_inheritable(fd, False)
    os.setsid()
    proctree.become_subreaper()
    proctree.set_readable(False)
    bases = confine.find_bases()
    confine.sweep(bases)
    alarm, ring = os.pipe()
    os.set_blocking(alarm, False)
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the worker decides when all ends
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()
    Keeper(control, sys.argv[2], json.loads(sys.argv[3]), bases, alarm).run()


if __name__ == "__main__":
    main()
