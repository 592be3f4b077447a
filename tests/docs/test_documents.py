"""What the documents tell a reader to do, done. (That links lead somewhere: tests/shape/test_docs.py.)"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import blocks, matches
from tests.docs.reader import Reader
from tests.engines import engine

__all__ = ["engine"]

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")])


# Programs that documents use and a machine may lack. In CI all are there (.ci/run).
_MAY_BE_MISSING = ("curl", "jq", "sqlite3")


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def running() -> list[Any]:
    """Return the documents with commands to run. The one that needs a container engine shares that of other tests."""
    found = [document for document in DOCUMENTS if any(block.mark == "run" for block in blocks(document))]
    group = pytest.mark.xdist_group("engine")
    return [pytest.param(one, id=name(one), marks=[group] if one.name == "images.md" else []) for one in found]


@pytest.mark.parametrize("document", running())
def test_commands_do_what_the_document_says(
    document: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if document.name == "images.md":
        monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("engine").url)
    text = document.read_text(encoding="utf-8")
    missing = [one for one in _MAY_BE_MISSING if re.search(rf"\b{one} ", text) and not shutil.which(one)]
    if missing and "CI" not in os.environ:
        pytest.skip(f"this machine has no {', '.join(missing)}")
    with Reader(tmp_path) as reader:
        for block in blocks(document):
            try:
                reader.follow(block)
            except Exception as error:
                error.add_note(f"{name(document)}, line {block.line}")
                raise


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_block_of_commands_is_run_or_says_why_not(document: Path) -> None:
    commands = [block for block in blocks(document) if block.language in {"console", "bash"}]
    assert [f"{name(document)}:{block.line}" for block in commands if block.mark is None] == []
    assert [block.line for block in commands if block.mark == "not run" and not block.detail] == []


def test_the_makefile_offers_what_the_readme_names() -> None:
    offered = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"help", "setup", "run", "test", "bench", "check", "simulate"} <= offered
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        assert set(re.findall(r"\bmake ([a-z-]+)\b", document.read_text())) <= offered, name(document)


def test_blocks_are_read(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "text\n\n<!-- run: exits 3 -->\n```console\n$ one \\\n    two\nout …\n$ three\n```\n\n"
        "1. item\n\n   <!-- file: a.py -->\n   ```python\n   if x:\n       y\n\n   z\n   ```\n\n```python\nfree\n```\n"
    )
    first, second, third = blocks(document)
    assert (first.mark, first.detail, first.line) == ("run", "exits 3", 4)
    assert [(c.text, c.prints) for c in first.commands] == [("one \\\n    two", ["out …"]), ("three", [])]
    assert (second.mark, second.detail, second.text) == ("file", "a.py", "if x:\n    y\n\nz\n")
    assert third.mark is None


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ([], ["anything"], True),
        (["a … c"], ["a b c"], True),
        (["a"], ["a", "b"], False),
        (["a", "…"], ["a", "b", "c"], True),
        (["…", "c"], ["a", "b"], False),
        (["(x)"], ["(x)"], True),
    ],
)
def test_dots_stand_for_anything(expected: list[str], printed: list[str], same: bool) -> None:
    assert matches(expected, printed) is same
