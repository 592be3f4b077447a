"""A child that runs scripts under bash, one at a time. Forked from the keeper: no user code, standard library only.

Each script has a clean environment and a working folder of its own, which is gone afterwards; when this process is
killed, the keeper removes it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from rota.worker.framing import Splitter, frame

_PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SCRIPT, _SWEPT, _EXITED = 4, 3, 9  # tags in rota.worker.frames
_DEFAULT_SIGNALS = [s for s in range(1, 32) if s not in (signal.SIGKILL, signal.SIGSTOP)]


class _Leave(BaseException):
    """Told to end while waiting for work."""


class ScriptChild:
    """Runs what the supervisor sends over `channel`, until it closes it; `folder` is this child's alone."""

    def __init__(self, channel: socket.socket, folder: str) -> None:
        self._channel = channel
        self._folder = folder
        self._bash = find_bash()
        self._environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        self._environment.setdefault("PATH", _PATH)
        self._waiting = False
        self._told_to_end = False

    def serve(self) -> NoReturn:
        """Run scripts until the end of this process."""
        signal.signal(signal.SIGTERM, self._on_term)
        try:
            self._serve()
        except _Leave:
            with suppress(ChildProcessError):
                while True:  # as long as it lives, it holds its descendants together
                    os.waitpid(-1, 0)
            self._clean()
        os._exit(0)

    def _serve(self) -> None:
        splitter = Splitter()
        while data := self._receive():
            for body in splitter.feed(data):
                tag, *fields = json.loads(body)
                if tag == _SCRIPT:
                    self._attempt(fields)
                elif tag == _SWEPT:
                    _any_children()
                    self._clean()
                if self._told_to_end:
                    raise _Leave
        self._clean()

    def _receive(self) -> bytes:
        self._waiting = True
        if self._told_to_end:
            raise _Leave
        data = self._channel.recv(1 << 18)
        self._waiting = False
        return data

    def _attempt(self, fields: list[Any]) -> None:
        """Run a script; `fields` are those of frames.RunScript."""
        run, job, attempt, script, data, owner, timeout_s = fields
        work = os.path.join(self._folder, "work")
        os.makedirs(work, mode=0o700)
        text = _write(os.path.join(self._folder, "script"), script)
        stdin = os.devnull if data is None else _write(os.path.join(self._folder, "data"), data)
        environment = self._environment | {
            "TMPDIR": work,
            "ROTA_JOB_ID": job,
            "ROTA_ATTEMPT": str(attempt),
            "ROTA_OWNER": owner,
        }
        if timeout_s is not None:
            environment["ROTA_DEADLINE"] = _rfc3339(time.time() + timeout_s)
        status = self._run(text, stdin, work, environment)
        left = _any_children()
        if not left:
            self._clean()
        self._channel.sendall(frame(json.dumps([_EXITED, run, status, self._told_to_end, left]).encode()))

    def _run(self, script: str, stdin: str, work: str, environment: Mapping[str, str]) -> int:
        os.chdir(work)
        if self._must_end():
            return signal.SIGTERM
        pid = os.posix_spawn(
            self._bash,
            ["bash", script],
            environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0)],
            setpgroup=0,  # `kill 0` in a script means the script
            setsigdef=_DEFAULT_SIGNALS,
        )
        os.chdir("/")
        if self._must_end():  # while bash was being started: the keeper's signal may have missed it
            os.kill(pid, signal.SIGTERM)
        while True:
            ended, status = os.waitpid(-1, 0)
            if ended == pid:
                return status

    def _clean(self) -> None:
        """Remove what the last script had; where it left nothing behind, without starting a process."""
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


def discard(folder: str) -> int:
    """Start to remove a folder, and what its owner locked in it, and return the pid of the process that does it."""
    remove = 'rm -rf -- "$1" 2>&- || { chmod -R u+rwx -- "$1"; rm -rf -- "$1"; }'
    null = (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)
    return os.posix_spawn("/bin/sh", ["sh", "-c", remove, "sh", folder], {"PATH": _PATH}, file_actions=[null])


def _rfc3339(at: float) -> str:
    seconds, fraction = divmod(at, 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(fraction * 1e6):06d}Z"
