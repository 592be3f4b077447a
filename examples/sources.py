"""Find Python source on this machine: the standard library, package by package."""

from __future__ import annotations

import math
import sysconfig
from pathlib import Path

from msgspec import Struct

LARGEST = 60  # files of one package that one job takes; more are cut into parts, so that no job is the last for long
ENOUGH = 1000
_FOREIGN = {"site-packages", "dist-packages"}


class Package(Struct, frozen=True):
    """Files of one package: `files` are names below `folder`, `size` is their bytes."""

    name: str
    folder: str
    files: list[str]
    size: int


def packages() -> list[Package]:
    """Return the standard library's packages, the largest first.

    Some distributions leave its tests out; when that leaves fewer than ENOUGH files, what is installed beside Rota
    comes too.
    """
    found = _packages_of(Path(sysconfig.get_path("stdlib")), "")
    if sum(len(package.files) for package in found) < ENOUGH:
        found += _packages_of(Path(sysconfig.get_path("purelib")), "installed: ")
    return sorted(found, key=lambda package: -package.size)


def _packages_of(root: Path, prefix: str) -> list[Package]:
    folders: dict[Path, list[Path]] = {}
    for file in root.rglob("*.py"):
        below = file.relative_to(root)
        if not _FOREIGN.intersection(below.parts) and file.is_file():
            folders.setdefault(below.parent, []).append(file)
    return [part for folder, files in folders.items() for part in _parts(root, prefix, folder, sorted(files))]


def _parts(root: Path, prefix: str, folder: Path, files: list[Path]) -> list[Package]:
    name = prefix + (".".join(folder.parts) or "top-level modules")
    count = math.ceil(len(files) / LARGEST)
    share = math.ceil(len(files) / count)
    return [
        Package(
            name=name if count == 1 else f"{name} {at // share + 1}/{count}",
            folder=str(root / folder),
            files=[file.name for file in files[at : at + share]],
            size=sum(file.stat().st_size for file in files[at : at + share]),
        )
        for at in range(0, len(files), share)
    ]
