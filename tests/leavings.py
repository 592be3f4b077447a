"""A folder for all that a run of the tests puts somewhere, which goes when the run ends, however that was.

Processes that are killed on purpose leave files behind, browsers and container engines too. All of it lies in one folder,
the temporary one of every process of the run. A run that was killed itself leaves its folder to the next one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_PREFIX = "rota-tests-"
_LOCK = "lock"  # held while the run goes on
_PATIENCE_S = 60.0


def make_folder() -> Path:
    """Make the folder of a run, for everybody as /tmp is, and remove those of runs that are over."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if _is_over(left):
            remove(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(folder / "taken", os.O_CREAT | os.O_RDWR, 0o600)  # until this process ends
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "taken").rename(folder / _LOCK)
    folder.chmod(0o1777)
    return folder


def _is_over(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except OSError:  # one that is being made, or removed; or somebody else's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def remove(folder: Path) -> None:
    """Remove a folder and what is mounted in it, while processes that are about to end may still write there.

    Raises AssertionError if something is left.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while folder.exists():
        assert time.monotonic() < deadline, f"{folder} cannot be removed: {[str(one) for one in folder.rglob('*')][:5]}"
        unmount(folder)
        with suppress(OSError):
            shutil.rmtree(folder)
            break
        time.sleep(0.05)  # between two looks at what others are still writing


def unmount(folder: Path) -> None:
    """Unmount what is mounted below a folder, the last first."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", place], check=False)
