"""An environment for each peer, made when it is first wanted."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.table import Peer

_FOLDER = Path(sys.prefix) / "peers"
_HERE = Path(__file__).parent


def missing(peer: Peer) -> str | None:
    """Say what this machine lacks for a peer, if anything."""
    if peer.runtime == "node" and not (shutil.which("node") and shutil.which("npm")):
        return "node and npm are not installed"
    return None


def make(peer: Peer) -> None:
    """Install a peer's packages, unless that was done. Raises subprocess.CalledProcessError."""
    made = _folder(peer) / ".made"
    if not peer.requires or made.exists():
        return
    if peer.runtime == "node":
        folder = _folder(peer)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *peer.requires]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    else:
        subprocess.run([_uv(), "venv", "--quiet", "--clear", "--python", sys.executable, _folder(peer)], check=True)
        subprocess.run([_uv(), "pip", "install", "--quiet", "--python", _python(peer), *peer.requires], check=True)
    made.touch()


def words(peer: Peer) -> dict[str, str]:
    """Return what stands in a peer's commands for its interpreter and its code."""
    return {"{python}": _python(peer), "{node}": "node", "{module}": str(_HERE / f"{peer.module}.mjs")}


def client(peer: Peer) -> list[str]:
    """Return the command of a peer's client, to be given what to do."""
    if peer.runtime == "node":
        return ["node", str(_HERE / f"{peer.module}.mjs")]
    return [_python(peer), "-m", "bench.peers.produce", peer.module]


def modules(peer: Peer) -> str:
    """Return the folder of a peer's packages, for Node."""
    return str(_folder(peer))


def _python(peer: Peer) -> str:
    return str(_folder(peer) / "bin" / "python") if peer.requires else sys.executable


def _folder(peer: Peer) -> Path:
    return _FOLDER / re.sub(r"\W+", "-", " ".join(peer.requires)) if peer.requires else _FOLDER


def _uv() -> str:
    return str(Path(sys.executable).parent / "uv")
