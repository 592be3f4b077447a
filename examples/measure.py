"""Measure Python source: lines, functions, how deep it nests, how long its functions are. Pure."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from itertools import pairwise

from msgspec import Struct, field

# A function's lines fall into one of these: up to 5, up to 10, …, and more than the last.
LENGTHS = (5, 10, 20, 50, 100)

_BLOCKS = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If, ast.For, ast.AsyncFor, ast.While, ast.With,
    ast.AsyncWith, ast.Try, ast.TryStar, ast.Match,
)  # fmt: skip
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Longest(Struct, frozen=True):
    """The longest function of some code: its lines, its name and the file that it is in."""

    lines: int = 0
    name: str = ""
    file: str = ""


class Deepest(Struct, frozen=True):
    """Where some code nests deepest: how many blocks stand in one another, and in which file."""

    depth: int = 0
    file: str = ""


class Measures(Struct):
    """What was counted. `lengths` are functions by their lines, in the classes of LENGTHS."""

    files: int = 0
    unparsed: int = 0
    lines: int = 0
    functions: int = 0
    classes: int = 0
    lengths: list[int] = field(default_factory=lambda: [0] * (len(LENGTHS) + 1))
    longest: Longest = Longest()
    deepest: Deepest = Deepest()

    def add(self, other: Measures) -> None:
        """Count the files of `other` too."""
        self.files += other.files
        self.unparsed += other.unparsed
        self.lines += other.lines
        self.functions += other.functions
        self.classes += other.classes
        self.lengths = [ours + theirs for ours, theirs in zip(self.lengths, other.lengths, strict=True)]
        self.longest = max(self.longest, other.longest, key=lambda longest: longest.lines)
        self.deepest = max(self.deepest, other.deepest, key=lambda deepest: deepest.depth)


def measure(source: bytes, file: str) -> Measures:
    """Return the measures of one file. Source that does not parse counts its lines, and as unparsed."""
    measures = Measures(files=1, lines=source.count(b"\n") + (not source.endswith(b"\n") and source != b""))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the measured code: not ours to mend
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the library's tests hold broken code on purpose
        measures.unparsed = 1
        return measures
    for block, depth in _blocks(tree):
        if isinstance(block, ast.ClassDef):
            measures.classes += 1
        elif isinstance(block, _FUNCTIONS):
            _count_function(measures, block, file)
        if depth > measures.deepest.depth:
            measures.deepest = Deepest(depth, file)
    return measures


def _count_function(measures: Measures, function: ast.FunctionDef | ast.AsyncFunctionDef, file: str) -> None:
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    measures.functions += 1
    measures.lengths[sum(length > most for most in LENGTHS)] += 1
    if length > measures.longest.lines:
        measures.longest = Longest(length, function.name, file)


def _blocks(tree: ast.Module) -> Iterator[tuple[ast.stmt, int]]:
    """Walk all blocks with their depth. Only statements are looked at: blocks do not stand in expressions."""
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        for child in _statements(node):
            if isinstance(child, _BLOCKS):
                below = depth if _is_elif(node, child) else depth + 1
                yield child, below
                waiting.append((child, below))


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    for name in ("body", "orelse", "finalbody"):
        yield from getattr(node, name, ())
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield from part.body


def _is_elif(parent: ast.AST, child: ast.stmt) -> bool:
    return isinstance(parent, ast.If) and isinstance(child, ast.If) and parent.col_offset == child.col_offset


def length_names() -> list[str]:
    """Return what the classes of LENGTHS are called."""
    between = [f"{low + 1}–{high}" for low, high in pairwise((0, *LENGTHS))]  # noqa: RUF001  # a range, for people
    return [*between, f"> {LENGTHS[-1]}"]
