"""Reads files of named SQL statements: `-- name: claim_job` above each. Other comments are for people."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\s*$")


@cache
def load(package: str) -> dict[str, str]:
    """Return the statements of all `.sql` files of a package by name, without their ends, so that they can stand in others.

    They are read once a process: nobody changes them. A name that comes twice is a ValueError.
    """
    found: dict[str, str] = {}
    for path in sorted(files(package).iterdir(), key=lambda p: p.name):
        if not path.name.endswith(".sql"):
            continue
        name = ""
        for line in path.read_text("utf-8").splitlines():
            if match := _NAME.match(line):
                name = match.group(1)
                if name in found:
                    raise ValueError(f"{path.name}: statement {name} comes twice")
                found[name] = ""
            elif name and not line.startswith("--"):
                found[name] += line.strip() + "\n"
    return {name: text.strip().rstrip(";") for name, text in found.items()}
