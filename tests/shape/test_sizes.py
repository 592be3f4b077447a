"""Modules and functions stay small; each exception has its reason here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "rota"
MODULES = sorted(SRC.rglob("*.py"))
MOST_LINES_IN_A_MODULE = 500
MOST_LINES_IN_A_FUNCTION = 60
FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "lib"}

# path: why it may be longer
LONG_MODULES: dict[str, str] = {
    "core/jobs.py": "the structs that move between floors, one after another",
    "store/rows.py": "the rows of all tables, and how each becomes a struct",
}
# path::function: why it may be longer
LONG_FUNCTIONS: dict[str, str] = {}


def relative(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_there_are_modules():
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_is_small_and_so_are_its_functions(path: Path):
    text = path.read_text()
    lines = len(text.splitlines())
    assert lines <= MOST_LINES_IN_A_MODULE or relative(path) in LONG_MODULES, f"{lines} lines: split it, or say why not"
    for name, length in functions(ast.parse(text)):
        where = f"{relative(path)}::{name}"
        assert length <= MOST_LINES_IN_A_FUNCTION or where in LONG_FUNCTIONS, f"{name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_says_what_it_is_by_its_name_and_its_first_line(path: Path):
    parts = path.relative_to(SRC).with_suffix("").parts
    assert not FORBIDDEN & set(parts), "a name that says what is in it, please"
    assert ast.get_docstring(ast.parse(path.read_text())), "a module begins with what it is for"


def test_no_exception_outlives_its_reason():
    names = {relative(path): path for path in MODULES}
    for path in LONG_MODULES:
        assert len(names[path].read_text().splitlines()) > MOST_LINES_IN_A_MODULE, f"{path} is short again"
    for where in LONG_FUNCTIONS:
        path, name = where.split("::")
        longest = max(length for n, length in functions(ast.parse(names[path].read_text())) if n == name)
        assert longest > MOST_LINES_IN_A_FUNCTION, f"{where} is short again"


def test_median_function_is_a_few_lines():
    lengths = sorted(length for path in MODULES for _, length in functions(ast.parse(path.read_text())))
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[len(lengths) * 95 // 100] <= 45
