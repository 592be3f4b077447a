"""Every reason that `explain` can give is told of in docs/explain.md, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import rota

DOCUMENT = Path(__file__).parents[2] / "docs" / "explain.md"
_ROW = re.compile(r"^\| `([a-z-]+)` \|", re.MULTILINE)


def codes() -> set[str]:
    """Return the codes of all reasons, as the source has them."""
    found = set()
    for path in (Path(rota.__file__).parent / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Why":
                code = next((word.value for word in node.keywords if word.arg == "code"), None)
                assert isinstance(code, ast.Constant), f"{path.name}:{node.lineno}: a reason's code is a text"
                found.add(str(code.value))
    return found


def test_the_table_of_reasons_is_whole() -> None:
    told = _ROW.findall(DOCUMENT.read_text("utf-8").partition("## Where its time went")[0])
    assert len(told) == len(set(told)), "a reason is told of twice"
    assert set(told) == codes(), "docs/explain.md has a row for each reason: what it means, and the way out"
