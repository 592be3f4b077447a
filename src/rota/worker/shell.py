"""A shell that stays, and runs the commands of an array's inputs in subshells of its own, one after the other.

To become a shell costs a process several times what it costs a shell to fork: the loader maps and binds the same
libraries for each input anew. A subshell has what `sh -c` would give a command (variables, folder, signals, descriptors,
a file system's view of its own) but for `$$`, `$PPID` and its command line, so commands that ask for those run the plain
way, and so do those that are too long for a pipe. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from shlex import quote

ARGUMENTS = ("sh", "-s")
COMMAND_LINE = b"sh\0-s\0"  # as /proc has it, also that of its subshells

_MOST = 1 << 12  # bytes that any pipe holds, also of a user who has many
_ABOVE = 10  # no descriptor that the shell is to have is as high
_ITS_OWN = ("$$", "{$", "PID")  # `$$`, `$PPID`, `$BASHPID`: another one in a subshell
# The shell itself ends with its input, not with a signal that a command sends to its whole group. What a command has for
# descriptors is what `sh -c` would: the shell's own are closed.
_FIRST = b"trap '' HUP INT QUIT TERM\n"
_ORDER = "(trap - HUP INT QUIT TERM;%seval %s)</dev/null >&%d 2>&%d 3>&- 4>&- 5>&- 6>&-;echo $?\n"
_LANES = ((3, 4), (5, 6))  # stdout and stderr of each, in the shell


class ShellEnded(Exception):
    """The shell has ended without telling how the command did; `status` is its own, as waitpid gives it."""

    def __init__(self, status: int, complaint: str) -> None:
        super().__init__(complaint or "the shell has ended")
        self.status = status


def order(text: str, variables: Mapping[str, str], lane: int) -> bytes | None:
    """Return what a shell is told to run a command with these variables; None when it has to be run the plain way.

    Its output goes to the lane's pair of descriptors.
    """
    if len(text) > _MOST or "\0" in text or any(name in text for name in _ITS_OWN):
        return None
    export = "".join(f"export {name}={quote(value)};" for name, value in variables.items())
    line = os.fsencode(_ORDER % (export, quote(text), *_LANES[lane]))
    return line if len(line) <= _MOST else None


class Shell:
    """A shell with this environment, in this process's folder; `lanes` are the pairs of descriptors for output.

    This process must be a subreaper: what a command leaves behind becomes its child, beside the shell, which `pid` is.
    Raises OSError.
    """

    def __init__(self, path: str, environment: Mapping[bytes, bytes], lanes: Sequence[tuple[int, int]]) -> None:
        self.environment = environment
        theirs, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        self._complaints, complaints = os.pipe()
        os.set_blocking(self._complaints, False)
        wanted = [theirs, answers, complaints, *(fd for lane in lanes for fd in lane)]
        high = [
            fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for fd in wanted
        ]  # none is overwritten before it is used
        try:
            self.pid = os.posix_spawn(
                path,
                ARGUMENTS,
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(high)],
                setpgroup=0,  # `kill 0` in a command means the command
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
        except OSError:
            self.reaped()
            raise
        finally:
            for fd in (*high, theirs, answers, complaints):
                os.close(fd)
        os.write(self._orders, _FIRST)

    def run(self, line: bytes) -> int:
        """Run a command to its end and return its status, as waitpid gives it. Raises ShellEnded; then it is closed."""
        try:
            os.write(self._orders, line)
            answer = os.read(self._answers, 16)
        except BrokenPipeError:
            answer = b""
        if not answer:
            complaint = self._complaint()
            _, status = os.waitpid(self.pid, 0)
            self.reaped()
            raise ShellEnded(status, complaint)
        code = int(answer)
        # A shell says of a subshell that was killed what killed it; of one that has ended with such a code it says nothing.
        return code - 128 if code > 128 and self._complaint() else code << 8

    def close(self) -> None:
        """End the shell, in which nothing runs."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.reaped()

    def reaped(self) -> None:
        """Let go of the shell, which has ended, and was waited for."""
        for fd in (self._orders, self._answers, self._complaints):
            os.close(fd)

    def _complaint(self) -> str:
        try:
            return os.read(self._complaints, _MOST).decode("utf-8", "replace").strip()
        except BlockingIOError:
            return ""
