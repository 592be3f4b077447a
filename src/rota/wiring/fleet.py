"""The server's own workers: started with it, started again when they die, and dead when it dies, whatever kills it.

Each inherits a descriptor or two. The *lifeline* is a pipe that only the server holds the other end of: when it reads
end-of-file the server is gone, and the worker ends everything at once. The *lock* keeps the embedded store's file owned
until the last of them has ended, so the next server knows that nothing of this one runs any more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from rota.wiring.kept import Kept
from rota.worker.link import clean_environment

BAD_APP = 4  # exit status of a worker whose handlers do not import


class WorkerFailed(Exception):
    """A worker cannot start: its handlers do not import. It has said why on its standard error."""


class Fleet(Kept):
    """`count` workers that take their jobs from `servers`, in turn; `died(name, status)` hears of each that ends by itself."""

    def __init__(
        self,
        count: int,
        servers: Sequence[str],
        arguments: Sequence[str],
        lock_fd: int | None = None,
        *,
        died: Callable[[str, int], None] = lambda _name, _status: None,
    ) -> None:
        super().__init__([f"worker-{at + 1}" for at in range(count)], died)
        self._servers = list(servers)
        self._arguments = list(arguments)
        self._lock_fd = lock_fd
        self._lifeline, self._our_end = os.pipe()  # not inherited, unless passed on by name

    def kill(self) -> None:
        """End all workers, and all that they run, at once."""
        self._stopping.set()
        if self._our_end >= 0:
            os.close(self._our_end)
            os.close(self._lifeline)
            self._our_end = self._lifeline = -1

    def _goes_on(self, name: str, status: int) -> bool:
        if status == BAD_APP:
            raise WorkerFailed(f"{name} cannot import its handlers")
        return True

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        lock = [] if self._lock_fd is None else [self._lock_fd]
        server = self._servers[self.names.index(name) % len(self._servers)]
        command = [
            sys.executable, "-m", "rota", "worker", "--server", server, "--name", name,
            "--lifeline-fd", str(self._lifeline), *(f"--lock-fd={fd}" for fd in lock), *self._arguments,
        ]  # fmt: skip
        fds = (self._lifeline, *lock)
        # A session of its own: Ctrl-C goes to the server alone, which then asks its workers to drain. Until a process has
        # hidden itself its user's other processes can read its environment, jobs among them: so no secrets are in there.
        return subprocess.Popen(  # noqa: S603  # our own interpreter and module
            command,
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=clean_environment(os.environ),
        )
