"""Edges reach jobs, workers and tasks as their caller sees them, and by no other road."""

from __future__ import annotations

import ast
from pathlib import Path

HTTP = Path(__file__).parents[2] / "src" / "rota" / "http"
NARROWED = {"jobs", "work", "pull", "feed"}
# Where the service itself is asked, and why nobody sees too much by it.
BESIDE = {
    ("operations.py", "jobs"): "makes JobsFor",
    ("operations.py", "work"): "makes WorkFor",
    ("operations.py", "pull"): "makes PullFor",
    ("streams.py", "jobs"): "goes on with a job that was asked for through JobsFor",
    ("streams.py", "feed"): "the same; of events the owner is given",
    ("routes/workers.py", "work"): "drain, which is for admins",
    ("apis/pull_workers.py", "pull"): "the overview, which is for admins",
}


def test_no_edge_asks_the_service_itself() -> None:
    found = set()
    for path in HTTP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in NARROWED:
                of = node.value
                name = of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""
                if name == "service":
                    found.add((path.relative_to(HTTP).as_posix(), node.attr))
    assert found == set(BESIDE)
