"""Wall clocks that can be set, a process each: `clock.c` is preloaded into it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def build(folder: Path) -> Path:
    """Compile the library."""
    library = folder / "clock.so"
    command = [compiler() or "cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return library


class Clock:
    """How far the wall clock of a node is ahead; its processes see a change at once."""

    def __init__(self, library: Path, path: Path) -> None:
        self._library = library
        self._path = path
        self.set(0.0)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "ROTA_CHAOS_CLOCK": str(self._path)}

    def set(self, ahead_s: float) -> None:
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.write(struct.pack("=q", round(ahead_s * 1e9)))
