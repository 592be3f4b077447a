"""What the tour submits: a job for each package, and some that each show one thing."""

from __future__ import annotations

import sysconfig
from typing import Any

from msgspec import Struct

from examples.sources import Package

# Counts on the machine's own files, and ends by itself within a second.
_SCRIPT = """\
echo "What the standard library imports most:"
grep -rhoE --include='*.py' --exclude-dir='*-packages' '^import [a-z_]+' {{folder}} | sort | uniq -c | sort -rn | head -5
"""
_WORDS = 'wc -w < "$1"\n'  # runs once for each file, which is its first argument
VISITORS = "visitors"  # the queue of the second array: that of the workers that come and go
_FIRST = 1000  # the priority of those that take time but little work


class Planned(Struct, frozen=True):
    """A job of the tour: what it is called on the screen, and the arguments of its submission."""

    title: str
    item: dict[str, Any]

    @property
    def ref(self) -> str:
        """Return the name by which others of the plan wait for it."""
        return str(self.item["ref"])


def plan(packages: list[Package], server: str, folder: str, run: str, measured: int | None = None) -> list[Planned]:
    """Return the jobs, which carry the label `tour=<run>`. The largest packages go first, so that none is late.

    `measured` is how many of them are measured, the smallest; all if it is None.
    """
    measuring = [
        Planned(
            package.name,
            {
                "ref": f"package-{at}",
                "handler": "measure_package",
                "data": {"package": package.name, "folder": package.folder, "files": package.files},
                "priority": package.size // 100_000,
            },
        )
        for at, package in enumerate(packages[-measured:] if measured else packages)
    ]
    report = {
        "ref": "report",
        "handler": "write_report",
        "data": {"server": server, "folder": folder},
        "after": [planned.ref for planned in measuring],
    }
    others = [
        Planned("an hour's run, aborted", {"ref": "hour", "handler": "long_haul", "data": {"seconds": 3600}}),
        Planned("a bash script", {"ref": "script", "script": _SCRIPT, "variables": {"folder": _library()}}),
        Planned(
            "fails twice, then succeeds",
            {"ref": "unsteady", "handler": "unsteady", "data": {"failures": 2}, "backoff": {"base": 1.0}},
        ),
        Planned(
            "delayed by 10 s", {"ref": "delayed", "handler": "remind", "data": "ten seconds have passed", "delay": 10}
        ),
        Planned("the report, after all packages", report),
    ]
    for planned in others:
        planned.item["priority"] = _FIRST
    files = [f"{package.folder}/{file}" for package in packages for file in package.files]
    arrays = [
        Planned("a script over all files", {"ref": "array", "script": _WORDS, "inputs": files}),
        Planned(
            "the same; workers come and go",
            {"ref": "visited", "script": _WORDS, "inputs": files, "queue": VISITORS, "after": ["array"]},
        ),
    ]
    for planned in (*others, *arrays, *measuring):
        planned.item["labels"] = {"tour": run}
    return others + arrays + measuring


def _library() -> str:
    return sysconfig.get_path("stdlib")
