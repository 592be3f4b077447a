"""The first steps of a child of the keeper. Standard library only."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from rota.worker import proctree

# Those that a program expects at their defaults; Python ignores SIGPIPE and SIGXFSZ, and programs get them back at exec.
PLAIN_SIGNALS = [s for s in range(1, 32) if s not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ)]


def close_all_but(kept: list[int]) -> None:
    """Close what a fork has inherited, but for the standard streams and `kept`."""
    for name in os.listdir("/proc/self/fd"):
        if (fd := int(name)) > 2 and fd not in kept:
            with suppress(OSError):  # the one that listed the folder
                os.close(fd)


def become_child(keeper: int, fds: list[int]) -> None:
    """Make this freshly forked process a child of the keeper's: own session, own descendants, own standard streams.

    `fds` are the channel and the pipes for stdout and stderr; the channel stays where it is, above 2. Other processes of
    its user may read it, as they may any program of theirs: also what its own handlers ask /proc about themselves needs it.
    """
    os.setsid()  # waits until the kernel is done with the old parent, whose end must not be taken for the keeper's
    proctree.die_with(keeper)
    proctree.become_subreaper()
    proctree.set_readable(True)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("500")  # when memory runs out, a job goes before what guards it
    signal.set_wakeup_fd(-1)
    for number in PLAIN_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in zip((null, fds[1], fds[2]), (0, 1, 2), strict=True):
        os.dup2(source, target)
        os.close(source)
