"""The contracts of pyproject.toml: imports point down, and there are no cycles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_point_down():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_the_core_imports_no_world():
    """Purity: what floor 0 imports gives it no clock, no chance, no socket, and no file but the rules of time zones."""
    pure = {
        "__future__",
        "bisect",
        "collections",
        "contextlib",
        "datetime",
        "decimal",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "re",
        "shlex",
    }
    pure |= {"typing", "zoneinfo", "cronsim", "msgspec", "rota"}
    import ast

    for path in (ROOT / "src/rota/core").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.split(".")[0] for name in names} <= pure, path.name
            assert not (isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today")), path.name
