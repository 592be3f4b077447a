"""An environment for each peer, made when it is first wanted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from bench.peers.table import Peer

_FOLDER = Path(sys.prefix) / "peers"


def python(peer: Peer) -> str:
    """Return the interpreter that has a peer's packages: ours for Rota."""
    if not peer.requires:
        return sys.executable
    folder = _FOLDER / re.sub(r"\W+", "-", peer.requires[0])
    interpreter = folder / "bin" / "python"
    made = folder / ".made"
    if not made.exists():
        subprocess.run([_uv(), "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run([_uv(), "pip", "install", "--quiet", "--python", interpreter, *peer.requires], check=True)
        made.touch()
    return str(interpreter)


def _uv() -> str:
    return str(Path(sys.executable).parent / "uv")
