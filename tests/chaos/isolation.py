"""A run inside namespaces of its own for processes, mounts and the network: the kernel ends them all when the run ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from tests import postgres
from tests.chaos import clock

_MARK = "ROTA_CHAOS_INSIDE"
_NEW = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
_AS_ROOT = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
# The first process of a namespace is given its orphans, and has to wait for them: a shell does. /run is ours to write to.
_FIRST = ["sh", "-c", 'mount -t tmpfs -o mode=755 tmpfs /run && "$@"; exit $?', "sh"]
_ENTER = [*_NEW, *_AS_ROOT, *_FIRST]


def missing() -> str | None:
    """Say what this machine lacks, if anything."""
    if postgres.found() is None:
        return "PostgreSQL (Debian: postgresql)"
    for program, package in (("ip", "iproute2"), ("iptables", "iptables"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            return f"{program} (Debian: {package})"
    if clock.compiler() is None:
        return "a C compiler (Debian: gcc, libc6-dev)"
    tried = subprocess.run([*_ENTER, "true"], capture_output=True, text=True, timeout=60)
    return None if tried.returncode == 0 else f"namespaces: {tried.stderr.strip()}"


def is_inside() -> bool:
    return _MARK in os.environ


def enter(arguments: Sequence[str]) -> NoReturn:
    """Become that command."""
    os.execvp(_ENTER[0], command(arguments))


def command(arguments: Sequence[str]) -> list[str]:
    """Return the command that runs `python -m tests.chaos` inside."""
    return [*_ENTER, "env", f"{_MARK}=1", sys.executable, "-X", "faulthandler", "-m", "tests.chaos", *arguments]
