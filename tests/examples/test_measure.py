"""What the tour measures, on sources small enough to count by hand."""

from __future__ import annotations

from examples.measure import LENGTHS, Measures, length_names, measure

SOURCE = b"""\
class Tree:
    def walk(self):
        for one in self:
            if one:
                pass
            elif two:
                with one:
                    pass
            else:
                pass

async def wait():
    try:
        pass
    except OSError:
        while True:
            pass
"""


def test_counts_lines_functions_and_classes() -> None:
    found = measure(SOURCE, "tree.py")
    assert (found.files, found.unparsed, found.lines, found.functions, found.classes) == (1, 0, 17, 2, 1)


def test_an_elif_is_no_deeper_than_its_if() -> None:
    assert measure(SOURCE, "tree.py").deepest.depth == 5  # class, def, for, elif, with
    assert measure(b"if a:\n  pass\nelse:\n  if b:\n    pass\n", "x.py").deepest.depth == 2


def test_the_longest_function_is_named() -> None:
    longest = measure(SOURCE, "tree.py").longest
    assert (longest.lines, longest.name, longest.file) == (9, "walk", "tree.py")


def test_a_file_that_does_not_parse_is_counted() -> None:
    for broken in (b"def (:\n", b"\x00", b"x = '\xff'\n", b"(" * 10_000):
        found = measure(broken, "broken.py")
        assert (found.files, found.unparsed, found.functions) == (1, 1, 0)


def test_an_empty_file_has_no_lines_and_the_last_line_needs_no_end() -> None:
    assert measure(b"", "x.py").lines == 0
    assert measure(b"a = 1", "x.py").lines == 1
    assert measure(b"a = 1\n", "x.py").lines == 1


def test_functions_fall_into_classes_by_their_lines() -> None:
    for lines, at in ((1, 0), (5, 0), (6, 1), (100, 4), (101, 5)):
        body = b"def f():\n" + b"    pass\n" * (lines - 1) if lines > 1 else b"def f(): pass\n"
        assert measure(body, "x.py").lengths[at] == 1, lines
    assert len(length_names()) == len(LENGTHS) + 1


def test_sums() -> None:
    total = Measures()
    for _ in range(2):
        total.add(measure(SOURCE, "tree.py"))
    total.add(measure(b"(", "broken.py"))
    assert (total.files, total.unparsed, total.functions, sum(total.lengths)) == (3, 1, 4, 4)
    assert total.deepest.file == "tree.py"
    assert Measures().lengths == [0] * 6, "sums share nothing"
