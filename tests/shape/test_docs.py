"""The documents agree with the code and with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rota.core.states import mermaid

ROOT = Path(__file__).parents[2]
DOCS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "bench").rglob("*.md"),
    ]
)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", path.read_text("utf-8")))


def anchors(path: Path) -> set[str]:
    found = set()
    for line in _FENCE.sub("", path.read_text("utf-8")).splitlines():
        if match := re.match(r"#{1,6}\s+(.*)", line):
            title = re.sub(r"[`*]", "", match.group(1)).strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


def test_the_state_diagram_is_the_machine():
    text = (ROOT / "docs" / "state-machine.md").read_text("utf-8")
    drawn = re.search(r"```mermaid\n(.*?)```", text, re.DOTALL)
    assert drawn, "docs/state-machine.md has no diagram"
    assert drawn.group(1) == mermaid(), (
        "paste what `python -c 'from rota.core.states import mermaid; print(mermaid())'` prints"
    )


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path):
    for target in _LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file).resolve() if file else path
        assert place.exists(), f"{target}: there is no such file"
        assert not anchor or place.suffix != ".md" or anchor in anchors(place), f"{target}: there is no such heading"
