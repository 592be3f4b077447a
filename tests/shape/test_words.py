"""What Rota logs is worded in one place: nothing is written past it."""

from __future__ import annotations

import ast
from pathlib import Path

import rota

SRC = Path(rota.__file__).parent
SPEAKERS = {"logging", "structlog", "warnings"}
# Those who write to a stream themselves, and why.
WRITERS = {
    "cli": "a command's answer",
    "log.py": "the one place",
    "wiring/check_worker": "a command's answer",
    "worker/child_async.py": "what a handler has written",
}


def test_nothing_logs_past_the_one_place() -> None:
    for path in SRC.rglob("*.py"):
        name = path.relative_to(SRC).as_posix()
        allowed = any(name == writer or name.startswith(f"{writer}/") for writer in WRITERS)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            where = f"{name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                assert allowed or not {module.split(".")[0] for module in modules} & SPEAKERS, (
                    f"{where}: see rota/log.py"
                )
            if isinstance(node, ast.Call) and not allowed:
                called = ast.unparse(node.func)
                assert called not in ("print", "sys.stderr.write", "sys.stdout.write"), f"{where}: see rota/log.py"
