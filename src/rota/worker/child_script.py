"""A child that runs scripts under bash, and commands under sh, one at a time.

Forked from the keeper: no user code, standard library only.

Each has a clean environment and a working folder of its own, which is gone afterwards; when this process is killed, the
keeper removes it. The inputs of an array come by the thousand: what an input has left as it was is used for the next one,
whose order is here already when one is over, and commands share a shell (see `shell`). An order that waits is begun only
after all that has come was read: it may have been recalled.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from rota.worker import identity, proctree, shell
from rota.worker.framing import Splitter, frame
from rota.worker.shell import Shell, ShellEnded

_OWN = ("ROTA_JOB_ID", "ROTA_ATTEMPT", "ROTA_OWNER", "ROTA_INDEX", "ROTA_DEADLINE")
_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PIPE = 1 << 12  # bytes that any pipe holds, also of a user who has many
_SWEPT, _SCRIPT, _EXITED, _RECALL, _DROPPED = 3, 4, 9, 10, 11  # tags in rota.worker.frames
_READ = 1 << 16
_IDLE_S = 1.0  # so long does a shell wait for the next input
_DEFAULT_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}  # all: asking for each costs more


class _Leave(BaseException):
    """Told to end while waiting for work."""


class ScriptChild:
    """Runs what the supervisor sends over `channel`, until it closes it; `folder` is this child's alone.

    Output goes to this process's stdout and stderr, or to the pair `second`: the order says where.
    With `inherit` scripts have this process's environment and working folder, instead of a clean one and one of their own.
    """

    def __init__(self, channel: socket.socket, folder: str, second: tuple[int, int], *, inherit: bool = False) -> None:
        self._channel = channel
        self._folder = folder
        self._work = None if inherit else os.path.join(folder, "work")
        self._bash = find_bash()
        passed = [name for name in os.environ if (inherit or name in _PASSED) and name not in _OWN]
        self._base = {name: os.environ[name] for name in passed}
        self._base.setdefault("PATH", _PATH)
        self._second = [(os.POSIX_SPAWN_DUP2, second[0], 1), (os.POSIX_SPAWN_DUP2, second[1], 2)]
        self._lanes = ((1, 2), second)
        self._shell: Shell | None = None
        self._splitter = Splitter()
        self._orders: deque[list[Any]] = deque()  # that wait for their turn
        self._is_unswept = False  # something of the last one is left
        self._environment: dict[bytes, bytes] = {}  # without what is an attempt's own
        self._env: dict[str, str] | None = None  # the job's part of that
        self._own: dict[str, str] = {}
        self._text = ""
        self._script_as_made: tuple[int, ...] | None = None
        self._folder_as_made: tuple[int, ...] | None = None
        self._is_ready = False
        self._waiting = False
        self._told_to_end = False

    def serve(self) -> NoReturn:
        """Run scripts until the end of this process."""
        signal.signal(signal.SIGTERM, self._on_term)
        try:
            self._serve()
        except _Leave:
            self._close_shell()
            with suppress(ChildProcessError):
                while True:  # as long as it lives, it holds its descendants together
                    os.waitpid(-1, 0)
        self._clean()
        self._close_shell()
        os._exit(0)

    def _serve(self) -> None:
        while self._hear():
            if self._orders and not self._is_unswept:
                self._attempt(self._orders.popleft())

    def _hear(self) -> bool:
        """Take what has come, and wait for it where there is nothing to do; False when the supervisor has hung up."""
        may_go_on = bool(self._orders) and not self._is_unswept
        data = b""
        self._waiting = True
        if self._told_to_end:
            raise _Leave
        try:
            if self._shell is not None and not may_go_on and not select.select([self._channel], [], [], _IDLE_S)[0]:
                self._close_shell()
            data = self._channel.recv(_READ, socket.MSG_DONTWAIT if may_go_on else 0)
        except BlockingIOError:
            return True
        finally:
            self._waiting = False
        for body in self._splitter.feed(data):
            self._take(*json.loads(body))
        return bool(data)

    def _take(self, tag: int, *fields: Any) -> None:
        if tag == _SCRIPT:
            self._orders.append(list(fields))
        elif tag == _RECALL:
            self._recall(*fields)
        elif tag == _SWEPT:
            _any_children()
            self._clean()
            self._is_unswept = False

    def _recall(self, run: int) -> None:
        for order in self._orders:
            if order[0] == run:
                self._orders.remove(order)
                self._say(_DROPPED, run)
                return

    def _say(self, *message: Any) -> None:
        self._channel.sendall(frame(json.dumps(message).encode("utf-8")))

    def _attempt(self, fields: list[Any]) -> None:
        """Run a script or a command; `fields` are those of frames.RunScript."""
        run, job, attempt, owner, text, command, timeout_s, stdin, index, argument, env, ulimits, cpu, lane = fields
        used_s = _used_s() if cpu else 0.0
        status, wrong = 0, None
        try:
            self._ready(env)
            self._own_variables(job, attempt, owner, index, timeout_s)
            plain = not command or index is None or bool(ulimits) or cpu or not proctree.HAS_LISTS
            if not plain and (line := shell.order(text, self._own, lane)) is not None:
                status = self._run_in_shell(line)
            else:
                arguments = ["sh", "-c", ulimits + text] if command else self._bash_arguments(text, argument, ulimits)
                status = self._run(arguments, stdin, self._second if lane else [])
        except (OSError, ValueError) as error:  # also an argument that is too long, or a variable with a NUL
            wrong = f"it could not be started: {getattr(error, 'strerror', None) or error}"
        self._is_unswept = self._any_left()
        if not self._is_unswept:
            self._tidy(keep=index is not None)
        used = round(_used_s() - used_s, 6) if cpu else None
        self._say(_EXITED, run, status, self._told_to_end, self._is_unswept, wrong, used)

    def _ready(self, env: dict[str, str]) -> None:
        """Make folder and environment ready; those of the last attempt still are, where nothing has changed."""
        if self._work is not None and not self._is_ready:
            os.makedirs(self._work, mode=0o700, exist_ok=True)
            os.utime(self._work, ns=(0, 0))  # whatever is put into it, or taken out, changes that
            self._folder_as_made = _state(self._work)
            os.chdir(self._work)
            self._is_ready = True
        if env != self._env:
            self._env = env
            self._close_shell()
            self._environment = {os.fsencode(k): os.fsencode(v) for k, v in {**self._base, **env}.items()}

    def _own_variables(self, job: str, attempt: int, owner: str, index: int | None, timeout_s: float | None) -> None:
        self._own = {"ROTA_JOB_ID": job, "ROTA_ATTEMPT": str(attempt), "ROTA_OWNER": owner}
        if self._work is not None:
            self._own["TMPDIR"] = self._work
        if index is not None:
            self._own["ROTA_INDEX"] = str(index)
        if timeout_s is not None:
            self._own["ROTA_DEADLINE"] = _rfc3339(time.time() + timeout_s)

    def _bash_arguments(self, text: str | None, argument: str | None, ulimits: str) -> list[str]:
        arguments = ["bash", self._written(text), *([] if argument is None else [argument])]
        if ulimits:
            return ["sh", "-c", f'{ulimits}exec "$0" "$@"', self._bash, *arguments[1:]]
        return arguments

    def _written(self, text: str | None) -> str:
        """Return the file of the script, written anew unless it is the last one's and nobody has touched it."""
        path = os.path.join(self._folder, "script")
        if text is not None:
            self._text = text
        if text is not None or self._script_as_made is None or self._script_as_made != _state(path):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):
                os.unlink(path)
            _write(path, self._text)
            self._script_as_made = _state(path)
        return path

    def _run_in_shell(self, line: bytes) -> int:
        if self._must_end():
            return signal.SIGTERM
        if self._shell is None:
            self._shell = Shell("/bin/sh", self._environment, self._lanes)
        try:
            return self._shell.run(line)
        except ShellEnded as ended:
            self._shell = None
            if os.WIFSIGNALED(ended.status):
                return ended.status
            raise OSError(0, str(ended)) from None

    def _close_shell(self) -> None:
        if self._shell is not None:
            self._shell.close()
            self._shell = None

    def _any_left(self) -> bool:
        """Reap what is dead and say whether anything but the shell is left below this process; if so, not even that is."""
        kept = self._shell
        if kept is None:
            return _any_children()
        with suppress(ChildProcessError):
            while ended := os.waitpid(-1, os.WNOHANG)[0]:
                if ended == kept.pid:
                    kept.reaped()
                    self._shell = None
                    return _any_children()
        if proctree.children(os.getpid()) == [kept.pid]:
            return False
        self._close_shell()
        return _any_children()

    def _run(self, arguments: list[str], stdin: str | None, outputs: list[tuple[int, int, int]]) -> int:
        if self._must_end():
            return signal.SIGTERM
        if stdin is None:  # it is /dev/null, as this process's is
            pid = self._spawn(arguments, outputs)
        else:
            source = self._source(stdin.encode("utf-8", "surrogatepass"))
            try:
                pid = self._spawn(arguments, [(os.POSIX_SPAWN_DUP2, source, 0), *outputs])
            finally:
                os.close(source)
        if self._must_end():  # while it was being started: the keeper's signal may have missed it
            os.kill(pid, signal.SIGTERM)
        while True:
            ended, status = os.waitpid(-1, 0)
            if ended == pid:
                return status

    def _spawn(self, arguments: list[str], actions: list[tuple[int, int, int]]) -> int:
        return os.posix_spawn(
            self._bash if arguments[0] == "bash" else "/bin/sh",
            arguments,
            {**self._environment, **{os.fsencode(name): os.fsencode(value) for name, value in self._own.items()}},
            file_actions=actions,
            setpgroup=0,  # `kill 0` in a script means the script
            setsigdef=_DEFAULT_SIGNALS,
        )

    def _source(self, data: bytes) -> int:
        """Return a descriptor from which data can be read: a pipe that holds it all, or a file."""
        if len(data) <= _PIPE:
            source, sink = os.pipe()
            os.write(sink, data)
            os.close(sink)
            return source
        path = os.path.join(self._folder, "data")
        with open(path, "wb") as file:
            file.write(data)
        return os.open(path, os.O_RDONLY)

    def _tidy(self, *, keep: bool) -> None:
        """Remove what an attempt has left; `keep` what is as it was made, for the next input."""
        if not keep or (self._work is not None and _state(self._work) != self._folder_as_made):
            self._clean()

    def _clean(self) -> None:
        """Remove what the last script had; where it left nothing behind, without starting a process."""
        self._is_ready = False
        self._script_as_made = None
        if self._work is not None:
            self._close_shell()  # it is there
            os.chdir("/")
        try:
            for name in ("script", "data"):
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._folder, name))
            with suppress(FileNotFoundError):
                os.rmdir(os.path.join(self._folder, "work"))
        except OSError:
            with suppress(ChildProcessError):
                os.waitpid(discard(self._folder), 0)

    def _must_end(self) -> bool:
        return self._told_to_end

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self._told_to_end = True
        if self._waiting:
            self._waiting = False
            raise _Leave


def find_bash() -> str:
    """Return where bash is."""
    for folder in os.environ.get("PATH", _PATH).split(":"):
        path = os.path.join(folder, "bash")
        if folder and os.access(path, os.X_OK):
            return path
    return "/bin/bash"


def _state(path: str) -> tuple[int, ...] | None:
    """Return what changes with a file or folder; None when it is gone."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_mode, found.st_size


def _used_s() -> float:
    """Return the processor time of all that this process has started and reaped."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _any_children() -> bool:
    """Reap what is dead and say whether anything below this process is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _write(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)
    return path


def discard(folder: str, user: Mapping[str, Any] | None = None) -> int:
    """Start to remove a folder, and what its owner locked in it, as that user; return the pid of the process that does it."""
    remove = 'rm -rf -- "$1" 2>&- || { chmod -R u+rwx -- "$1"; rm -rf -- "$1"; }'
    arguments = ["sh", "-c", remove, "sh", folder]
    if user is None:
        null = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
        return os.posix_spawn("/bin/sh", arguments, {"PATH": _PATH}, file_actions=[null])
    if pid := os.fork():
        return pid
    try:  # root does not go where somebody else may have put links
        identity.become(user)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.execve("/bin/sh", arguments, {"PATH": _PATH})  # noqa: S606  # our own text
    finally:
        os._exit(1)


def _rfc3339(at: float) -> str:
    seconds, fraction = divmod(at, 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(fraction * 1e6):06d}Z"
